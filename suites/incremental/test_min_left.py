"""min_left wherever a buffer is used in part: multishots, messages, bundles, and what is committed as it is selected."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

import pytest

from ringrig.model.shelf import BGID, REQUEST, Rest, Shelf, spread
from ringrig.model.subject import Subject
from ringrig.model.transfer import RECVMSG_HEADER, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.group import Pipe
from ringrig.uring.requests import Vector, selecting
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("min_left"), pytest.mark.ends_within(3)]

INC = c.IOU_PBUF_RING_INC
THREE = {300: 64, 2: 64, 8: 64}
MIN_LEFT = 32


@pytest.fixture
def shelf(ring: Subject) -> Shelf:
    """Three buffers of 64 bytes, of which a rest of less than 32 is not kept."""
    return Shelf(ring, THREE, flags=INC, min_left=MIN_LEFT)


ROUNDS = {"read": (c.IORING_OP_READ_MULTISHOT, 0), "recv": (c.IORING_OP_RECV, c.IORING_RECV_MULTISHOT)}
WRITES = (300, 300, 300, 100, 512, 512, 300, 300, 324, 300)
WANT = [
    (300, 0, True), (300, 0, True), (300, 0, False), (100, 1, True), (512, 1, True), (412, 1, False),
    (100, 2, True), (300, 2, True), (300, 2, True), (324, 2, False), (300, 3, True),
]  # fmt: skip


@pytest.mark.parametrize("opcode, ioprio", ROUNDS.values(), ids=ROUNDS)
def test_a_multishot_goes_on_in_the_next(
    ring: Subject, make_wire: Callable[..., Wire], opcode: int, ioprio: int
) -> None:
    """Ten writes into four buffers of 1024 bytes, min_left 200: a rest of 124 is left out, and so is one of 0.

    The sequence that liburing #1433 asks for. io_kbuf_inc_commit(). Fixed by 7deba791ad49 (6.12.90, 7.1).
    """
    sizes = dict.fromkeys(range(4), 1024)
    shelf, wire = Shelf(ring, sizes, flags=INC, min_left=200), make_wire()
    shelf.queue(opcode, wire.near, ioprio=ioprio)
    assert shelf.ring.submit() == 1
    found: list[Reply] = []
    done = 0
    for length in WRITES:
        wire.send(incoming(done, length))
        done += length
        while sum(reply.res for reply in found) < done:
            found += shelf.some(1)

    assert [(reply.res, reply.bid, reply.buf_more) for reply in found] == WANT
    assert all(reply.more for reply in found)
    assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
    assert shelf.rests() == [Rest(0, 600, 0), Rest(1, 612, 0), Rest(2, 700, 0), Rest(3, 300, 724)]
    assert shelf.written() == spread(sizes, (900, 1024, 1024, 300))


def test_a_message_finds_room_for_its_header(ring: Subject) -> None:
    """RECVMSG multishot, buffers of 100 bytes, messages of 30: after two a rest of 8 is left, which holds no header; min_left
    20 gives it up, and the third message has the next buffer, not -EFAULT.

    What min_left came for. io_recvmsg_prep_multishot(), io_kbuf_inc_commit(); liburing #1433. Fixed by 7deba791ad49 (6.12.90, 7.1).
    """
    sizes = {300: 100, 2: 100}
    shelf, vector = Shelf(ring, sizes, flags=INC, min_left=20), Vector(0)
    used = RECVMSG_HEADER.size + 30
    near, far = socket.socketpair(type=socket.SOCK_DGRAM)
    with near, far:
        for number in range(3):
            far.send(incoming(30 * number, 30))
        sqe = selecting(ring.ring, c.IORING_OP_RECVMSG, near.fileno(), bgid=BGID, vector=vector)
        sqe.ioprio, sqe.user_data = c.IORING_RECV_MULTISHOT, REQUEST
        found = shelf.some(3)
        assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]

    assert found == [
        Reply(res=used, bid=300, more=True, buf_more=True),
        Reply(res=used, bid=300, more=True),
        Reply(res=used, bid=2, more=True, buf_more=True),
    ]
    parts = [RECVMSG_HEADER.pack(0, 0, 30, 0) + incoming(30 * number, 30) for number in range(3)]
    assert shelf.written() == {300: parts[0] + parts[1], 2: parts[2]}
    assert shelf.rests() == [Rest(300, used, 0), Rest(2, used, 100 - used)]
    assert shelf.head() == 1


SELECTED = {"kept": (32, True), "a_byte_too_little": (33, False)}
WAYS = ["file", "read_by_io_wq", "recv_by_io_wq", "send", "send_by_io_wq"]


@pytest.mark.parametrize("length, kept", SELECTED.values(), ids=SELECTED)
@pytest.mark.parametrize("way", WAYS)
def test_what_is_used_up_at_once(  # noqa: PLR0917
    ring: Subject, shelf: Shelf, pipe: Pipe, make_wire: Callable[..., Wire], way: str, length: int, kept: bool
) -> None:
    """32 or 33 of 64 bytes asked for: F_BUF_MORE and 32 left, or neither, and the next request has the next buffer.

    io_ring_buffer_select(), io_buffers_select(): committed as they are selected, with REQ_F_BUF_MORE kept
    """
    wire = make_wire()
    stream = shelf.load() if "send" in way else incoming(0, 100)
    if way == "file":
        fd = ring.arena.own(os.memfd_create("ringrig"))
        os.pwrite(fd, stream, 0)
        opcode = c.IORING_OP_READ
    elif "read" in way:
        pipe.feed(stream)
        fd, opcode = pipe.reader, c.IORING_OP_READ
    else:
        fd, opcode = wire.near, c.IORING_OP_SEND if "send" in way else c.IORING_OP_RECV
        if "recv" in way:
            wire.feed(stream)
    shelf.queue(opcode, fd, length=length, flags=c.IOSQE_ASYNC * ("io_wq" in way))
    found = shelf.to_the_end()

    assert [(reply.res, reply.bid, reply.buf_more) for reply in found] == [(length, 300, kept)]
    assert shelf.rests()[0] == (Rest(300, 32, 32) if kept else Rest(300, 0, 0))
    assert shelf.head() == (not kept)
    if "send" in way:
        assert wire.received() == stream[:length]
    else:
        assert shelf.written() == spread(THREE, (length,))
    assert shelf.left() == ([(300, 32)] if kept else []) + [(2, 64), (8, 64)]


def test_a_bundle_gives_its_last_rest_up(ring: Subject, shelf: Shelf, make_wire: Callable[..., Wire]) -> None:
    """100 bytes for three buffers: 64 + 36, no F_BUF_MORE as 28 are too few; the next bundle begins with the third.

    io_kbuf_inc_commit(), from io_put_kbufs()
    """
    wire = make_wire()
    wire.feed(incoming(0, 100))
    shelf.queue(c.IORING_OP_RECV, wire.near, length=192, ioprio=c.IORING_RECVSEND_BUNDLE)
    found = shelf.to_the_end()
    wire.feed(incoming(100, 32))
    shelf.queue(c.IORING_OP_RECV, wire.near, length=192, ioprio=c.IORING_RECVSEND_BUNDLE)
    found += shelf.to_the_end()

    assert found == [Reply(res=100, bid=300), Reply(res=32, bid=8, buf_more=True)]
    assert shelf.rests() == [Rest(300, 0, 0), Rest(2, 0, 0), Rest(8, 32, 32)]
    assert shelf.head() == 2
    assert b"".join(shelf.written().values()) == incoming(0, 132)


def test_a_send_bundle_leaves_its_last_rest_out(shelf: Shelf, make_wire: Callable[..., Wire]) -> None:
    """Length 100: 64 + 36 with F_MORE and no F_BUF_MORE; the next round is the third buffer: 28 bytes are never sent.

    io_buffers_select(): io_kbuf_commit() as it is selected
    """
    wire = make_wire()
    stream = shelf.load()
    shelf.queue(c.IORING_OP_SEND, wire.near, length=100, ioprio=c.IORING_RECVSEND_BUNDLE)

    assert shelf.to_the_end() == [Reply(res=100, bid=300, more=True), Reply(res=64, bid=8)]
    assert wire.received() == stream[:100] + stream[128:]
    assert shelf.rests() == [Rest(300, 0, 0), Rest(2, 0, 0), Rest(8, 0, 0)]
    assert shelf.head() == 3
