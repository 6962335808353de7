"""Pieces of any length into the buffers of an incremental ring: entries, bids, F_BUF_MORE and bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from ctypes import string_at
from dataclasses import dataclass

import pytest

from ringrig.model.increments import Increments
from ringrig.model.shelf import Shelf, to_the_end
from ringrig.model.subject import Subject
from ringrig.model.transfer import Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring import libc
from ringrig.uring.group import Group
from ringrig.uring.requests import selecting
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("inc"), pytest.mark.ends_within(3)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """Lengths that come one after the other, each for one receive."""

    sizes: Mapping[int, int]
    pieces: tuple[int, ...]
    min_left: int = 0


THREE = {300: 64, 2: 64, 0xFFFF: 64}
TABLE = {
    "halves": Pieces(sizes=THREE, pieces=(32, 32, 32)),
    "whole_buffers": Pieces(sizes=THREE, pieces=(64, 64, 64)),
    "one_byte_each": Pieces(sizes={1: 3, 0: 2}, pieces=(1, 1, 1, 1, 1)),
    "all_but_one_byte": Pieces(sizes=THREE, pieces=(63, 1, 63)),
    "odd_lengths": Pieces(sizes=THREE, pieces=(1, 7, 9, 13, 34, 5, 59, 11)),
    "buffers_of_odd_lengths": Pieces(sizes={8: 13, 6: 1, 7: 57, 5: 3}, pieces=(12, 1, 1, 29, 3, 25, 2)),
    "one_byte_short_of_64_kib": Pieces(sizes={1: 70_000, 0: 64}, pieces=(65_535, 4_464, 1, 8)),
    "64_kib": Pieces(sizes={1: 70_000, 0: 64}, pieces=(65_536, 1_000, 3_464, 8)),
    "more_than_64_kib": Pieces(sizes={1: 140_000, 0: 64}, pieces=(70_001, 65_543, 4_000, 456, 8)),
}
MIN_LEFT = {
    "just_enough_is_left": Pieces(sizes=THREE, pieces=(50, 6, 1, 64), min_left=8),
    "one_byte_too_little": Pieces(sizes=THREE, pieces=(57, 57, 56, 8), min_left=8),
    "one": Pieces(sizes=THREE, pieces=(63, 1, 10), min_left=1),
    "two": Pieces(sizes=THREE, pieces=(62, 1, 63, 10), min_left=2),
    "buffers_smaller_than_it": Pieces(sizes=THREE, pieces=(1, 64, 9), min_left=100),
    "a_buffer_of_its_size": Pieces(sizes=THREE, pieces=(1, 1, 64), min_left=64),
    "above_16_bits": Pieces(
        sizes={1: 150_000, 0: 80_000, 4: 64}, pieces=(70_000, 10_000, 1, 9_999, 2, 5), min_left=70_000
    ),
    "just_above_16_bits": Pieces(
        sizes={1: 80_000, 0: 80_000},
        pieces=(
            14_463,
            1,
            1,
            14_465,
        ),
        min_left=65_536,
    ),
}
CASES = [
    *(pytest.param(pieces, id=name) for name, pieces in TABLE.items()),
    *(
        pytest.param(pieces, id=f"min_left-{name}", marks=pytest.mark.needs("min_left"))
        for name, pieces in MIN_LEFT.items()
    ),
]


@pytest.mark.parametrize("pieces", CASES)
def test_a_piece_moves_its_buffer_on(ring: Subject, make_wire: Callable[..., Wire], pieces: Pieces) -> None:
    """Piece by piece by RECV: the entry's address goes up and its length down by what came, bid and tail stay.

    F_BUF_MORE as long as something is left, at least min_left; then length 0, the old address, the next buffer.
    io_kbuf_inc_commit()
    """
    shelf = Shelf(ring, pieces.sizes, flags=c.IOU_PBUF_RING_INC, min_left=pieces.min_left)
    model = Increments(pieces.sizes, min_left=pieces.min_left)
    wire, done = make_wire(), 0

    for piece in pieces.pieces:
        bid = model.bid
        wire.feed(incoming(done, piece))
        shelf.queue(c.IORING_OP_RECV, wire.near)
        found = shelf.to_the_end()
        done += piece

        assert found == [Reply(res=piece, bid=bid, buf_more=model.take(piece))]
        assert (shelf.rests(), shelf.head()) == (model.rests(), model.head)
        assert shelf.group.memory.producer == len(pieces.sizes)
    assert shelf.written() == model.written()


@pytest.mark.parametrize("flags", [0, c.IOU_PBUF_RING_MMAP], ids=["user", "kernel"])
@pytest.mark.parametrize("seed", range(3))
def test_any_sizes_and_pieces(ring: Subject, make_wire: Callable[..., Wire], seed: int, flags: int) -> None:
    """Eight buffers of 1 to 100 bytes in slots from `7 * seed` on, pieces until all are used up: as the model says.

    io_kbuf_inc_commit(); a piece is what waits in the socket, or what is left of the buffer if that is less.
    """
    dice = random.Random(seed)
    sizes = {dice.randrange(1 << 16): dice.randint(1, 100) for _ in range(8)}
    shelf = Shelf(ring, sizes, flags=c.IOU_PBUF_RING_INC | flags, start=7 * seed)
    model, wire = Increments(sizes), make_wire()
    total = sum(sizes.values())
    wire.feed(incoming(0, total))

    done = 0
    while done < total:
        bid, length = model.bid, dice.randint(1, 60)
        piece = min(length, model.room)
        shelf.queue(c.IORING_OP_RECV, wire.near, length=length)
        found = shelf.to_the_end()
        done += piece
        assert [(reply.res, reply.bid, reply.buf_more) for reply in found] == [
            (piece, bid, model.take(piece))
        ]

    assert (shelf.rests(), shelf.head()) == (model.rests(), 8)
    assert shelf.written() == model.written()


def test_a_buffer_beyond_4_gib(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """Two pieces into a buffer whose address takes more than 32 bits: the entry keeps all of them. (User-Mode Linux maps below.)

    io_kbuf_inc_commit(): buf->addr is a u64
    """
    beyond = 0x7_6543_2000
    addr = ring.arena.map(libc.PAGE_SIZE, hint=beyond)
    assert addr == beyond
    group, wire = Group(ring.ring, ring.arena, flags=c.IOU_PBUF_RING_INC), make_wire()
    assert group.register() == 0
    ring.owns(group.bgid)
    group.memory.publish(addr, 64, 5)

    for done, piece in ((0, 24), (24, 30)):
        wire.feed(incoming(done, piece))
        selecting(ring.ring, c.IORING_OP_RECV, wire.near, bgid=group.bgid, length=64)
        assert to_the_end(ring.ring) == [Reply(res=piece, bid=5, buf_more=True)]

    entry = group.entry(0)
    assert (entry.addr, entry.len, entry.bid) == (addr + 54, 10, 5)
    assert string_at(addr, 64) == incoming(0, 54) + bytes(10)
