"""Buffer rings on every kind of io_uring."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from ringrig.model.calls import BufReg, kernel_registration, registration
from ringrig.model.subject import Subject
from ringrig.uring import bufring
from ringrig.uring import consts as c
from ringrig.uring.group import Group
from ringrig.uring.probe import SETUP_FLAGS

FD_ONLY = SETUP_FLAGS["registered_fd_only"]
KINDS = [pytest.param(flags, id=name, marks=pytest.mark.needs(name)) for name, flags in SETUP_FLAGS.items()]
# A ring in kernel memory is mapped through the descriptor, which a registered-only io_uring has not.
MAPPABLE = [
    pytest.param(flags, id=name, marks=pytest.mark.needs(name, "mmap"))
    for name, flags in SETUP_FLAGS.items()
    if flags != FD_ONLY
]


def _live(make_ring: Callable[..., Subject], setup: int, flags: int) -> None:
    ring = make_ring(flags=setup).ring
    subject = make_ring()
    group = Group(ring, subject.arena, flags=flags)

    assert group.register() == 0
    assert bufring.register(ring, addr=group.data, bgid=7) == -errno.EEXIST
    group.publish(3, 1)
    if not setup & c.IORING_SETUP_IOPOLL:
        assert [group.next() for _ in range(2)] == [3, 1]
        assert group.read(length=1).res == -errno.ENOBUFS
    assert group.unregister() == 0
    assert group.register() == 0


@pytest.mark.parametrize("setup", KINDS)
def test_a_user_ring_lives_on_every_kind(make_ring: Callable[..., Subject], setup: int) -> None:
    """Register, again (-EEXIST), publish, select, unregister, register: the same on every kind of io_uring.

    On IOPOLL no file of ours can be read. io_register_pbuf_ring()
    """
    _live(make_ring, setup, 0)


@pytest.mark.parametrize("setup", MAPPABLE)
def test_a_kernel_ring_lives_on_every_kind(make_ring: Callable[..., Subject], setup: int) -> None:
    """The same with the kernel's memory, also where the queues are ours (NO_MMAP). io_pbuf_mmap()"""
    _live(make_ring, setup, c.IOU_PBUF_RING_MMAP)


@pytest.mark.parametrize("setup", KINDS)
@pytest.mark.needs("status")
def test_status_on_every_kind(make_ring: Callable[..., Subject], setup: int) -> None:
    """The head is told on every kind of io_uring, of an unknown group -ENOENT. io_register_pbuf_status()"""
    ring = make_ring(flags=setup).ring
    subject = make_ring()
    group = Group(ring, subject.arena)
    assert group.register() == 0
    group.publish(1)
    if not setup & c.IORING_SETUP_IOPOLL:
        group.read(length=1)

    assert group.head() == (0 if setup & c.IORING_SETUP_IOPOLL else 1)
    assert bufring.head(ring, 8) == -errno.ENOENT


@pytest.mark.parametrize(
    "call", [registration(entries=32768), kernel_registration(entries=32768)], ids=["user", "kernel"]
)
def test_a_ring_is_not_charged_as_locked_memory(ring: Subject, call: BufReg) -> None:
    """512 KiB of ring leave VmPin and VmLck of the process alone: no kernel counts buffer rings there.

    io_pin_pages() without io_account_mem(); io_create_region() with user NULL
    """

    def locked() -> list[str]:
        lines = Path("/proc/self/status").read_text().splitlines()
        return [line for line in lines if line.startswith(("VmPin", "VmLck"))]

    before = locked()
    assert len(before) == 2
    ring.say(call)

    assert locked() == before
