"""One-shot RECV and RECVMSG beside the multishot ones: what their msghdr says, what is left in the socket, and waiting for all."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from ringrig.model.shelf import BGID, Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.group import Group, remove_legacy
from ringrig.uring.requests import Vector, selecting
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(3)

each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
OPS = {"recv": c.IORING_OP_RECV, "recvmsg": c.IORING_OP_RECVMSG}
each_op = pytest.mark.parametrize("opcode", OPS.values(), ids=OPS)
GIBI = 1 << 30


@each_kind
def test_a_message_without_an_iovec_fills_the_buffer(
    ring: Subject, make_wire: Callable[..., Wire], kind: Kind
) -> None:
    """msg_iovlen 0, and msg_iov where nothing is: the whole buffer. io_msg_copy_hdr()"""
    shelf, wire, vector = Shelf(ring, {5: 64, 2: 64}, kind=kind), make_wire(), Vector(0, count=0)
    vector.header.msg_iov = ring.arena.unmapped(64)
    wire.feed(incoming(0, 100))

    selecting(ring.ring, c.IORING_OP_RECVMSG, wire.near, bgid=BGID, vector=vector)
    cqe = ring.ring.complete()[0]

    assert (cqe.res, cqe.bid) == (64, 5)
    assert shelf.written() == {5: incoming(0, 64)}


@pytest.mark.needs("bundle")
@pytest.mark.parametrize("before", OPS.values(), ids=OPS)
@each_op
def test_another_socket_says_nothing_of_this(
    ring: Subject, make_wire: Callable[..., Wire], before: int, opcode: int
) -> None:
    """A receive over TCP leaves 92 bytes unread; one of a datagram socket then is without F_SOCK_NONEMPTY.

    A request's memory is used again, and only TCP writes msg_inq: io_recvmsg() and io_recv() set it to -1. Before 6.10
    that was left to chance.
    """
    shelf, wire, vector = Shelf(ring, {5: 64, 2: 64}), make_wire(tcp=True), Vector(8)
    wire.feed(incoming(0, 100))
    near, far = socket.socketpair(type=socket.SOCK_DGRAM)
    with near, far:
        far.send(b"datagram")
        for op, fd in ((before, wire.near), (opcode, near.fileno())):
            message = vector if op == c.IORING_OP_RECVMSG else None
            selecting(ring.ring, op, fd, bgid=BGID, length=8, vector=message)
            shelf.ring.submit(1)
        found = [Reply.of(cqe.res, cqe.flags) for cqe in ring.ring.cqes()]

    assert found == [Reply(res=8, bid=5, nonempty=True), Reply(res=8, bid=2)]


@pytest.mark.needs("bundle")
@each_op
@pytest.mark.parametrize(
    "size", [2 * GIBI, 3 * GIBI, 4 * GIBI - 1], ids=["2_gib", "3_gib", "4_gib_less_a_byte"]
)
def test_a_buffer_longer_than_an_int_holds(
    ring: Subject, make_wire: Callable[..., Wire], opcode: int, size: int
) -> None:
    """An entry of 2 GiB and more: 8 bytes are received into it. With MSG_WAITALL they are waited with, up to the end.

    The length is kept within MAX_RW_COUNT: io_recv_buf_select(), io_recvmsg()
    """
    group, wire, vector = Group(ring.ring, ring.arena), make_wire(), Vector(0)
    assert group.register() == 0
    ring.owns(group.bgid)
    found = []
    for bid, flags in ((3, 0), (4, socket.MSG_WAITALL)):
        group.memory.publish(group.address_of(bid), size, bid)
        wire.feed(incoming(0, 8))
        message = vector if opcode == c.IORING_OP_RECVMSG else None
        selecting(ring.ring, opcode, wire.near, bgid=group.bgid, vector=message).msg_flags = flags
        ring.ring.submit()
        if flags:
            assert not ring.ring.cqes(), f"a receive of all into {size} bytes ends with a part"
            wire.send(incoming(8, 8))
            wire.end()
        found += [(cqe.res, cqe.bid) for cqe in ring.ring.complete()]

    assert found == [(8, 3), (16, 4)]
    assert [group.content(bid, 17) for bid in (3, 4)] == [
        incoming(0, 8) + bytes(9),
        incoming(0, 16) + bytes(1),
    ]


@pytest.mark.needs("defer_taskrun", "bundle")
@each_kind
@each_op
def test_a_part_stays_received(make_ring: Callable[..., Subject], opcode: int, kind: Kind) -> None:
    """MSG_WAITALL and 16 of 64 bytes; 8 more come and somebody else takes them, so that the request is woken in
    vain; the buffer is still its own, and gets the rest.

    io_net_kbuf_recyle(): REQ_F_BL_NO_RECYCLE. With IORING_SETUP_DEFER_TASKRUN a request goes on only when asked to.
    """
    ring = make_ring(flags=c.IORING_SETUP_DEFER_TASKRUN | c.IORING_SETUP_SINGLE_ISSUER)
    shelf, vector = Shelf(ring, {5: 64, 2: 64}, kind=kind), Vector(0)
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.send(incoming(0, 16))
        message = vector if opcode == c.IORING_OP_RECVMSG else None
        selecting(ring.ring, opcode, near.fileno(), bgid=BGID, vector=message).msg_flags = socket.MSG_WAITALL
        ring.ring.submit()
        far.send(b"for him!")
        assert near.recv(64) == b"for him!"

        ring.ring.submit()
        held = 1 if kind is Kind.RING else remove_legacy(ring.ring, bgid=BGID, count=8)
        far.send(incoming(16, 48))
        found = [Reply.of(cqe.res, cqe.flags) for cqe in ring.ring.complete()]

    assert held == 1, f"{held} buffers to be had while one of two is in use"
    assert found == [Reply(res=64, bid=5)]
    assert shelf.written() == {5: incoming(0, 64)}
