"""IORING_SETUP_SQPOLL, and the thread sleeps for want of work: what wakes a request that waits wakes it too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.model.params import receives
from ringrig.model.shelf import BGID, Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Op, Reply, incoming
from ringrig.model.waiting import payloads, receive, told, waits
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.group import remove_legacy
from ringrig.uring.ring import Ring
from ringrig.uring.wire import Wire, stuff

pytestmark = [pytest.mark.needs("sqpoll"), pytest.mark.ends_within(3)]

BIDS = (5, 300, 2, 9)
_LENGTH = 20
"""Bytes that each receive wants and gets: a READ of less would break its link."""
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)


@pytest.fixture
def idle(make_ring: Callable[..., Subject]) -> Subject:
    """A ring whose poller sleeps after a millisecond without work."""
    return make_ring(flags=c.IORING_SETUP_SQPOLL, idle=1)


def sleeps(ring: Ring) -> bool:
    """The poller comes to sleep."""
    return settled(lambda: ring.sq_flags.value & c.IORING_SQ_NEED_WAKEUP, 1) == c.IORING_SQ_NEED_WAKEUP


def replies(ring: Ring, count: int) -> list[Reply]:
    """The completions that come without a call of the program's, so many if nothing is wrong."""
    settled(lambda: ring.cq_tail.value - ring.cq_head.value & 0xFFFFFFFF, count, seconds=2)
    return [Reply.of(cqe.res, cqe.flags) for cqe in ring.cqes()]


@each_kind
@pytest.mark.parametrize("op", receives())
def test_data_wakes_an_idle_poller(idle: Subject, make_wire: Callable[..., Wire], op: Op, kind: Kind) -> None:
    """A receive waits, and the thread sleeps (IORING_SQ_NEED_WAKEUP): data alone brings the completion.

    A READ linked behind it runs too; nobody calls io_uring_enter(). io_req_normal_work_add(): __set_notify_signal()
    """
    ring, wire = idle.ring, make_wire()
    shelf = Shelf(idle, dict.fromkeys(BIDS, 64), kind=kind)
    receive(shelf, op, wire, length=_LENGTH, flags=0 if op.multishot else c.IOSQE_IO_LINK)
    if not op.multishot:
        shelf.queue(c.IORING_OP_READ, shelf.group.zero(), length=8)
    ring.submit()
    assert waits(ring, op)

    found = []
    for number in range(2 if op.multishot else 1):
        assert sleeps(ring)
        wire.send(incoming(_LENGTH * number, _LENGTH))
        found += replies(ring, 1 if op.multishot else 2)

    if op.multishot:
        assert found == [told(op, 5, _LENGTH), told(op, 300, _LENGTH)]
        assert payloads(shelf, op) == {5: incoming(0, _LENGTH), 300: incoming(_LENGTH, _LENGTH)}
    else:
        assert found == [told(op, 5, _LENGTH), Reply(res=8, bid=300)]
        assert shelf.written() == {5: incoming(0, _LENGTH), 300: bytes(8)}
    assert [bid for bid, _ in shelf.left()] == list(BIDS[2:])


@pytest.mark.needs("send_select")
@each_kind
def test_room_wakes_an_idle_poller(idle: Subject, make_wire: Callable[..., Wire], kind: Kind) -> None:
    """A SEND waits for room, and the thread sleeps: what the peer reads brings the completion.

    io_req_normal_work_add(): __set_notify_signal(), whatever the wakeup was for
    """
    ring, wire = idle.ring, make_wire()
    shelf = Shelf(idle, dict.fromkeys(BIDS, 64), kind=kind)
    wire.narrow()
    full, stream = stuff(wire.near), shelf.load()
    shelf.queue(c.IORING_OP_SEND, wire.near)
    ring.submit()
    assert waits(ring, Op.SEND)
    assert sleeps(ring)

    assert wire.received(full) == b"\xff" * full

    assert replies(ring, 1) == [Reply(res=64, bid=5)]
    assert wire.received(64) == stream[:64]
    assert remove_legacy(ring, bgid=BGID, count=9) == 3 if kind is Kind.LEGACY else shelf.head() == 1


@each_kind
@pytest.mark.parametrize("op", [Op.READ, Op.RECV], ids=["read", "recv"])
def test_a_worker_needs_no_idle_poller(
    idle: Subject, make_wire: Callable[..., Wire], op: Op, kind: Kind
) -> None:
    """IOSQE_ASYNC: the request waits, the thread sleeps: data alone brings the completion.

    Whoever issues it is asked by the poller's task work, which the wakeup leaves it. io_wq_submit_work(), io_arm_poll_handler()
    """
    ring, wire = idle.ring, make_wire()
    shelf = Shelf(idle, dict.fromkeys(BIDS, 64), kind=kind)
    receive(shelf, op, wire, length=_LENGTH, flags=c.IOSQE_ASYNC)
    ring.submit()
    assert waits(ring, op, busy=True)
    assert sleeps(ring)

    wire.send(incoming(0, _LENGTH))

    assert replies(ring, 1) == [Reply(res=_LENGTH, bid=5)]
    assert shelf.written() == {5: incoming(0, _LENGTH)}
    assert [bid for bid, _ in shelf.left()] == list(BIDS[1:])
