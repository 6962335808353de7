"""IORING_RECVSEND_POLL_FIRST: a request that waits before it looks for a buffer, or for its group."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from ringrig.model.shelf import BGID, REQUEST, Rest, Shelf, spread, to_the_end
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.requests import Vector, selecting
from ringrig.uring.wire import Wire, stuff

pytestmark = pytest.mark.ends_within(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receive:
    opcode: int = c.IORING_OP_RECV
    ioprio: int = 0
    length: int = 64
    needs: tuple[str, ...] = ()


SIZES = {5: 64, 2: 64}
RECEIVES = {
    "recv": Receive(),
    "recvmsg": Receive(opcode=c.IORING_OP_RECVMSG),
    "recv_multishot": Receive(ioprio=c.IORING_RECV_MULTISHOT, length=0, needs=("recv_multishot",)),
    "recv_bundle": Receive(ioprio=c.IORING_RECVSEND_BUNDLE, needs=("bundle",)),
}
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
each_receive = pytest.mark.parametrize(
    "call",
    [pytest.param(one, id=name, marks=pytest.mark.needs(*one.needs)) for name, one in RECEIVES.items()],
)


def queue(ring: Subject, wire: Wire, call: Receive) -> None:
    vector = Vector(call.length) if call.opcode == c.IORING_OP_RECVMSG else None
    sqe = selecting(ring.ring, call.opcode, wire.near, bgid=BGID, length=call.length, vector=vector)
    sqe.ioprio, sqe.user_data = call.ioprio | c.IORING_RECVSEND_POLL_FIRST, REQUEST


@each_kind
@each_receive
def test_the_group_may_come_later(
    ring: Subject, make_wire: Callable[..., Wire], call: Receive, kind: Kind
) -> None:
    """No group, no data: it waits, where any other receive says -ENOBUFS; group and 20 bytes come: the first buffer.

    io_recv(), io_recvmsg(): -EAGAIN before all else, until REQ_F_POLLED
    """
    wire = make_wire()
    queue(ring, wire, call)
    assert ring.ring.submit() == 1
    assert ring.ring.cqes() == []
    shelf = Shelf(ring, SIZES, kind=kind)

    wire.send(incoming(0, 20))
    found = shelf.some(1)

    more = bool(call.ioprio & c.IORING_RECV_MULTISHOT)
    assert [(reply.res, reply.bid, reply.more) for reply in found] == [(20, 5, more)]
    if more:
        assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
    assert shelf.written() == spread(SIZES, (20,))
    assert shelf.left() == [(2, 64)]


@each_kind
@each_receive
def test_data_that_is_there_wakes_it(
    ring: Subject, make_wire: Callable[..., Wire], call: Receive, kind: Kind
) -> None:
    """20 bytes are there: it is woken as it begins to wait, and gets them; out of buffers it is -ENOBUFS, and they stay.

    io_arm_poll_handler(): IO_APOLL_READY
    """
    shelf, wire = Shelf(ring, SIZES, kind=kind), make_wire()
    wire.feed(incoming(0, 20))
    queue(ring, wire, call)
    found = shelf.some(1)

    more = bool(call.ioprio & c.IORING_RECV_MULTISHOT)
    assert [(reply.res, reply.bid, reply.more) for reply in found] == [(20, 5, more)]
    if more:
        assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
    assert shelf.written() == spread(SIZES, (20,))
    assert shelf.left() == [(2, 64)]

    wire.feed(b"data")
    queue(ring, wire, call)

    assert shelf.to_the_end() == [Reply(res=-errno.ENOBUFS)]
    assert wire.unread() == 4


@pytest.mark.needs("inc")
def test_an_incremental_buffer_goes_on(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """20 bytes are there, then 30, for buffers of 64: it runs as any receive, not in io-wq, and uses up what came.

    io_queue_async(): io_req_task_queue() where poll is ready at once
    """
    shelf, wire = Shelf(ring, SIZES, flags=c.IOU_PBUF_RING_INC), make_wire()
    for done, piece in ((0, 20), (20, 30)):
        wire.feed(incoming(done, piece))
        queue(ring, wire, RECEIVES["recv"])
        assert shelf.to_the_end() == [Reply(res=piece, bid=5, buf_more=True)]

    assert shelf.rests() == [Rest(5, 50, 14), Rest(2, 0, 64)]
    assert shelf.written() == spread(SIZES, (50,))


@pytest.mark.needs("bundle")
def test_a_bundle_takes_all_it_needs(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """100 bytes are there (TCP) for a bundle of 128: both buffers with one completion. io_queue_async(), io_recv()"""
    shelf, wire = Shelf(ring, SIZES), make_wire(tcp=True)
    wire.feed(incoming(0, 100))
    queue(ring, wire, replace(RECEIVES["recv_bundle"], length=128))

    assert shelf.to_the_end() == [Reply(res=100, bid=5)]
    assert shelf.written() == spread(SIZES, (64, 36))
    assert shelf.left() == []


@pytest.mark.needs("send_select")
@each_kind
@pytest.mark.parametrize(
    "ioprio",
    [0, pytest.param(c.IORING_RECVSEND_BUNDLE, marks=pytest.mark.needs("bundle"))],
    ids=["plain", "bundle"],
)
def test_what_is_to_be_sent_may_come_later(
    ring: Subject, make_wire: Callable[..., Wire], ioprio: int, kind: Kind
) -> None:
    """A SEND, no group, and a socket that is full: it waits; a group comes, and room: its first buffer is sent.

    A bundle ends there, as it had to wait. io_send(). Fixed by "net: don't continue send bundle if poll was required" (6.12.75).
    """
    wire = make_wire()
    wire.narrow()
    full = stuff(wire.near)
    sqe = selecting(ring.ring, c.IORING_OP_SEND, wire.near, bgid=BGID, length=64)
    sqe.ioprio, sqe.user_data = ioprio | c.IORING_RECVSEND_POLL_FIRST, REQUEST
    assert ring.ring.submit() == 1
    assert ring.ring.cqes() == []
    shelf = Shelf(ring, SIZES, kind=kind)
    stream = shelf.load()

    assert wire.received(full) == b"\xff" * full
    found = to_the_end(ring.ring)

    assert found == [Reply(res=64, bid=5)]
    assert wire.received() == stream[:64]
    assert shelf.left() == [(2, 64)]
