"""Requests of every sort that take the buffers around the wrap of the index, of 16 bits, from 65535 to 0, whoever runs them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.model.params import ops, rings
from ringrig.model.profiles import Profile
from ringrig.model.shelf import Shelf, spread
from ringrig.model.subject import Subject
from ringrig.model.transfer import Op, Reply, incoming
from ringrig.model.waiting import payloads, receive, told, waits
from ringrig.uring import consts as c
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.slow, pytest.mark.ends_within(5)]

LAP = 1 << 16
FIVE = {9: 64, 0xFFFF: 64, 0: 64, 0x8000: 64, 4: 64}
FOUR = list(FIVE)[:4]
"""Those that are used: of slots 65534, 65535, 0 and 1."""
each_ring = pytest.mark.parametrize("flags", rings("plain", "deferring", "polling"))
OTHERS = {Op.READV, Op.READ_MULTISHOT, Op.RECV_MULTISHOT, Op.SEND}
"""Operations that are tried on other rings than the plain one, too: a lap takes its time."""


def over_the_wrap(make_ring: Callable[..., Subject], flags: int) -> Shelf:
    """FIVE on such a ring, of which the first lies at index 65534."""
    return Shelf(make_ring(LAP // 2, flags), FIVE, start=LAP - 2)


def four_are_gone(shelf: Shelf, profile: Profile) -> bool:
    """The head is 2 (where the kernel tells), and the fifth buffer alone is still to be had."""
    told_head = shelf.group.head() if "pbuf_status" in profile.traits else 2
    return (told_head, shelf.left()) == (2, [(4, 64)])


@pytest.mark.parametrize(
    "op, flags",
    [
        pytest.param(*op.values, *ring.values, id=f"{op.id}-{ring.id}", marks=[*op.marks, *ring.marks])
        for op in ops()
        for ring in rings("plain", "deferring", "polling")
        if ring.id == "plain" or op.values[0] in OTHERS
    ],
)
def test_one_after_the_other(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire], profile: Profile, op: Op, flags: int
) -> None:
    """Four buffers from index 65534 on, 20 bytes for each, for which the request waits (a SEND has room): as anywhere else.

    io_ring_buffer_select(), io_ring_buffers_peek(): `tail - head` and `head + 1 == tail` are of 16 bits, io_kbuf_commit()
    """
    shelf, wire = over_the_wrap(make_ring, flags), make_wire()
    stream = shelf.load() if op is Op.SEND else b""

    for at, bid in enumerate(FOUR):
        if at == 0 or not op.multishot:
            receive(shelf, op, wire)
        if op is Op.SEND:
            assert shelf.some(1) == [Reply(res=64, bid=bid)]
            continue
        shelf.ring.submit()
        assert waits(shelf.ring, op)
        wire.send(incoming(20 * at, 20))
        assert shelf.some(1) == [told(op, bid, 20)]
    if op.multishot:
        shelf.cancelled()

    if op is Op.SEND:
        assert wire.received() == stream[: 4 * 64]
    else:
        assert payloads(shelf, op) == {bid: incoming(20 * at, 20) for at, bid in enumerate(FOUR)}
    assert four_are_gone(shelf, profile)


@pytest.mark.needs("bundle")
@each_ring
def test_a_bundle(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire], profile: Profile, flags: int
) -> None:
    """A receive of 256 bytes, which waits, takes four buffers from index 65534 on at once: one completion, the first bid.

    io_ring_buffers_peek(), io_kbuf_commit(): the head moves on by four
    """
    shelf, wire = over_the_wrap(make_ring, flags), make_wire()
    shelf.queue(c.IORING_OP_RECV, wire.near, length=256, ioprio=c.IORING_RECVSEND_BUNDLE)
    shelf.ring.submit()
    assert waits(shelf.ring, Op.RECV)
    wire.send(incoming(0, 256))

    assert shelf.to_the_end() == [Reply(res=256, bid=9)]
    assert shelf.written() == spread(FIVE, (64,) * 4)
    assert four_are_gone(shelf, profile)
