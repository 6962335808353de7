"""Multishot requests that are woken more than once before they look (IORING_SETUP_DEFER_TASKRUN: when the case says)."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from ringrig.model.shelf import Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("defer_taskrun"), pytest.mark.ends_within(3)]

SIZES = dict.fromkeys((5, 300, 2, 8), 64)


LATE = c.IORING_SETUP_SINGLE_ISSUER | c.IORING_SETUP_DEFER_TASKRUN
"""Requests see nothing before io_uring_enter() of the task that made the ring."""


def waiting(late: Subject, wire: Wire) -> Shelf:
    """A multishot RECV that waits for what comes, and the buffers it takes from."""
    shelf = Shelf(late, SIZES)
    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=c.IORING_RECV_MULTISHOT)
    assert late.ring.submit() == 1
    return shelf


@pytest.fixture(params=["unix", "tcp"])
def wire(request: pytest.FixtureRequest, make_wire: Callable[..., Wire]) -> Wire:
    return make_wire(tcp=request.param == "tcp")


@pytest.mark.needs("recv_multishot")
def test_the_end_comes_with_the_last_data(make_ring: Callable[..., Subject], wire: Wire) -> None:
    """A multishot receive waits; data comes, and the end of the stream, before it looks: both are reported.

    Live: two wakeups are one look, and nobody wakes it again. io_poll_check_events(); liburing #1549.
    Fixed by "poll: fix multishot recv missing EOF on wakeup race" (6.12.86).
    """
    late = make_ring(flags=LATE)
    shelf = waiting(late, wire)
    wire.feed(incoming(0, 24))
    wire.end()

    found = [Reply.of(cqe.res, cqe.flags) for cqe in late.ring.complete(2)]

    # TCP counts the end as a byte.
    assert found == [Reply(res=24, bid=5, more=True, nonempty=wire.tcp), Reply(res=0, nonempty=wire.tcp)]
    assert shelf.left() == [(bid, 64) for bid in (300, 2, 8)]


@pytest.mark.needs("recv_multishot")
def test_an_end_made_here_comes_with_the_last_data(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire]
) -> None:
    """A multishot receive of TCP waits; data comes, and its socket is shut for reading, before it looks: both are reported.

    What was shut on this side is no byte that is left (tcp_inq_hint()): only a second look finds the end, and nobody wakes
    it again. io_poll_check_events(); liburing #1549. Fixed by "poll: fix multishot recv missing EOF on wakeup race" (6.12.86).
    """
    late, wire = make_ring(flags=LATE), make_wire(tcp=True)
    shelf = waiting(late, wire)
    wire.feed(incoming(0, 24))
    wire.shut()

    found = [Reply.of(cqe.res, cqe.flags) for cqe in late.ring.complete(2)]

    assert found == [Reply(res=24, bid=5, more=True), Reply(res=0)]
    assert shelf.left() == [(bid, 64) for bid in (300, 2, 8)]


@pytest.mark.needs("recv_multishot")
def test_data_that_another_took_is_no_end(make_ring: Callable[..., Subject], wire: Wire) -> None:
    """A multishot receive waits; data comes twice, and another takes it before it looks, four times over. It goes on
    waiting, once: what comes then is reported once, and so is its cancellation.

    Live: it is issued anew beside its armed poll. io_poll_check_events(); liburing #778.
    Fixed by "poll: don't reissue in case of poll race on multishot request" (6.1.8).
    """
    late = make_ring(flags=LATE)
    shelf = waiting(late, wire)
    for _ in range(4):
        wire.feed(b"some")
        wire.feed(b"more")
        assert os.read(wire.near, 64) == b"somemore"
        late.ring.submit()
        assert late.ring.cqes() == []
    wire.feed(incoming(0, 24))

    found = [Reply.of(cqe.res, cqe.flags) for cqe in late.ring.complete()]

    assert found == [Reply(res=24, bid=5, more=True)]
    assert shelf.cancelled()[-1].bid is None
    assert shelf.left() == [(bid, 64) for bid in (300, 2, 8)]


@pytest.mark.needs("recv_multishot")
def test_an_end_behind_data_is_told(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """IOSQE_ASYNC multishot RECV of an AF_UNIX stream that holds 24 bytes and has ended: 24 bytes, and the end.

    Live: io-wq has it wait for poll, which is woken once; where the socket says that the data was all, nobody looks
    for more. io_recv_finish(), io_poll_check_events(); since 6.17 (unix_stream_read_generic() fills msg_inq). Open.
    """
    shelf, wire = Shelf(ring, SIZES), make_wire()
    wire.feed(incoming(0, 24))
    wire.end()
    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=c.IORING_RECV_MULTISHOT, flags=c.IOSQE_ASYNC)
    found = shelf.some(1)

    def told() -> int:
        ring.ring.submit()
        found.extend(Reply.of(cqe.res, cqe.flags) for cqe in ring.ring.cqes())
        return len(found)

    assert settled(told, 2, seconds=1) == 2, f"the end behind the data is not told: {found}"
    assert [(reply.res, reply.more) for reply in found] == [(24, True), (0, False)]
    assert found[0].bid == 5
