"""Receives that wait until their linked timeout runs out: what they tell, and what of their buffers is used up."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from dataclasses import replace

import pytest

from ringrig.model.params import rings
from ringrig.model.shelf import Rest, Shelf, spread
from ringrig.model.subject import Subject
from ringrig.model.transfer import Op, Reply, incoming
from ringrig.model.waiting import waits
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(3)

FOUR = {9: 64, 300: 64, 0x8000: 64, 4: 64}
_BUNDLE, _MULTISHOT, _INC = c.IORING_RECVSEND_BUNDLE, c.IORING_RECV_MULTISHOT, c.IOU_PBUF_RING_INC
_CANCELLED = Reply(res=-errno.ECANCELED)
KINDS = [pytest.param(0, id="plain"), pytest.param(_INC, id="inc", marks=pytest.mark.needs("inc"))]
WAYS = [
    pytest.param(0, 0, id="recv"),
    pytest.param(0, socket.MSG_WAITALL, id="recv_of_all"),
    pytest.param(_BUNDLE, 0, id="bundle", marks=pytest.mark.needs("bundle")),
    pytest.param(_BUNDLE, socket.MSG_WAITALL, id="bundle_of_all", marks=pytest.mark.needs("bundle")),
    pytest.param(_MULTISHOT, 0, id="multishot", marks=pytest.mark.needs("recv_multishot")),
    pytest.param(
        _BUNDLE | _MULTISHOT,
        0,
        id="multishot_bundle",
        marks=pytest.mark.needs("recv_multishot", "bundle"),
    ),
]


def time_is_over(shelf: Shelf) -> list[Reply]:
    """What the request tells as its timeout runs out, which says -ETIME."""
    found, timeout = shelf.timed_out()
    assert timeout == Reply(res=-errno.ETIME)
    return found


def all_is_left(shelf: Shelf) -> bool:
    """No entry has changed, and nothing was written."""
    return shelf.rests() == [Rest(bid, 0, size) for bid, size in FOUR.items()] and shelf.written() == {}


@pytest.mark.parametrize("flags", KINDS)
@pytest.mark.parametrize("setup", rings("plain", "deferring"))
@pytest.mark.parametrize("ioprio, msg_flags", WAYS)
def test_nothing_has_come(  # noqa: PLR0917
    make_ring: Callable[..., Subject],
    make_wire: Callable[..., Wire],
    ioprio: int,
    msg_flags: int,
    setup: int,
    flags: int,
) -> None:
    """An empty socket: -ECANCELED, of no buffer, without F_BUF_MORE; all four are there for others, and what comes later is too.

    io_req_task_link_timeout(), io_try_cancel(); io_recv(): io_kbuf_recycle() before poll
    """
    shelf, wire = Shelf(make_ring(flags=setup), FOUR, flags=flags), make_wire()
    length = 0 if ioprio & _MULTISHOT else 128
    shelf.limit(shelf.queue(c.IORING_OP_RECV, wire.near, length=length, ioprio=ioprio, msg_flags=msg_flags))
    shelf.ring.submit()
    assert waits(shelf.ring, Op.RECV)

    found = time_is_over(shelf)
    wire.feed(incoming(0, 20))

    assert found == [_CANCELLED]
    assert all_is_left(shelf)
    assert wire.unread() == 20
    assert shelf.left() == list(FOUR.items())


ROUNDS = [
    pytest.param(_MULTISHOT, id="multishot", marks=pytest.mark.needs("recv_multishot")),
    pytest.param(
        _BUNDLE | _MULTISHOT, id="multishot_bundle", marks=pytest.mark.needs("recv_multishot", "bundle")
    ),
]


@pytest.mark.parametrize("flags", KINDS)
@pytest.mark.parametrize("ioprio", ROUNDS)
def test_rounds_have_come(ring: Subject, make_wire: Callable[..., Wire], ioprio: int, flags: int) -> None:
    """24 and 30 bytes, each told with F_MORE; then -ECANCELED, of no buffer: of an incremental ring the rest of the buffer stays.

    io_poll_cancel(), io_req_task_link_timeout(): what was told is used up, and no more
    """
    shelf, wire = Shelf(ring, FOUR, flags=flags), make_wire()
    shelf.limit(shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=ioprio))
    ring.ring.submit()
    found = []
    for start, length in ((0, 24), (24, 30)):
        assert waits(ring.ring, Op.RECV)
        wire.send(incoming(start, length))
        found += shelf.some(1)
    assert waits(ring.ring, Op.RECV)

    found += time_is_over(shelf)

    second = Reply(res=30, bid=9 if flags else 300, more=True, buf_more=bool(flags))
    assert found == [Reply(res=24, bid=9, more=True, buf_more=bool(flags)), second, _CANCELLED]
    assert shelf.written() == spread(FOUR, (54,) if flags else (24, 30))
    if flags:
        assert (shelf.rests()[0], shelf.head()) == (Rest(9, 54, 10), 0)
    assert shelf.left() == ([(9, 10), *list(FOUR.items())[1:]] if flags else list(FOUR.items())[2:])


@pytest.mark.parametrize(
    "ioprio",
    [pytest.param(0, id="recv"), pytest.param(_BUNDLE, id="bundle", marks=pytest.mark.needs("bundle"))],
)
def test_a_part_has_come(ring: Subject, make_wire: Callable[..., Wire], ioprio: int) -> None:
    """MSG_WAITALL, 40 bytes of a buffer's 64: they are told, in their buffer, which is gone, the next is not.

    io_sendrecv_fail(): done_io; io_net_kbuf_recyle() has committed the buffer
    """
    shelf, wire = Shelf(ring, FOUR), make_wire()
    wire.feed(incoming(0, 40))
    sqe = shelf.queue(c.IORING_OP_RECV, wire.near, length=64, ioprio=ioprio, msg_flags=socket.MSG_WAITALL)
    shelf.limit(sqe)
    ring.ring.submit()
    assert waits(ring.ring, Op.RECV)

    found = time_is_over(shelf)

    assert found == [Reply(res=40, bid=9)]
    assert shelf.written() == spread(FOUR, (40,))
    assert shelf.left() == list(FOUR.items())[1:]


@pytest.mark.needs("inc")
@pytest.mark.parametrize("there", [40, 0], ids=["a_part_has_come", "nothing_has_come"])
def test_io_wq_has_used_up_what_was_asked_for(
    ring: Subject, make_wire: Callable[..., Wire], there: int
) -> None:
    """IOSQE_ASYNC, MSG_WAITALL, length 48 of an incremental buffer of 64: 40 bytes or -ECANCELED, with the bid and F_BUF_MORE; the
    next request begins 48 bytes further on.

    io_ring_buffer_select(): IO_URING_F_UNLOCKED commits *len at once; io_req_defer_failed(): io_put_kbuf()
    """
    shelf, wire = Shelf(ring, FOUR, flags=_INC), make_wire()
    if there:
        wire.feed(incoming(0, there))
    sqe = shelf.queue(
        c.IORING_OP_RECV, wire.near, length=48, msg_flags=socket.MSG_WAITALL, flags=c.IOSQE_ASYNC
    )
    shelf.limit(sqe)
    ring.ring.submit()
    assert settled(wire.unread, 0) == 0
    assert waits(ring.ring, Op.RECV)

    found = time_is_over(shelf)

    want = Reply(res=40, bid=9) if there else replace(_CANCELLED, bid=9)
    assert found == [replace(want, buf_more=True)]
    assert (shelf.rests()[0], shelf.head()) == (Rest(9, 48, 16), 0)
    assert shelf.written() == spread(FOUR, (there,))
