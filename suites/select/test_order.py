"""Which buffer comes next: order, laps, slots beyond a page, ids that are no indices."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from ringrig.model.scene import Scene
from ringrig.model.subject import Subject
from ringrig.model.transfer import Buffer, Kind, Op, Stock, Transfer
from ringrig.uring.group import Group, bids


@pytest.mark.parametrize("entries", [1, 2, 4, 8], ids=["one", "two", "four", "eight"])
def test_a_small_ring_goes_round(make_group: Callable[..., Group], entries: int) -> None:
    """Three laps and a bit of a small ring, ids in no order: each read gets the next published buffer.

    io_ring_buffer_select(): the index runs on, the slot is it modulo the entries
    """
    group = make_group(entries=entries)
    order = random.Random(entries).sample(range(1000), 3 * entries + 1)
    for bid in order:
        group.publish(bid)

        assert group.read(length=1).bid == bid

    assert group.read(length=1).bid is None


@pytest.mark.parametrize("entries", [256, 512, 1024], ids=["a_page", "two_pages", "four_pages"])
def test_every_slot_is_read_where_it_lies(make_ring: Callable[..., Subject], entries: int) -> None:
    """A full ring of a page and more: every slot's own id, address and length, also at a page's end.

    The merged ring's slot 256 begins a page; in the RFC's, after a header, slot 255 does, and the kernel went
    from page to page by hand there and in 6.1. io_ring_buffer_select(), io_ring_head_to_buf()
    """
    ring = make_ring(entries=64)
    group = Group(ring.ring, ring.arena, entries=entries, size=16)
    assert group.register() == 0
    ring.owns(group.bgid)
    order = random.Random(entries).sample(range(entries), entries)
    for slot, bid in enumerate(order):
        group.publish(bid, size=1 + slot % 16)

    found = group.drain(entries, length=16)

    assert bids(found) == order
    assert [cqe.res for cqe in found] == [1 + slot % 16 for slot in range(entries)]


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_a_buffer_is_handed_out_once(make_scene: Callable[[Stock | None], Scene], kind: Kind) -> None:
    """Five buffers, seven transfers of other kinds in turn: first come, first served, then none."""
    order = (300, 7, 65535, 0, 12)
    scene = make_scene(Stock(kind=kind, buffers=tuple(Buffer(bid=bid) for bid in order)))
    ops = (Op.READ, Op.RECV, Op.READV, Op.RECVMSG, Op.READ, Op.RECV, Op.READ)

    found = [scene.transfer(Transfer(op=op, length=8, ready=8))[0][0].bid for op in ops]

    assert found == [*order, None, None]


@pytest.mark.parametrize("count", [9, 15, 16], ids=["one_too_many", "nearly_twice", "twice"])
def test_over_published_slots_serve_again(make_group: Callable[..., Group], count: int) -> None:
    """More published than there are slots: the kernel counts only, and goes through the slots again.

    io_ring_buffer_select() compares the producer's index with its own for equality, with nothing else.
    """
    group = make_group()
    group.publish(*range(100, 108))
    group.memory.producer = count

    assert [group.read(length=1).bid for _ in range(count)] == [100 + number % 8 for number in range(count)]
    assert group.read(length=1).bid is None
