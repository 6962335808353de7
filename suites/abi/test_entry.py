"""What io_uring_register() checks before it knows of buffer rings, for each of the three operations."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from ringrig.model.calls import Arg, BufReg, BufStatus, Fd, registration, status, unregistration
from ringrig.model.spec import Model
from ringrig.model.spoil import ABSENT, RING
from ringrig.model.subject import Subject
from ringrig.uring import bufring, libc
from ringrig.uring import consts as c

OPERATIONS = {
    "register": (registration, ABSENT),
    "unregister": (unregistration, RING),
    "status": (status, RING),
}
"""Name: the well-formed call, and what group 7 must be for it."""

Make = Callable[..., BufReg | BufStatus]
Stage = Callable[..., Subject]
ARGUMENTS = [
    pytest.param(
        arg, id=arg.name.lower(), marks=[pytest.mark.needs("prot_none")] if arg is Arg.PROT_NONE else []
    )
    for arg in Arg
]
COUNTS = {"none": 0, "two": 2, "three": 3, "s32_min": 1 << 31, "u32_max": 0xFFFFFFFF}

each_operation = pytest.mark.parametrize("make, group", OPERATIONS.values(), ids=OPERATIONS)


@each_operation
@pytest.mark.parametrize("nr_args", COUNTS.values(), ids=COUNTS)
def test_exactly_one_argument(stage: Stage, model: Model, make: Make, group: str, nr_args: int) -> None:
    """A good argument with nr_args other than 1: -EINVAL. __io_uring_register()"""
    ring = stage([], group)
    call = make(nr_args=nr_args)

    assert ring.say(call) == model.say(call)
    assert ring.survey(7) == model.survey(7)


@each_operation
@pytest.mark.parametrize("arg", ARGUMENTS)
def test_where_the_argument_lies(stage: Stage, model: Model, make: Make, group: str, arg: Arg) -> None:
    """A good argument in each kind of place: NULL is -EINVAL, what cannot be read (status: written) -EFAULT.

    One that ends with its page is good: the kernel copies 40 bytes and not one more.
    __io_uring_register(), copy_from_user() and copy_to_user() in io_uring/kbuf.c
    """
    ring = stage([], group)
    call = make(arg=arg)

    assert ring.say(call) == model.say(call)
    assert ring.survey(7) == model.survey(7)


@each_operation
@pytest.mark.parametrize("fd", Fd, ids=lambda fd: fd.name.lower())
def test_which_descriptor(stage: Stage, model: Model, make: Make, group: str, fd: Fd) -> None:
    """Each kind of fd: closed -EBADF, no ring -EOPNOTSUPP; the registered index works where it is known.

    -1 means "no ring" since 6.13 (a377132154ab) and is -EINVAL. io_uring_register_get_file()
    """
    ring = stage([], group)
    call = make(fd=fd)

    assert ring.say(call) == model.say(call)
    assert ring.survey(7) == model.survey(7)


@each_operation
@pytest.mark.parametrize("fd", [Fd.RING, Fd.REGISTERED, Fd.REGISTERED_BEYOND], ids=lambda fd: fd.name.lower())
def test_another_thread(stage: Stage, model: Model, make: Make, group: str, fd: Fd) -> None:
    """A thread that never used io_uring may use the fd, but has no registered rings: -EINVAL for any index.

    io_uring_register_get_file(): the table belongs to the task.
    """
    ring = stage([], group)
    call = make(fd=fd, other_thread=True)

    assert ring.say(call) == model.say(call)
    assert ring.survey(7) == model.survey(7)


@each_operation
@pytest.mark.parametrize(
    "flags",
    [c.IORING_SETUP_SINGLE_ISSUER, c.IORING_SETUP_SINGLE_ISSUER | c.IORING_SETUP_DEFER_TASKRUN],
    ids=["single_issuer", "defer_taskrun"],
)
@pytest.mark.parametrize("other_thread", [False, True], ids=["submitter", "other_thread"])
def test_single_issuer(  # noqa: PLR0917
    make_ring: Stage, model: Model, make: Make, group: str, flags: int, other_thread: bool
) -> None:
    """On a SINGLE_ISSUER ring only the submitter may register: -EEXIST for another thread, before all else.

    __io_uring_register()
    """
    ring = make_ring(flags=flags)
    model.bind()
    if group == RING:
        assert ring.say(registration()) == model.say(registration())
    call = make(other_thread=other_thread)

    assert ring.say(call) == model.say(call)
    assert ring.survey(7) == model.survey(7)


@each_operation
@pytest.mark.parametrize("enabled", [False, True], ids=["disabled", "enabled"])
def test_single_issuer_has_no_submitter_while_disabled(
    make_ring: Stage, model: Model, make: Make, group: str, enabled: bool
) -> None:
    """SINGLE_ISSUER, R_DISABLED: any thread may register until ENABLE_RINGS makes its caller the submitter.

    io_uring_create(), io_register_enable_rings()
    """
    ring = make_ring(flags=c.IORING_SETUP_SINGLE_ISSUER | c.IORING_SETUP_R_DISABLED)
    model.disable()
    if group == RING:
        assert ring.say(registration()) == model.say(registration())
    if enabled:
        assert ring.ring.enable() == 0
        model.enable()
        model.bind()
    call = make(other_thread=True)

    assert ring.say(call) == model.say(call)


@each_operation
@pytest.mark.parametrize("enabled", [False, True], ids=["disabled", "enabled"])
@pytest.mark.parametrize("allowed", ["this", "another", "sqe_only"])
def test_restrictions(  # noqa: PLR0917
    make_ring: Stage, model: Model, make: Make, group: str, allowed: str, enabled: bool
) -> None:
    """A restricted ring refuses operations not listed with -EACCES, from ENABLE_RINGS on and not before.

    A list of SQE operations alone restricts register operations too, until 7.0. __io_uring_register()
    """
    ring = make_ring(flags=c.IORING_SETUP_R_DISABLED)
    model.disable()
    if group == RING:
        assert ring.say(registration()) == model.say(registration())
    call = make()
    if allowed == "sqe_only":
        assert ring.ring.restrict((c.IORING_RESTRICTION_SQE_OP, c.IORING_OP_READ)) >= 0
        model.restrict(sqe_only=True)
    else:
        op = call.op if allowed == "this" else c.IORING_REGISTER_PROBE
        if op == c.IORING_REGISTER_PBUF_STATUS and "pbuf_status" not in model.traits:
            pytest.skip("needs status: IORING_RESTRICTION_REGISTER_OP refuses an operation it does not know")
        assert ring.ring.restrict((c.IORING_RESTRICTION_REGISTER_OP, op)) >= 0
        model.restrict(op)
    if enabled:
        assert ring.ring.enable() == 0
        model.enable()

    assert ring.say(call) == model.say(call)


@pytest.mark.needs("registered_ring_fd", "status")
def test_registered_index_outlives_the_descriptor(make_ring: Stage) -> None:
    """A ring registered in its own task's table can be used by index when its fd is closed.

    io_uring_register_get_file() looks into current->io_uring->registered_rings.
    """
    subject = make_ring()
    page = subject.memory(registration().memory, libc.PAGE_SIZE)
    slot = subject.ring.register_ring_fd()
    assert slot >= 0
    fd = subject.ring.fd
    os.close(fd)
    subject.ring.fd, subject.ring.registered_only = slot, True

    assert bufring.register(subject.ring, addr=page, entries=8, bgid=7) == 0
    assert bufring.head(subject.ring, 7) == 0
    assert bufring.unregister(subject.ring, 7) == 0
    assert bufring.unregister(subject.ring, 7) == -2


@each_operation
def test_two_rings_do_not_share_groups(make_ring: Stage, model: Model, make: Make, group: str) -> None:
    """Group 7 of one io_uring says nothing about group 7 of another. ctx->io_bl_xa"""
    other = make_ring()
    if group == ABSENT:
        assert other.say(registration()).res == 0
    ring = make_ring()
    call = make()

    assert ring.say(call) == model.say(call)
    assert ring.survey(7) == model.survey(7)
