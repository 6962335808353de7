"""A registered ring in use: its size, mask and flags are those of the registration."""

from __future__ import annotations

import ctypes
import errno
import random
import struct
from collections.abc import Callable

import pytest

from ringrig.model.subject import Subject
from ringrig.uring import consts as c
from ringrig.uring.group import Group, Pipe, bids
from ringrig.uring.layout import A_PAGE

SIZES = {"one": 1, "two": 2, "eight": 8, "sixteen": 16, "one_page": A_PAGE, "two_pages": 2 * A_PAGE}
MEMORY = {
    "user": pytest.param(0, id="user"),
    "kernel": pytest.param(c.IOU_PBUF_RING_MMAP, id="kernel", marks=pytest.mark.needs("mmap")),
}


@pytest.mark.parametrize("flags", MEMORY.values())
@pytest.mark.parametrize("entries", SIZES.values(), ids=SIZES)
def test_every_slot_is_handed_out_in_order(
    make_ring: Callable[..., Subject], entries: int, flags: int
) -> None:
    """Two laps and a half around a full ring, buffer ids shuffled: each slot once a lap, in the ring's order.

    io_ring_buffer_select(): slot head & mask (the RFC: tail & mask), mask = entries - 1.
    """
    ring = make_ring(entries=max(entries // 2, 1))
    group = Group(ring.ring, ring.arena, entries=entries, size=16, flags=flags)
    assert group.register() == 0
    wanted = [*range(entries)]
    random.Random(entries).shuffle(wanted)

    for lap in (wanted, wanted[::-1]):
        group.publish(*lap)
        assert bids(group.drain(entries)) == lap
    assert group.read(length=1).res == -errno.ENOBUFS
    half = wanted[: entries // 2]
    group.publish(*half)
    assert bids(group.drain(len(half)) if half else []) == half


@pytest.mark.slow
@pytest.mark.parametrize("flags", MEMORY.values())
def test_largest_ring_to_its_last_slot_and_around(make_ring: Callable[..., Subject], flags: int) -> None:
    """32768 entries, all filled, twice, and eight more: no slot is skipped, and u16 indices wrap at 65536.

    io_register_pbuf_ring(): pages for all entries; bl->head is a free-running u16, the RFC's bl->tail a u32.
    """
    ring = make_ring(entries=4096)
    group = Group(ring.ring, ring.arena, entries=32768, size=1, flags=flags)
    assert group.register() == 0
    entries = b"".join(struct.pack("<QIHH", group.data, 1, bid ^ 0x5555, 0) for bid in range(32768))
    ctypes.memmove(group.memory.address_of(0), entries, len(entries))
    wanted = [bid ^ 0x5555 for bid in range(32768)]

    for published in (32768, 65536):
        group.memory.producer = published
        assert bids(group.drain(32768)) == wanted
    group.memory.producer = 65536 + 8
    assert bids(group.drain(8)) == wanted[:8]
    assert group.read(length=1).res == -errno.ENOBUFS


@pytest.mark.parametrize("flags", MEMORY.values())
def test_without_inc_a_short_read_uses_the_buffer_up(make_ring: Callable[..., Subject], flags: int) -> None:
    """24 of 64 bytes into a plain ring's buffer: no BUF_MORE, the entry untouched, the next is next.

    io_kbuf_commit()
    """
    ring = make_ring()
    group = Group(ring.ring, ring.arena, flags=flags)
    assert group.register() == 0
    pipe = Pipe(ring.arena)
    group.publish(1, 2)
    entry = group.entry(0)

    pipe.feed(b"x" * 24)
    first = group.read(pipe.reader, length=64)
    pipe.feed(b"y" * 24)
    second = group.read(pipe.reader, length=64)

    assert (first.res, first.flags) == (24, c.IORING_CQE_F_BUFFER | 1 << 16)
    assert (second.res, second.flags) == (24, c.IORING_CQE_F_BUFFER | 2 << 16)
    assert group.entry(0) == entry
    assert group.content(1, 25) == b"x" * 24 + b"\0"


@pytest.mark.needs("inc")
@pytest.mark.parametrize("flags", [2, 3], ids=["user", "kernel"])
def test_with_inc_a_short_read_keeps_the_buffer(make_ring: Callable[..., Subject], flags: int) -> None:
    """24 of 64 bytes into an incremental buffer: BUF_MORE, the entry moved on by 24, the rest read next.

    io_register_pbuf_ring() sets IOBL_INC; io_kbuf_inc_commit()
    """
    ring = make_ring()
    group = Group(ring.ring, ring.arena, flags=flags)
    assert group.register() == 0
    pipe = Pipe(ring.arena)
    group.publish(1, 2)

    pipe.feed(b"x" * 24)
    first = group.read(pipe.reader)
    moved = group.entry(0)
    pipe.feed(b"y" * 40)
    second = group.read(pipe.reader)

    assert (first.res, first.bid, first.flags & c.IORING_CQE_F_BUF_MORE) == (24, 1, c.IORING_CQE_F_BUF_MORE)
    assert moved == (group.address_of(1) + 24, 40, 1)
    assert (second.res, second.bid, second.flags & c.IORING_CQE_F_BUF_MORE) == (40, 1, 0)
    assert group.content(1, 64) == b"x" * 24 + b"y" * 40


LEFT = {
    "zero": (0, True),
    "one": (1, True),
    "less_than_the_rest": (39, True),
    "the_rest": (40, True),
    "more_than_the_rest": (41, False),
    "more_than_the_buffer": (65, False),
    "u32_max": (0xFFFFFFFF, False),
}


@pytest.mark.needs("min_left")
@pytest.mark.parametrize("min_left, kept", LEFT.values(), ids=LEFT)
def test_min_left_decides_whether_the_rest_is_kept(
    ring: Subject, make_group: Callable[..., Group], pipe: Pipe, min_left: int, kept: bool
) -> None:
    """24 of 64 bytes read: the 40 left stay in use if they are at least min_left, and at least 1.

    io_register_pbuf_ring() stores min_left - 1 (0 stays 0), io_kbuf_inc_commit() compares. Fixed by 7deba791ad49 (6.12.90, 7.1).
    """
    group = make_group(flags=c.IOU_PBUF_RING_INC, min_left=min_left)
    group.publish(1, 2)

    pipe.feed(b"x" * 24)
    first = group.read(pipe.reader)
    entry = group.entry(0)
    pipe.feed(b"y")
    second = group.read(pipe.reader)

    assert (first.res, first.bid) == (24, 1)
    assert bool(first.flags & c.IORING_CQE_F_BUF_MORE) == kept
    assert second.bid == (1 if kept else 2)
    assert entry.len == (40 if kept else 0)


def test_a_registered_group_is_no_legacy_group(ring: Subject, group: Group) -> None:
    """PROVIDE_BUFFERS and REMOVE_BUFFERS on a ring's id: -EINVAL, and its buffers stay. io_add_buffers()"""
    group.publish(3)

    assert ring.provide_buffers(bgid=7, count=2) == -errno.EINVAL
    assert ring.remove_buffers(bgid=7, count=2) == -errno.EINVAL

    assert group.next() == 3
