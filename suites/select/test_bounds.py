"""Slots at page ends and at the index's wrap, buffers between unmapped pages, lengths that want all their bits."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

import pytest

from ringrig.model.course import expect, meaningless
from ringrig.model.profiles import Profile
from ringrig.model.scene import Scene
from ringrig.model.subject import Subject
from ringrig.model.transfer import Buffer, Issue, Kind, Op, Reply, Source, Stock, Then, Transfer, incoming
from ringrig.uring import consts as c
from ringrig.uring import libc
from ringrig.uring.group import Group, Pipe, legacy
from ringrig.uring.layout import A_PAGE
from ringrig.uring.requests import Vector, selecting
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(5)

LAP = 1 << 16
SEND = pytest.param(Transfer(op=Op.SEND, length=64), id="send", marks=pytest.mark.needs("send_select"))
TRANSFERS = [
    pytest.param(Transfer(op=Op.READ, length=64, ready=40), id="read"),
    pytest.param(Transfer(op=Op.READ, source=Source.ZERO, length=24), id="read_of_a_device"),
    pytest.param(Transfer(op=Op.RECV, issue=Issue.IO_WQ, length=64, ready=40), id="recv_by_io_wq"),
    pytest.param(
        Transfer(op=Op.RECV_MULTISHOT, ready=300, then=(Then.CANCEL,)),
        id="recv_multishot",
        marks=pytest.mark.needs("recv_multishot"),
    ),
    SEND,
]
SLOT_OPS = [
    pytest.param(c.IORING_OP_READ, id="read"),
    pytest.param(c.IORING_OP_RECV, id="recv"),
    pytest.param(c.IORING_OP_SEND, id="send", marks=pytest.mark.needs("send_select")),
]
SIX = tuple(Buffer(bid=bid) for bid in (0x8000, 3, 0, 0xFFFF, 12, 0x7FFF))


@pytest.mark.slow
@pytest.mark.parametrize("call", TRANSFERS)
def test_the_index_wraps_at_65536(
    make_ring: Callable[..., Subject], profile: Profile, call: Transfer
) -> None:
    """Six buffers from index 65533 on: as anywhere else, and all are had in their order.

    io_ring_buffer_select(), io_ring_buffers_peek(): the index is a u16 and compared as one
    """
    stock = Stock(kind=Kind.RING, buffers=SIX, start=LAP - 3)
    if why := meaningless(call, stock, profile.traits):
        pytest.skip(why)
    scene = Scene(make_ring(4096), stock, profile.traits)

    assert scene.run(call) == expect(call, stock, profile.traits)


@pytest.mark.needs("bundle")
def test_a_bundle_goes_over_the_wrap(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire]
) -> None:
    """One receive of four buffers from index 65534 on: head 2, the first bid, each buffer its bytes. io_kbuf_commit()"""
    ring = make_ring(4096)
    group = Group(ring.ring, ring.arena)
    assert group.register() == 0
    ring.owns(group.bgid)
    group.spend(LAP - 2)
    group.publish(1, 2, 3, 4, 5)
    wire = make_wire()
    wire.feed(incoming(0, 256))
    sqe = selecting(ring.ring, c.IORING_OP_RECV, wire.near, bgid=group.bgid, length=256)
    sqe.ioprio = c.IORING_RECVSEND_BUNDLE

    cqe = ring.ring.complete()[0]

    assert (cqe.res, cqe.bid, group.head()) == (256, 1, 2)
    assert b"".join(group.content(bid, 64) for bid in (1, 2, 3, 4)) == incoming(0, 256)
    assert [group.next(), group.next()] == [5, None]


@pytest.mark.needs("bundle")
def test_a_bundle_ends_at_a_tail_that_has_wrapped(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire]
) -> None:
    """Three buffers from index 65534 on, the tail is 1; behind it lie entries of the lap before: they are not taken.

    io_ring_buffers_peek(): how many there are is a u16
    """
    ring = make_ring(4096)
    group = Group(ring.ring, ring.arena)
    assert group.register() == 0
    ring.owns(group.bgid)
    group.spend(LAP - 2)
    for slot in range(1, 6):
        group.memory.write(slot, group.address_of(slot), 64, slot)
    group.publish(6, 7, 0)
    wire = make_wire()
    wire.feed(incoming(0, 320))
    sqe = selecting(ring.ring, c.IORING_OP_RECV, wire.near, bgid=group.bgid, length=320)
    sqe.ioprio = c.IORING_RECVSEND_BUNDLE

    cqe = ring.ring.complete()[0]

    assert (cqe.res, cqe.bid, group.head()) == (192, 6, 1)
    assert b"".join(group.content(bid, 64) for bid in (6, 7, 0)) == incoming(0, 192)
    assert {group.content(bid, 64) for bid in range(1, 6)} == {bytes(64)}
    assert wire.unread() == 128


@pytest.mark.parametrize("opcode", SLOT_OPS)
@pytest.mark.parametrize(
    "entries, start",
    [
        pytest.param(2 * A_PAGE, A_PAGE - 2, id="first_page_end"),
        pytest.param(4 * A_PAGE, 3 * A_PAGE - 2, id="third_page_end"),
        pytest.param(32768, 32766, id="last_of_32768", marks=pytest.mark.slow),
    ],
)
def test_slots_around_a_page_end(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire], entries: int, start: int, opcode: int
) -> None:
    """The last two slots of a page and the first two of the next (or of the ring): each its own id, address and length.

    As first posted the ring had a header, so that its entries lay across page ends. io_ring_head_to_buf()
    """
    ring = make_ring(4096)
    group = Group(ring.ring, ring.arena, entries=entries, size=1)
    assert group.register() == 0
    ring.owns(group.bgid)
    group.spend(start)
    buffers = {9: 16, 0xFFFF: 7, 0: 12, 5: 30}
    sends = opcode == c.IORING_OP_SEND
    room = {bid: ring.arena.anon(64) for bid in buffers}
    data = {bid: incoming(bid, size) for bid, size in buffers.items()}
    for bid, size in buffers.items():
        ctypes.memset(room[bid], 0xA5, 64)
        if sends:
            ctypes.memmove(room[bid], data[bid], size)
        group.memory.publish(room[bid], size, bid)
    wire = make_wire()
    if not sends:
        wire.feed(b"".join(data.values()) + bytes(35))
    found = []
    for _ in buffers:
        selecting(ring.ring, opcode, wire.near, bgid=group.bgid, length=64)
        cqe = ring.ring.complete()[0]
        found.append((cqe.bid, cqe.res, cqe.flags & ~c.IORING_CQE_F_SOCK_NONEMPTY & 0xFFFF))

    assert found == [(bid, size, c.IORING_CQE_F_BUFFER) for bid, size in buffers.items()]
    assert {bid: ctypes.string_at(room[bid], 64) for bid in buffers} == {
        bid: data[bid].ljust(64, b"\xa5") for bid in buffers
    }
    if sends:
        assert wire.received(65) == b"".join(data.values())


BETWEEN = {
    "read": c.IORING_OP_READ,
    "readv": c.IORING_OP_READV,
    "recv": c.IORING_OP_RECV,
    "recvmsg": c.IORING_OP_RECVMSG,
}


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("flags", [0, c.IOSQE_ASYNC], ids=["locked", "io_wq"])
@pytest.mark.parametrize("opcode", BETWEEN.values(), ids=BETWEEN)
def test_a_buffer_between_unmapped_pages(
    ring: Subject, make_wire: Callable[..., Wire], opcode: int, flags: int, kind: Kind
) -> None:
    """A page with nothing before and behind, more data than it holds: it is filled to its ends, and no -EFAULT.

    io_ring_buffer_select(), io_provided_buffer_select(): the buffer's length is the limit
    """
    page = libc.PAGE_SIZE
    base = ring.arena.anon(3 * page)
    ring.arena.unmap(base, page)
    ring.arena.unmap(base + 2 * page, page)
    if kind is Kind.RING:
        group = Group(ring.ring, ring.arena)
        assert group.register() == 0
        ring.owns(group.bgid)
        group.memory.publish(base + page, page, 5)
    else:
        assert legacy(ring.ring, bgid=7, addr=base + page, size=page, count=1, bid=5) == 0
    wire = make_wire()
    wire.feed(incoming(0, page + 100))
    vectored = opcode in {c.IORING_OP_READV, c.IORING_OP_RECVMSG}
    vector = Vector(2 * page) if vectored else None
    sqe = selecting(ring.ring, opcode, wire.near, bgid=7, length=2 * page, vector=vector)
    sqe.flags |= flags

    cqe = ring.ring.complete()[0]

    assert (cqe.res, cqe.bid) == (page, 5)
    assert ctypes.string_at(base + page, page) == incoming(0, page)


LONG = {"31_bits": 0x7FFFFFFF, "32_bits_at_least": 0x80000000, "32_bits_at_most": 0xFFFFFFFF}


@pytest.mark.parametrize("size", LONG.values(), ids=LONG)
@pytest.mark.parametrize("length", [0, 24], ids=["whole", "shorter"])
@pytest.mark.parametrize("source", ["pipe", "file_at_selection", "io_wq_at_selection"])
def test_an_entry_as_long_as_can_be(ring: Subject, group: Group, source: str, length: int, size: int) -> None:
    """Two entries of 2 GiB and more, 20 bytes to read, twice: one bid after the other.

    No length may be taken for negative: io_kbuf_commit() takes an int, and an entry has a u32.
    """
    for bid in (6, 1):
        group.memory.publish(group.address_of(bid), size, bid)
    pipe, found = Pipe(ring.arena), []
    for _ in range(2):
        fd = pipe.reader
        if source == "file_at_selection":
            fd = ring.arena.own(os.memfd_create("ringrig"))
            os.pwrite(fd, incoming(0, 20), 0)
        else:
            pipe.feed(incoming(0, 20))
        flags = c.IOSQE_ASYNC * (source == "io_wq_at_selection")
        cqe = group.read(fd, length=length, flags=flags)
        found.append((cqe.res, cqe.bid))

    assert found == [(20, 6), (20, 1)], f"bids {[bid for _, bid in found]}, want [6, 1]"
    assert group.content(6, 24) == incoming(0, 20) + bytes(4)


@pytest.mark.crashes
@pytest.mark.needs("inc")
@pytest.mark.parametrize("size", [0x80000010, 0xFFFFFFFF], ids=["sign_bit", "all_bits"])
def test_an_incremental_entry_as_long_as_can_be(
    make_group: Callable[..., Group], pipe: Pipe, size: int
) -> None:
    """24 bytes of an incremental buffer of 2 GiB and more: it moves on by 24. io_kbuf_inc_commit(); CVE-2025-39822"""
    group = make_group(flags=c.IOU_PBUF_RING_INC)
    group.memory.publish(group.address_of(6), size, 6)
    pipe.feed(incoming(0, 24))

    cqe = group.read(pipe.reader)

    assert Reply.of(cqe.res, cqe.flags) == Reply(res=24, bid=6, buf_more=True)
    entry = group.entry(0)
    assert (entry.addr - group.address_of(6), entry.len, entry.bid) == (24, size - 24, 6)
    assert group.head() == 0


@pytest.mark.needs("min_left")
def test_a_least_rest_of_more_than_16_bits(make_group: Callable[..., Group], pipe: Pipe) -> None:
    """min_left 65537: of 100,000 bytes 40,000 are used, and the rest is too little: no F_BUF_MORE, the next bid.

    io_kbuf_inc_commit()
    """
    group = make_group(flags=c.IOU_PBUF_RING_INC, min_left=65537, size=100_000)
    group.publish(6, 1)
    pipe.feed(incoming(0, 40_000))

    cqe = group.read(pipe.reader)

    assert Reply.of(cqe.res, cqe.flags) == Reply(res=40_000, bid=6)
    assert (group.head(), group.read(length=1).bid) == (1, 1)
