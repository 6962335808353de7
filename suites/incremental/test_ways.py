"""Each kind of request on an incremental ring: how much of its buffer it uses up, and when.

A receive or a read of a pipe uses up what came. What is committed as it is selected (files, io-wq, SEND) uses up
what was asked for, whatever comes.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

import pytest

from ringrig.model.shelf import BGID, Rest, Shelf, spread, to_the_end
from ringrig.model.subject import Subject
from ringrig.model.transfer import Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.group import Pipe
from ringrig.uring.requests import Vector, selecting
from ringrig.uring.ring import Ring
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("inc"), pytest.mark.ends_within(3)]

TWO = {300: 64, 2: 64}


@pytest.fixture
def shelf(ring: Subject) -> Shelf:
    """Two buffers of 64 bytes in an incremental ring."""
    return Shelf(ring, TWO, flags=c.IOU_PBUF_RING_INC)


@pytest.fixture
def wire(make_wire: Callable[..., Wire]) -> Wire:
    return make_wire()


def rests(*used: int) -> list[Rest]:
    """The two entries with so many bytes used; 64: gone (the address stays)."""
    return [
        Rest(bid, used % 64, 64 - used)
        for bid, used in zip(TWO, (*used, *(0,) * (2 - len(used))), strict=True)
    ]


def file_with(data: bytes) -> int:
    fd = os.memfd_create("ringrig")
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


READS = {"read": c.IORING_OP_READ, "readv": c.IORING_OP_READV}
RECEIVES = {"recv": c.IORING_OP_RECV, "recvmsg": c.IORING_OP_RECVMSG}


def fill_in_two(shelf: Shelf, ring: Ring, end: Pipe | Wire, *, opcode: int, fd: int, vectored: bool) -> None:
    """24 bytes for 64: 24 used; then 40: the buffer is gone."""
    vector = Vector(64) if vectored else None
    for length, more in ((24, True), (40, False)):
        end.feed(incoming(24 if length == 40 else 0, length))
        selecting(ring, opcode, fd, bgid=BGID, length=64, vector=vector)

        assert to_the_end(ring) == [Reply(res=length, bid=300, buf_more=more)]
        assert (shelf.rests(), shelf.head()) == (
            (rests(24), 0) if more else ([Rest(300, 24, 0), Rest(2, 0, 64)], 1)
        )
    assert shelf.written() == spread(TWO, (64,))


@pytest.mark.parametrize("opcode", READS.values(), ids=READS)
def test_a_pipe_uses_up_what_came(ring: Subject, shelf: Shelf, pipe: Pipe, opcode: int) -> None:
    """24 bytes, then the 40 left of the buffer. __io_put_kbuf_ring(), from kiocb_done()"""
    vectored = opcode == c.IORING_OP_READV
    fill_in_two(shelf, ring.ring, pipe, opcode=opcode, fd=pipe.reader, vectored=vectored)


@pytest.mark.parametrize("opcode", RECEIVES.values(), ids=RECEIVES)
def test_a_socket_uses_up_what_came(ring: Subject, shelf: Shelf, wire: Wire, opcode: int) -> None:
    """24 bytes, then the 40 left of the buffer. __io_put_kbuf_ring(), from io_recv_finish()"""
    vectored = opcode == c.IORING_OP_RECVMSG
    fill_in_two(shelf, ring.ring, wire, opcode=opcode, fd=wire.near, vectored=vectored)


ASKED = {"a_part": (40, 40), "exactly": (64, 64), "more_than_there_is": (100, 64), "no_length": (0, 64)}


@pytest.mark.parametrize("asked, used", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("there", [24, 0], ids=["short", "at_its_end"])
def test_a_file_uses_up_what_is_asked_for(shelf: Shelf, asked: int, used: int, there: int) -> None:
    """A READ of a file of 24 bytes, or none: the buffer moves on by the length of the request.

    io_ring_buffer_select(): a file without poll commits *len at once; REQ_F_BUF_MORE keeps the flag.
    Fixed by 418eab7a6f3c (6.12.78). Fixed by "kbuf: use pre-committed buffer address for non-pollable file" (6.12.9).
    """
    shelf.queue(c.IORING_OP_READ, file_with(incoming(0, there)), length=asked)

    assert shelf.to_the_end() == [Reply(res=there, bid=300, buf_more=used < 64)]
    gone = used == 64
    assert shelf.rests() == ([Rest(300, 0, 0), Rest(2, 0, 64)] if gone else rests(used))
    assert shelf.head() == gone
    assert shelf.written() == spread(TWO, (there,))


@pytest.mark.parametrize("asked, used", ASKED.values(), ids=ASKED)
def test_io_wq_uses_up_what_is_asked_for(shelf: Shelf, pipe: Pipe, asked: int, used: int) -> None:
    """24 bytes in a pipe, a READ by io-wq: the buffer moves on by the length of the request.

    io_ring_buffer_select(): IO_URING_F_UNLOCKED commits *len at once. Fixed by 418eab7a6f3c (6.12.78).
    """
    pipe.feed(incoming(0, 24))
    shelf.queue(c.IORING_OP_READ, pipe.reader, length=asked, flags=c.IOSQE_ASYNC)

    assert shelf.to_the_end() == [Reply(res=24, bid=300, buf_more=used < 64)]
    gone = used == 64
    assert shelf.rests() == ([Rest(300, 0, 0), Rest(2, 0, 64)] if gone else rests(used))
    assert shelf.head() == gone
    assert shelf.written() == spread(TWO, (24,))


@pytest.mark.parametrize("asked, used", ASKED.values(), ids=ASKED)
def test_io_wq_receives_what_is_asked_for(shelf: Shelf, wire: Wire, asked: int, used: int) -> None:
    """24 bytes in a socket, a RECV by io-wq: the buffer moves on by the length of the request.

    io_ring_buffer_select(): IO_URING_F_UNLOCKED commits *len at once
    """
    wire.feed(incoming(0, 24))
    shelf.queue(c.IORING_OP_RECV, wire.near, length=asked, flags=c.IOSQE_ASYNC)

    assert shelf.to_the_end() == [Reply(res=24, bid=300, buf_more=used < 64)]
    assert shelf.head() == (used == 64)
    assert shelf.written() == spread(TWO, (24,))


def test_the_end_of_a_pipe(shelf: Shelf, pipe: Pipe) -> None:
    """READ at the end: 0, the bid with F_BUF_MORE, nothing used. io_kbuf_inc_commit(): no data consumed

    Fixed by 3ecd3e03144b (6.12.81).
    """
    reader, writer = os.pipe2(os.O_NONBLOCK)
    os.close(writer)
    shelf.queue(c.IORING_OP_READ, reader)

    assert shelf.to_the_end() == [Reply(res=0, bid=300, buf_more=True)]
    assert (shelf.rests(), shelf.head()) == (rests(), 0)


def test_the_end_of_a_stream(shelf: Shelf, wire: Wire) -> None:
    """RECV at the end: 0, no buffer, nothing used, the next request has it. io_recv(): io_kbuf_recycle()"""
    wire.end()
    shelf.queue(c.IORING_OP_RECV, wire.near)

    assert shelf.to_the_end() == [Reply(res=0)]
    assert (shelf.rests(), shelf.left()) == (rests(), list(TWO.items()))


def test_a_request_that_waits_holds_nothing(shelf: Shelf, wire: Wire, pipe: Pipe) -> None:
    """A RECV waits; a READ takes 10 bytes; then data comes for the RECV: it goes behind them.

    io_recv(): io_kbuf_recycle() before poll, and a new selection when woken
    """
    shelf.queue(c.IORING_OP_RECV, wire.near)
    assert shelf.ring.submit() == 1
    pipe.feed(incoming(0, 10))
    assert shelf.group.read(pipe.reader).res == 10
    wire.send(incoming(10, 20))

    assert shelf.to_the_end() == [Reply(res=20, bid=300, buf_more=True)]
    assert shelf.rests() == rests(30)
    assert shelf.written() == spread(TWO, (30,))


def all_ends_short(shelf: Shelf, wire: Wire, opcode: int) -> None:
    wire.feed(incoming(0, 24))
    shelf.queue(opcode, wire.near, length=64, msg_flags=socket.MSG_WAITALL)
    shelf.ring.submit()
    found = [Reply.of(cqe.res, cqe.flags) for cqe in shelf.ring.cqes()]

    assert found, (
        f"a receive waits with part of a buffer: used of each {[rest.used for rest in shelf.rests()]}"
    )
    assert found == [Reply(res=24, bid=300, buf_more=True)]
    assert shelf.rests() == rests(24)


def test_a_receive_of_all_ends_short(shelf: Shelf, wire: Wire) -> None:
    """MSG_WAITALL, 24 of 64 bytes have come: that is all, as the rest of the buffer is others' to take.

    io_net_kbuf_can_retry(). Fixed by "net: don't retry recv on uncommitted buffers" (6.12.115, 7.3).
    """
    all_ends_short(shelf, wire, c.IORING_OP_RECV)


def test_a_message_of_all_ends_short(shelf: Shelf, wire: Wire) -> None:
    """The same by RECVMSG. io_recvmsg(). Fixed by "net: don't retry recv on uncommitted buffers" (6.12.115, 7.3)."""
    all_ends_short(shelf, wire, c.IORING_OP_RECVMSG)


def test_a_cut_datagram_uses_up_what_was_stored(ring: Subject) -> None:
    """MSG_TRUNC, 100 bytes for a buffer of 64, then 30: 100 and 30 are reported, 64 and 30 used.

    io_recv(): consumed = min(ret, len). Fixed by 6028b543884f (6.12.112, 7.2.7, 7.3-rc3).
    """
    near, far = socket.socketpair(type=socket.SOCK_DGRAM)
    shelf = Shelf(ring, TWO, flags=c.IOU_PBUF_RING_INC)
    with near, far:
        far.send(incoming(0, 100))
        far.send(incoming(64, 30))
        shelf.queue(c.IORING_OP_RECV, near.fileno(), msg_flags=socket.MSG_TRUNC)
        first = shelf.to_the_end()
        shelf.queue(c.IORING_OP_RECV, near.fileno(), msg_flags=socket.MSG_TRUNC)
        second = shelf.to_the_end()

    used = [rest.used for rest in shelf.rests()]
    assert not first[0].buf_more, f"a cut datagram uses up the next buffer: used of each {used}"
    assert first + second == [Reply(res=100, bid=300), Reply(res=30, bid=2, buf_more=True)]
    assert shelf.rests() == [Rest(300, 0, 0), Rest(2, 30, 34)]
    assert shelf.written() == spread(TWO, (64, 30))


def test_a_cut_message_uses_up_what_was_stored(ring: Subject) -> None:
    """The same by RECVMSG. io_recvmsg(): consumed = min(ret, len); 6028b543884f, liburing #1619"""
    near, far = socket.socketpair(type=socket.SOCK_DGRAM)
    shelf, vector, found = Shelf(ring, TWO, flags=c.IOU_PBUF_RING_INC), Vector(0), []
    with near, far:
        far.send(incoming(0, 100))
        far.send(incoming(64, 30))
        for _ in range(2):
            sqe = selecting(ring.ring, c.IORING_OP_RECVMSG, near.fileno(), bgid=BGID, vector=vector)
            sqe.msg_flags = socket.MSG_TRUNC
            found += shelf.to_the_end()

    used = [rest.used for rest in shelf.rests()]
    assert not found[0].buf_more, f"a cut message uses up the next buffer: used of each {used}"
    assert found == [Reply(res=100, bid=300), Reply(res=30, bid=2, buf_more=True)]
    assert shelf.rests() == [Rest(300, 0, 0), Rest(2, 30, 34)]
    assert shelf.written() == spread(TWO, (64, 30))


@pytest.mark.parametrize("way", ["read", "recv"])
def test_a_failure_uses_nothing_up(ring: Subject, shelf: Shelf, pipe: Pipe, wire: Wire, way: str) -> None:
    """Data for a buffer that is not mapped: -EFAULT, the entry as it was. io_kbuf_recycle()"""
    addr = ring.arena.unmapped(64)
    shelf.group.memory.write(0, addr, 64, 300)
    pipe.feed(b"data")
    wire.feed(b"data")
    if way == "read":
        shelf.queue(c.IORING_OP_READ, pipe.reader)
    else:
        shelf.queue(c.IORING_OP_RECV, wire.near)

    assert shelf.to_the_end() == [Reply(res=-errno.EFAULT)]
    assert (shelf.group.entry(0), shelf.head()) == ((addr, 64, 300), 0)


@pytest.mark.needs("recv_multishot")
def test_multishot_receive(shelf: Shelf, wire: Wire) -> None:
    """24, 30, then 40 bytes: four completions, the third fills the first buffer, the fourth begins the second.

    io_recv_finish(); what is not wanted again is reported by F_MORE without F_BUF_MORE
    """
    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=c.IORING_RECV_MULTISHOT)
    found: list[Reply] = []
    for start, length, count in ((0, 24, 1), (24, 30, 1), (54, 40, 2)):
        shelf.ring.submit()
        wire.send(incoming(start, length))
        found += [
            Reply(res=one.res, bid=one.bid, more=one.more, buf_more=one.buf_more) for one in shelf.some(count)
        ]

    assert found == [
        Reply(res=24, bid=300, more=True, buf_more=True),
        Reply(res=30, bid=300, more=True, buf_more=True),
        Reply(res=10, bid=300, more=True),
        Reply(res=30, bid=2, more=True, buf_more=True),
    ]
    assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
    assert shelf.rests() == [Rest(300, 54, 0), Rest(2, 30, 34)]
    assert shelf.written() == spread(TWO, (64, 30))


@pytest.mark.needs("read_multishot")
def test_multishot_read(shelf: Shelf, pipe: Pipe) -> None:
    """24, 30, then 40 bytes: the third read fills the first buffer, the fourth begins the second. io_read_mshot()"""
    shelf.queue(c.IORING_OP_READ_MULTISHOT, pipe.reader)
    found: list[Reply] = []
    for start, length, count in ((0, 24, 1), (24, 30, 1), (54, 40, 2)):
        shelf.ring.submit()
        pipe.feed(incoming(start, length))
        found += shelf.some(count)

    assert found == [
        Reply(res=24, bid=300, more=True, buf_more=True),
        Reply(res=30, bid=300, more=True, buf_more=True),
        Reply(res=10, bid=300, more=True),
        Reply(res=30, bid=2, more=True, buf_more=True),
    ]
    assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
    assert shelf.rests() == [Rest(300, 54, 0), Rest(2, 30, 34)]
    assert shelf.written() == spread(TWO, (64, 30))


@pytest.mark.needs("send_select")
@pytest.mark.parametrize("flags", [0, c.IOSQE_ASYNC], ids=["locked", "io_wq"])
def test_sends_go_on_where_the_last_one_ended(shelf: Shelf, wire: Wire, flags: int) -> None:
    """SENDs of 24, 100 and 10 bytes: 24, the 40 that are left, 10 of the next buffer. io_buffers_select()

    Fixed by 418eab7a6f3c (6.12.78).
    """
    stream = shelf.load()
    found: list[Reply] = []
    for length in (24, 100, 10):
        shelf.queue(c.IORING_OP_SEND, wire.near, length=length, flags=flags)
        found += shelf.to_the_end()

    assert found == [
        Reply(res=24, bid=300, buf_more=True),
        Reply(res=40, bid=300),
        Reply(res=10, bid=2, buf_more=True),
    ]
    assert wire.received() == stream[:74]
    assert shelf.rests() == [Rest(300, 24, 0), Rest(2, 10, 54)]
