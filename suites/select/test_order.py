"""Which buffer comes next, and to whom: order, laps, slots beyond a page, ids that are no indices."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from ringrig.model.course import expect
from ringrig.model.params import receives, rings
from ringrig.model.profiles import Profile
from ringrig.model.scene import Scene
from ringrig.model.shelf import Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import (
    Buffer,
    Kind,
    Op,
    Reply,
    Stock,
    Then,
    Transfer,
    incoming,
)
from ringrig.model.waiting import DEFERRING, payloads, receive, told, waits
from ringrig.uring import consts as c
from ringrig.uring.group import Group
from ringrig.uring.layout import A_PAGE
from ringrig.uring.wire import Wire


@pytest.mark.parametrize("entries", [1, 2, 4, 8], ids=["one", "two", "four", "eight"])
def test_a_small_ring_goes_round(make_group: Callable[..., Group], entries: int) -> None:
    """Three laps and a bit of a small ring, ids in no order: each read gets the next published buffer.

    io_ring_buffer_select(): the index runs on, the slot is it modulo the entries
    """
    group = make_group(entries=entries)
    order = random.Random(entries).sample(range(1000), 3 * entries + 1)
    for bid in order:
        group.publish(bid)

        assert group.next() == bid

    assert group.next() is None


@pytest.mark.parametrize(
    "entries", [A_PAGE, 2 * A_PAGE, 4 * A_PAGE], ids=["a_page", "two_pages", "four_pages"]
)
def test_every_slot_is_read_where_it_lies(make_ring: Callable[..., Subject], entries: int) -> None:
    """A full ring of a page and more: every slot's own id, address and length, also at a page's end.

    Zeros come into memory that is full of something else: where, and how many, is each slot's. Of pages of 4 KiB the merged ring's slot
    256 begins one; in the RFC's, after a header, slot 255 does, and the kernel went from page to page by hand there and in 6.1.
    io_ring_buffer_select(), io_ring_head_to_buf()
    """
    ring = make_ring(entries=64)
    group = Group(ring.ring, ring.arena, entries=entries, size=16)
    assert group.register() == 0
    ring.owns(group.bgid)
    order = random.Random(entries).sample(range(entries), entries)
    for slot, bid in enumerate(order):
        group.publish(bid, size=1 + slot % 16)
    ctypes.memset(group.data, 0xA5, 16 * entries)

    found = group.drain(entries, length=16)

    got = [Reply.of(cqe.res, cqe.flags) for cqe in found]
    assert got == [Reply(res=1 + slot % 16, bid=bid) for slot, bid in enumerate(order)]
    filled = {bid: bytes(1 + slot % 16).ljust(16, b"\xa5") for slot, bid in enumerate(order)}
    assert {bid: group.content(bid, 16) for bid in order} == filled


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_a_buffer_is_handed_out_once(make_scene: Callable[[Stock | None], Scene], kind: Kind) -> None:
    """Five buffers, seven transfers of other kinds in turn: first come, first served, then none.

    io_ring_buffer_select(), io_provided_buffer_select()
    """
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

    assert [group.next() for _ in range(count)] == [100 + number % 8 for number in range(count)]
    assert group.next() is None


@pytest.mark.ends_within(3)
@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("flags", rings())
@pytest.mark.parametrize("op", receives())
def test_whose_data_comes_first_is_served_first(  # noqa: PLR0917
    make_ring: Callable[..., Subject],
    make_wire: Callable[..., Wire],
    profile: Profile,
    op: Op,
    flags: int,
    kind: Kind,
) -> None:
    """Three sockets, a request waits on each; data comes to one after the other, in the order of the requests or another.

    Completions and buffers go in the order of the data, whoever runs the requests and whether he was asked to or not: none
    is overtaken. What had its buffer before it waited keeps that. 6.1 runs those that were woken meanwhile last first.
    __io_run_local_work(), tctx_task_work_run(): llist_reverse_order()
    """
    backwards = "woken_run_backwards" in profile.traits
    if backwards and flags == c.IORING_SETUP_SQPOLL:
        pytest.skip("needs an order: how many were woken meanwhile is chance")
    ring = make_ring(flags=flags)
    orders = [(2, 0, 1)] if op.multishot else [(2, 0, 1), (0, 1, 2)]
    names = tuple(range(300, 301 + 3 * len(orders)))
    shelf = Shelf(ring, dict.fromkeys(names, 64), kind=kind)
    call = Transfer(op=op, length=0 if op.multishot else 64)
    stock = Stock(kind=kind, buffers=(Buffer(bid=names[0]),))
    holds = not expect(replace(call, then=(Then.CANCEL,)), stock, profile.traits).left
    for number, order in enumerate(orders):
        wires = [make_wire() for _ in order]
        for at, wire in enumerate(wires):
            receive(shelf, op, wire).user_data = at
        ring.ring.submit()
        assert waits(ring.ring, op, count=3)

        for at in order:
            wires[at].send(incoming(at, 20))
        found = [(cqe.user_data, Reply.of(cqe.res, cqe.flags)) for cqe in ring.ring.complete(3)]

        served = order[::-1] if flags == DEFERRING and backwards else order
        ours = names[3 * number : 3 * number + 3]
        held = dict(zip(range(3) if holds else served, ours, strict=True))
        want = [(at, told(op, held[at], 20)) for at in served]
        assert found == want, f"data came to {order}"
        got = payloads(shelf, op)
        assert {at: got[held[at]] for at in order} == {at: incoming(at, 20) for at in order}
    assert shelf.written().keys() == set(names[:-1])
