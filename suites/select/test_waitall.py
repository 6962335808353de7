"""What MSG_WAITALL of 64 bytes comes to where no more will come, or not in the same way."""

from __future__ import annotations

import ctypes
import errno
import socket
from collections.abc import Callable

import pytest

from ringrig.model.shelf import BGID, REQUEST, Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.requests import Vector, selecting
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(3)

SIZES = {5: 64, 2: 64}
LINKED = 77
OPS = {"recv": c.IORING_OP_RECV, "recvmsg": c.IORING_OP_RECVMSG}
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)


def _pair(subject: Subject, kind: socket.SocketKind) -> tuple[int, socket.socket]:
    """The request's end, and the other."""
    near, far = socket.socketpair(socket.AF_UNIX, kind)
    return subject.arena.own(near.detach()), far


@each_kind
def test_a_short_datagram_breaks_the_link(ring: Subject, kind: Kind) -> None:
    """A datagram of 10 bytes: they are all there will be, which is no success, so what is linked behind is cancelled.

    io_recv(): ret < min_ret; io_net_retry() goes on for streams only
    """
    shelf = Shelf(ring, SIZES, kind=kind)
    near, far = _pair(ring, socket.SOCK_DGRAM)
    with far:
        far.send(incoming(0, 10))
        shelf.queue(c.IORING_OP_RECV, near, msg_flags=socket.MSG_WAITALL, flags=c.IOSQE_IO_LINK)
        ring.ring.sqe().user_data = LINKED
        found = {cqe.user_data: Reply.of(cqe.res, cqe.flags) for cqe in ring.ring.complete(2)}

    assert found == {REQUEST: Reply(res=10, bid=5), LINKED: Reply(res=-errno.ECANCELED)}
    assert shelf.written() == {5: incoming(0, 10)}
    assert shelf.left() == [(2, 64)]


@each_kind
@pytest.mark.parametrize("before", OPS.values(), ids=OPS)
@pytest.mark.parametrize("opcode", OPS.values(), ids=OPS)
def test_what_was_cut_before_does_not_count(
    ring: Subject, make_wire: Callable[..., Wire], before: int, opcode: int, kind: Kind
) -> None:
    """A datagram of 100 bytes is cut to 64; then MSG_WAITALL of 64 from a TCP stream has them all, so what is linked behind runs.

    A ring keeps a request's memory for the next, msg_flags with MSG_TRUNC in it. io_recv(), io_recvmsg()
    """
    shelf, wire = Shelf(ring, SIZES, kind=kind), make_wire(tcp=True)
    wire.feed(incoming(0, 64))
    near, far = _pair(ring, socket.SOCK_DGRAM)
    with far:
        far.send(incoming(0, 100))
        shelf.queue(before, near, length=64)
        found = ring.ring.complete()
    shelf.queue(opcode, wire.near, length=64, msg_flags=socket.MSG_WAITALL, flags=c.IOSQE_IO_LINK)
    ring.ring.sqe().user_data = LINKED
    found += ring.ring.complete(2)

    assert [(cqe.user_data, Reply.of(cqe.res, cqe.flags)) for cqe in found] == [
        (REQUEST, Reply(res=64, bid=5)),
        (REQUEST, Reply(res=64, bid=2)),
        (LINKED, Reply(res=0)),
    ]
    assert shelf.written() == {5: incoming(0, 64), 2: incoming(0, 64)}
    assert shelf.left() == []


@each_kind
def test_records_are_put_together(ring: Subject, kind: Kind) -> None:
    """SOCK_SEQPACKET: a record of 10 bytes, and later one of 54, fill one buffer. io_net_retry()"""
    shelf = Shelf(ring, SIZES, kind=kind)
    near, far = _pair(ring, socket.SOCK_SEQPACKET)
    with far:
        far.send(incoming(0, 10))
        shelf.queue(c.IORING_OP_RECV, near, length=64, msg_flags=socket.MSG_WAITALL)
        assert ring.ring.submit() == 1
        assert ring.ring.cqes() == []
        far.send(incoming(10, 54))
        found = shelf.to_the_end()

    assert found == [Reply(res=64, bid=5)]
    assert shelf.written() == {5: incoming(0, 64)}
    assert shelf.left() == [(2, 64)]


@each_kind
def test_a_message_with_control_data_is_not_put_together(
    ring: Subject, make_wire: Callable[..., Wire], kind: Kind
) -> None:
    """RECVMSG with room for control data, 40 of 64 bytes: they are told at once, or what belongs to them would be lost.

    io_recvmsg(): no min_ret with msg_controllen
    """
    shelf, wire = Shelf(ring, SIZES, kind=kind), make_wire()
    wire.feed(incoming(0, 40))
    vector, control = Vector(64), ctypes.create_string_buffer(64)
    vector.header.msg_control, vector.header.msg_controllen = ctypes.addressof(control), len(control)
    sqe = selecting(ring.ring, c.IORING_OP_RECVMSG, wire.near, bgid=BGID, vector=vector)
    sqe.msg_flags, sqe.user_data = socket.MSG_WAITALL, REQUEST

    found = shelf.to_the_end()

    assert found == [Reply(res=40, bid=5)]
    assert shelf.written() == {5: incoming(0, 40)}
    assert shelf.left() == [(2, 64)]


@each_kind
@pytest.mark.parametrize("opcode", OPS.values(), ids=OPS)
def test_a_part_is_told_by_who_is_cancelled(
    ring: Subject, make_wire: Callable[..., Wire], opcode: int, kind: Kind
) -> None:
    """40 of 64 bytes have come, and the request is cancelled: 40, in its buffer. io_sendrecv_fail(): done_io"""
    shelf, wire = Shelf(ring, SIZES, kind=kind), make_wire()
    wire.feed(incoming(0, 40))
    shelf.queue(opcode, wire.near, length=64, msg_flags=socket.MSG_WAITALL)
    assert ring.ring.submit() == 1
    assert ring.ring.cqes() == []

    found = shelf.cancelled()

    assert found == [Reply(res=40, bid=5)]
    assert shelf.written() == {5: incoming(0, 40)}
    assert shelf.left() == [(2, 64)]


@pytest.mark.needs("inc")
def test_io_wq_waits_for_all_that_it_has_used_up(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """IOSQE_ASYNC, length 100 of an incremental buffer of 200: 40 bytes, then 60: 100 are told, and 100 are used up.

    io-wq uses up what is asked for as it selects; nobody else can get it, so the rest can be waited for. io_net_kbuf_can_retry()
    """
    shelf, wire = Shelf(ring, {5: 200, 2: 64}, flags=c.IOU_PBUF_RING_INC), make_wire()
    wire.feed(incoming(0, 40))
    shelf.queue(c.IORING_OP_RECV, wire.near, length=100, msg_flags=socket.MSG_WAITALL, flags=c.IOSQE_ASYNC)
    assert ring.ring.submit() == 1
    assert settled(wire.unread, 0) == 0
    wire.send(incoming(40, 60))

    found = shelf.to_the_end()

    assert [(reply.res, reply.bid) for reply in found] == [(100, 5)]
    assert shelf.written() == {5: incoming(0, 100)}
    assert [rest[1:] for rest in shelf.rests()] == [(100, 100), (0, 64)]
