"""Restrictions of the whole task (7.0): its rings inherit them, and calls without a ring obey them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.model.calls import BufReg, BufStatus, Fd, registration, status, unregistration
from ringrig.model.spec import Model, name_of
from ringrig.model.subject import Subject
from ringrig.uring import consts as c
from ringrig.uring.memory import Arena
from ringrig.uring.restriction import in_child, restrict_task
from ringrig.uring.ring import Ring

pytestmark = pytest.mark.needs("task_restrictions")

OPERATIONS = {"register": registration, "unregister": unregistration, "status": status}

Make = Callable[..., BufReg | BufStatus]

each_operation = pytest.mark.parametrize("make", OPERATIONS.values(), ids=OPERATIONS)


def outcome_in_restricted_child(call: BufReg | BufStatus, allowed: int, flags: int = 0) -> int:
    """What the call returns in a child that allowed itself one register operation and then made a ring."""

    def work() -> int:
        if (res := restrict_task((c.IORING_RESTRICTION_REGISTER_OP, allowed))) < 0:
            raise OSError(-res, "IORING_REGISTER_RESTRICTIONS")
        return Subject(Ring(flags=flags), Arena()).say(call).res

    return in_child(work)


@each_operation
@pytest.mark.parametrize("allowed", ["this", "another"])
@pytest.mark.parametrize("flags", [0, c.IORING_SETUP_R_DISABLED], ids=["enabled", "disabled"])
def test_rings_inherit_them(model: Model, make: Make, allowed: str, flags: int) -> None:
    """A ring made by a restricted task: operations not listed are -EACCES, also while the ring is disabled.

    __io_uring_register(), IO_RING_F_RESTRICT_INHERITED. 7.0 and 7.1 exempt a disabled ring from these
    too, so that a restricted task has only to leave its ring disabled.
    """
    call = make()
    op = call.op if allowed == "this" else c.IORING_REGISTER_PROBE
    model.restrict(op, inherited=True)
    if flags:
        model.disable()

    got, want = name_of(outcome_in_restricted_child(call, op, flags)), name_of(model.say(call).res)
    ring = "disabled" if flags else "enabled"
    assert got == want, f"in a restricted task, on its {ring} ring: got {got}, want {want}"


@each_operation
@pytest.mark.parametrize("allowed", ["this", "another"])
def test_calls_without_a_ring_obey_them(model: Model, make: Make, allowed: str) -> None:
    """fd -1 in a restricted task: -EINVAL as always, from 7.3 on -EACCES if the operation is not listed.

    io_uring_register_blind()
    """
    call = make(fd=Fd.MINUS_ONE)
    op = call.op if allowed == "this" else c.IORING_REGISTER_PROBE
    model.restrict(op, inherited=True)

    got, want = name_of(outcome_in_restricted_child(call, op)), name_of(model.say(call).res)
    assert got == want, f"in a restricted task, without a ring: got {got}, want {want}"
