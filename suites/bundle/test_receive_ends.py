"""How a bundle of RECV comes to its end: one that waits, the end of the stream, a failing append, no buffers; and incremental rings."""

from __future__ import annotations

import ctypes
import errno
import socket
from collections.abc import Callable
from typing import ClassVar

import pytest

from ringrig.model.shelf import BGID, Rest, Shelf, spread, to_the_end
from ringrig.model.subject import Subject
from ringrig.model.transfer import Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("bundle"), pytest.mark.ends_within(3)]

FOUR = {9: 64, 300: 64, 0x8000: 64, 4: 64}


def test_a_bundle_that_waits_holds_nothing(ring: Subject, wire: Wire) -> None:
    """Nothing has come: the head stays; another request gets the buffers; then data for the bundle: the next two.

    io_recv(): io_kbuf_recycle() before poll
    """
    shelf = Shelf(ring, FOUR)
    shelf.queue(c.IORING_OP_RECV, wire.near, length=128, ioprio=c.IORING_RECVSEND_BUNDLE)
    assert shelf.ring.submit() == 1
    assert shelf.head() == 0

    assert shelf.group.read(length=64).bid == 9
    wire.send(incoming(0, 128))
    found = shelf.to_the_end()

    assert found == [Reply(res=128, bid=300)]
    assert shelf.head() == 3
    assert shelf.left() == [(4, 64)]


def test_the_end_of_the_stream_takes_no_buffer(ring: Subject, wire: Wire) -> None:
    """Nothing more comes: 0, without a buffer, and all are left; TCP counts the end as something to read.

    io_recv(): io_kbuf_recycle(); net/ipv4/tcp.c tcp_inq_hint()
    """
    shelf = Shelf(ring, FOUR)
    wire.end()

    shelf.queue(c.IORING_OP_RECV, wire.near, length=128, ioprio=c.IORING_RECVSEND_BUNDLE)
    found = shelf.to_the_end()

    assert found == [Reply(res=0, nonempty=wire.tcp)]
    assert shelf.left() == list(FOUR.items())


@pytest.mark.needs("inc")
class TestIncremental:
    """Bundles over an incremental ring: the last buffer may be used in part."""

    THREE: ClassVar = {300: 64, 2: 64, 8: 64}

    def test_the_length_cuts_the_last(self, ring: Subject, make_wire: Callable[..., Wire]) -> None:
        """Length 100, 100 bytes: 64 + 36, F_BUF_MORE, the head at the second; then 28 + 52 by length 80.

        io_ring_buffers_peek() does not leave out what the length cuts; io_kbuf_inc_commit()
        """
        shelf, wire = Shelf(ring, self.THREE, flags=c.IOU_PBUF_RING_INC, start=6), make_wire()
        found = []
        for start, length in ((0, 100), (100, 80)):
            wire.feed(incoming(start, length))
            shelf.queue(c.IORING_OP_RECV, wire.near, length=length, ioprio=c.IORING_RECVSEND_BUNDLE)
            found += shelf.to_the_end()

        assert found == [Reply(res=100, bid=300, buf_more=True), Reply(res=80, bid=2, buf_more=True)]
        assert shelf.rests() == [Rest(300, 0, 0), Rest(2, 36, 0), Rest(8, 52, 12)]
        assert shelf.head() == 2
        assert shelf.written() == spread(self.THREE, (64, 64, 52))

    def test_what_came_ends_in_the_second(self, ring: Subject, wire: Wire) -> None:
        """Length 192, 100 bytes: 64 + 36 used, F_BUF_MORE. io_kbuf_inc_commit()"""
        shelf = Shelf(ring, self.THREE, flags=c.IOU_PBUF_RING_INC)
        wire.feed(incoming(0, 100))
        shelf.queue(c.IORING_OP_RECV, wire.near, length=192, ioprio=c.IORING_RECVSEND_BUNDLE)

        assert shelf.to_the_end() == [Reply(res=100, bid=300, buf_more=True)]
        assert shelf.rests() == [Rest(300, 0, 0), Rest(2, 36, 28), Rest(8, 0, 64)]
        assert shelf.head() == 1
        assert shelf.written() == spread(self.THREE, (64, 36))

    def test_the_appended_round_decides(self, ring: Subject, make_wire: Callable[..., Wire]) -> None:
        """TCP, length 100, 150 bytes: 64 + 36, and 28 + 22 appended: F_BUF_MORE is the last round's.

        io_recv_finish(): CQE_F_MASK
        """
        shelf, wire = Shelf(ring, self.THREE, flags=c.IOU_PBUF_RING_INC), make_wire(tcp=True)
        wire.feed(incoming(0, 150))
        shelf.queue(c.IORING_OP_RECV, wire.near, length=100, ioprio=c.IORING_RECVSEND_BUNDLE)

        assert shelf.to_the_end() == [Reply(res=150, bid=300, buf_more=True)]
        assert shelf.rests() == [Rest(300, 0, 0), Rest(2, 36, 0), Rest(8, 22, 42)]
        assert shelf.written() == spread(self.THREE, (64, 64, 22))


@pytest.mark.parametrize(
    "flags", [0, pytest.param(c.IOU_PBUF_RING_INC, marks=pytest.mark.needs("inc"))], ids=["plain", "inc"]
)
def test_a_failing_append_uses_nothing_up(ring: Subject, make_wire: Callable[..., Wire], flags: int) -> None:
    """TCP, length 64, 160 bytes, the second buffer is not mapped: the first is reported, the others stay.

    The second round fails with -EFAULT: io_bundle_nbufs() and io_kbuf_commit() charge nothing for it.
    Fixed by "net: always use current transfer count for buffer put" (6.12.36).
    """
    sizes = {9: 64, 300: 64, 4: 64}
    shelf, wire = Shelf(ring, sizes, flags=flags), make_wire(tcp=True)
    addr = ring.arena.unmapped(64)
    shelf.group.memory.write(1, addr, 64, 300)
    wire.feed(incoming(0, 160))
    shelf.queue(c.IORING_OP_RECV, wire.near, length=64, ioprio=c.IORING_RECVSEND_BUNDLE)

    found = shelf.to_the_end()

    assert [(reply.res, reply.bid, reply.buf_more) for reply in found] == [(64, 9, False)]
    assert shelf.head() == 1
    assert shelf.group.entry(1) == (addr, 64, 300)
    assert shelf.written() == spread(sizes, (64,))


def test_one_bundle_leaves_nothing_for_the_next(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """TCP, length 64, 128 bytes, twice, by one request after the other: each appends a round. io_recvmsg_prep(): retry_flags

    The second has the first one's memory, as a ring keeps what requests were in.
    """
    shelf, wire = Shelf(ring, FOUR), make_wire(tcp=True)
    found = []
    for start in (0, 128):
        wire.feed(incoming(start, 128))
        shelf.queue(c.IORING_OP_RECV, wire.near, length=64, ioprio=c.IORING_RECVSEND_BUNDLE)
        found += shelf.to_the_end()

    assert found == [Reply(res=128, bid=9), Reply(res=128, bid=0x8000)]
    assert shelf.written() == spread(FOUR, (64, 64, 64, 64))


def test_without_length_an_empty_entry_gets_nothing(ring: Subject, wire: Wire) -> None:
    """The first entry has length 0, and no length is asked for, by which io_ring_buffers_peek() would divide: 0, and all stays."""
    shelf = Shelf(ring, {4: 0, 5: 64})
    wire.feed(incoming(0, 40))

    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=c.IORING_RECVSEND_BUNDLE)

    assert [reply.res for reply in shelf.to_the_end()] == [0]
    assert (shelf.head(), shelf.written(), wire.unread()) == (0, {}, 40)


@pytest.mark.parametrize("empty", [False, True], ids=["unmapped", "empty"])
def test_a_failing_append_is_the_last_round(
    ring: Subject, make_wire: Callable[..., Wire], empty: bool
) -> None:
    """TCP, a multishot, 160 bytes, the second buffer is not mapped or has no bytes: the first is reported, without F_MORE.

    The errors are -EFAULT and io_ring_buffers_peek()'s -ENOBUFS; what the first part got is told instead. io_recv(): mshot_finished
    """
    sizes = {9: 64, 300: 64, 4: 64}
    shelf, wire = Shelf(ring, sizes), make_wire(tcp=True)
    bad = (ring.arena.anon(64), 0, 300) if empty else (ring.arena.unmapped(64), 64, 300)
    shelf.group.memory.write(1, *bad)
    wire.feed(incoming(0, 160))
    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=c.IORING_RECVSEND_BUNDLE | c.IORING_RECV_MULTISHOT)

    found = shelf.to_the_end()

    assert [(reply.res, reply.bid, reply.more) for reply in found] == [(64, 9, False)]
    assert (shelf.head(), wire.unread()) == (1, 96)
    assert shelf.group.entry(1) == bad
    assert shelf.written() == spread(sizes, (64,))


@pytest.mark.parametrize("bid", [BGID, 9], ids=["bid_of_the_group", "another_bid"])
def test_a_first_part_counts_once(ring: Subject, make_wire: Callable[..., Wire], bid: int) -> None:
    """TCP, MSG_WAITALL, length 64: 40 bytes, then 88 more: 64 in two parts, and more appended from the same group: 128 in all,
    or 88 (6.17: no more than the second part).

    io_recv_finish(): what this round got is without what earlier ones did (done_io). Live in 6.12: __io_put_kbuf_ring()
    knows the group no more in the second part, and what is appended comes from the group whose number is the first bid.
    Open in 6.12.
    """
    sizes = {bid: 64, 300: 64, 4: 64}
    shelf, wire = Shelf(ring, sizes), make_wire(tcp=True)
    wire.feed(incoming(0, 40))
    shelf.queue(
        c.IORING_OP_RECV,
        wire.near,
        length=64,
        ioprio=c.IORING_RECVSEND_BUNDLE,
        msg_flags=socket.MSG_WAITALL,
    )
    assert ring.ring.submit() == 1
    assert ring.ring.cqes() == []
    wire.send(incoming(40, 88))

    [reply] = shelf.to_the_end()
    assert reply.res > 64, f"{reply}: nothing is appended, {wire.unread()} bytes are left"
    assert (reply.bid, reply.res + wire.unread(), shelf.head()) == (bid, 128, 2)
    assert shelf.written() == spread(sizes, (64, reply.res - 64))


@pytest.mark.parametrize("ioprio", [0, c.IORING_RECVSEND_BUNDLE], ids=["plain", "bundle"])
def test_no_buffer_breaks_the_link(ring: Subject, make_wire: Callable[..., Wire], ioprio: int) -> None:
    """An empty group: what is linked behind is cancelled. io_recv(): req_set_fail()"""
    shelf, wire = Shelf(ring, {3: 64}, published=0), make_wire()
    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=ioprio, flags=c.IOSQE_IO_LINK)
    ring.ring.sqe()

    assert [cqe.res for cqe in ring.ring.complete(2)] == [-errno.ENOBUFS, -errno.ECANCELED]


def test_a_receive_of_all_ends_short(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """MSG_WAITALL, length 256, 100 bytes have come: 100, as nothing would keep the other buffers from others.

    io_net_kbuf_can_retry(). Fixed by "net: don't retry recv on uncommitted buffers" (6.12.115, 7.3).
    """
    shelf, wire = Shelf(ring, FOUR), make_wire()
    wire.feed(incoming(0, 100))
    shelf.queue(
        c.IORING_OP_RECV,
        wire.near,
        length=256,
        ioprio=c.IORING_RECVSEND_BUNDLE,
        msg_flags=socket.MSG_WAITALL,
    )
    ring.ring.submit()
    found = [Reply.of(cqe.res, cqe.flags) for cqe in ring.ring.cqes()]

    assert found, f"a bundle waits with part of its buffers: head {shelf.head()}"
    assert [(reply.res, reply.bid) for reply in found] == [(100, 9)]
    assert shelf.head() == 2
    assert shelf.written() == spread(FOUR, (64, 36))


def test_without_select_the_flag_says_nothing(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """RECV with the flag into memory of its own: a plain receive. io_recvmsg_prep()"""
    wire, memory = make_wire(), ring.arena.anon(64)
    wire.feed(b"data")
    sqe = ring.ring.sqe()
    sqe.opcode, sqe.fd, sqe.addr, sqe.len = c.IORING_OP_RECV, wire.near, memory, 64
    sqe.ioprio = c.IORING_RECVSEND_BUNDLE

    assert to_the_end(ring.ring) == [Reply(res=4)]
    assert ctypes.string_at(memory, 5) == b"data\0"
