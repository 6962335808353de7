"""IORING_SETUP_TASKRUN_FLAG: IORING_SQ_TASKRUN says that a request can go on once its submitter enters the kernel."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from ringrig.model.params import receives
from ringrig.model.shelf import Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Op, Reply, incoming
from ringrig.model.waiting import payloads, receive, told, waits
from ringrig.uring import consts as c
from ringrig.uring.neighbour import Neighbour
from ringrig.uring.ring import Ring
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("coop_taskrun"), pytest.mark.ends_within(5)]

BIDS = (5, 300, 2, 9)
_LENGTH = 20


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("op", receives())
def test_it_is_set_while_the_submitter_is_elsewhere(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire], op: Op, kind: Kind
) -> None:
    """COOP_TASKRUN: a child's receive waits, and the child is stopped; data comes: the flag is set, and there is no completion.

    The child goes on: there is one, the flag is gone, and what came is in the child's memory. io_req_normal_work_add()
    """
    ring = make_ring(flags=c.IORING_SETUP_COOP_TASKRUN | c.IORING_SETUP_TASKRUN_FLAG)
    shelf, wire = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind), make_wire()

    def arm() -> bool:
        with Ring.adopt(os.dup(ring.ring.fd), ring.ring.params) as shelf.ring:
            receive(shelf, op, wire, length=_LENGTH)
            return shelf.ring.submit() == 1 and waits(shelf.ring, op)

    def look() -> tuple[list[Reply], dict[int, bytes]]:
        with Ring.adopt(os.dup(ring.ring.fd), ring.ring.params) as shelf.ring:
            return shelf.some(1), payloads(shelf, op)

    with Neighbour(arm, look) as child:
        assert child.work(0)
        before = ring.ring.sq_flags.value & c.IORING_SQ_TASKRUN
        os.kill(child.pid, signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        wire.send(incoming(0, _LENGTH))
        meanwhile = ring.ring.sq_flags.value & c.IORING_SQ_TASKRUN, ring.ring.cq_tail.value
        os.kill(child.pid, signal.SIGCONT)
        found, held = child.work(1)

    completions = len(BIDS) if kind is Kind.LEGACY else 0
    assert (before, meanwhile) == (0, (c.IORING_SQ_TASKRUN, completions))
    assert ring.ring.sq_flags.value & c.IORING_SQ_TASKRUN == 0
    assert found == [told(op, BIDS[0], _LENGTH)]
    assert held == {BIDS[0]: incoming(0, _LENGTH)}
