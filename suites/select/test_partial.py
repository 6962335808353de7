"""Receives with MSG_WAITALL that got a part of what they want, and what their other arguments say."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from ringrig.model.shelf import BGID, REQUEST, Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.requests import selecting
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(3)

each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
each_op = pytest.mark.parametrize("opcode", [c.IORING_OP_RECV, c.IORING_OP_RECVMSG], ids=["recv", "recvmsg"])


@each_kind
@each_op
@pytest.mark.parametrize("then", ["rest", "end"])
def test_a_part_is_kept_until_the_rest_comes(
    ring: Subject, make_wire: Callable[..., Wire], opcode: int, then: str, kind: Kind
) -> None:
    """MSG_WAITALL of 64 got 20 bytes and waits: another request gets the next buffer; then the rest comes, or the end.

    The part is reported, with its bytes in its own buffer. REQ_F_BL_NO_RECYCLE, io_net_kbuf_recyle()
    """
    shelf = Shelf(ring, {5: 64, 2: 32}, kind=kind)
    wire = make_wire()
    wire.feed(incoming(0, 20))
    shelf.queue(opcode, wire.near, length=64, msg_flags=socket.MSG_WAITALL)
    assert ring.ring.submit() == 1
    other = shelf.group.read(length=8)

    if then == "rest":
        wire.send(incoming(20, 44))
    else:
        wire.end()

    length = 64 if then == "rest" else 20
    assert (other.res, other.bid) == (8, 2)
    assert shelf.to_the_end() == [Reply(res=length, bid=5)]
    assert shelf.written() == {5: incoming(0, length), 2: bytes(8)}
    assert shelf.left() == []


@each_kind
@each_op
def test_part_after_part_comes(
    ring: Subject, make_wire: Callable[..., Wire], opcode: int, kind: Kind
) -> None:
    """MSG_WAITALL of 64 bytes that come as 10, 10 and 44: it waits twice, and tells of 64 in one buffer.

    io_recv(), io_recvmsg(): min_ret is what is still wanted
    """
    shelf, wire = Shelf(ring, {5: 64, 2: 32}, kind=kind), make_wire()
    shelf.queue(opcode, wire.near, length=64, msg_flags=socket.MSG_WAITALL)
    assert ring.ring.submit() == 1

    for done in (0, 10):
        wire.send(incoming(done, 10))
        assert settled(wire.unread, 0) == 0
        assert ring.ring.cqes() == []
    wire.send(incoming(20, 44))

    assert shelf.to_the_end() == [Reply(res=64, bid=5)]
    assert shelf.written() == {5: incoming(0, 64)}
    assert shelf.left() == [(2, 32)]


def test_the_address_of_a_receive_that_selects_is_not_looked_at(
    ring: Subject, make_wire: Callable[..., Wire]
) -> None:
    """RECV with select and an address of the kernel's: done. io_recvmsg_prep_setup()"""
    shelf = Shelf(ring, {5: 64})
    wire = make_wire()
    wire.feed(incoming(0, 20))
    sqe = selecting(ring.ring, c.IORING_OP_RECV, wire.near, bgid=BGID, length=64)
    sqe.addr, sqe.user_data = 0xFFFF888000000000, REQUEST

    assert shelf.to_the_end() == [Reply(res=20, bid=5)]


@pytest.mark.needs("defer_taskrun")
@each_kind
def test_a_part_is_kept_when_it_was_woken_for_nothing(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire], kind: Kind
) -> None:
    """MSG_WAITALL of 64 got 20 bytes and waits; what wakes it is taken by a read(); another request comes; then the rest.

    The other request gets the next buffer: one with bytes in it is not put back. io_kbuf_recycle()
    """
    ring = make_ring(flags=c.IORING_SETUP_SINGLE_ISSUER | c.IORING_SETUP_DEFER_TASKRUN)
    shelf = Shelf(ring, {5: 64, 2: 32}, kind=kind)
    wire = make_wire()
    wire.feed(incoming(0, 20))
    shelf.queue(c.IORING_OP_RECV, wire.near, length=64, msg_flags=socket.MSG_WAITALL)
    assert ring.ring.submit() == 1

    wire.feed(b"gone")
    assert os.read(wire.near, 4) == b"gone"
    ring.ring.submit()
    other = shelf.group.read(length=8)
    wire.send(incoming(20, 44))

    assert (other.res, other.bid) == (8, 2)
    assert shelf.to_the_end() == [Reply(res=64, bid=5)]
    assert shelf.written() == {5: incoming(0, 64), 2: bytes(8)}
