"""IOSQE_IO_DRAIN: a request that waits for all before it holds up all behind it, and each takes its buffer in its turn."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.model.params import rings
from ringrig.model.shelf import Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Op, Reply, incoming
from ringrig.model.waiting import receive, waits
from ringrig.uring import consts as c
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(3)

BIDS = (5, 300, 2, 9)
FIRST, DRAINS, BEHIND = 1, 2, 3
_LENGTH = 20


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("calls", [1, 3], ids=["one_call", "three_calls"])
@pytest.mark.parametrize("behind", ["read", "recv", "nop"])
@pytest.mark.parametrize("flags", rings("plain", "cooperative", "deferring"))
def test_who_is_behind_waits_too(  # noqa: PLR0917
    make_ring: Callable[..., Subject],
    make_wire: Callable[..., Wire],
    flags: int,
    behind: str,
    calls: int,
    kind: Kind,
) -> None:
    """A RECV waits for data; a second, which has some, for the first; a third request that could run at once: none does.

    Data comes: the first has the first buffer, then the two others are let go together. io_init_req(): drain_active
    """
    ring, wires = make_ring(flags=flags), [make_wire() for _ in range(3)]
    shelf = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind)
    for at, wire in enumerate(wires[1:], 1):
        wire.feed(incoming(_LENGTH * at, _LENGTH))
    for number, wire in enumerate(wires, FIRST):
        if number < BEHIND or behind == "recv":
            sqe = receive(shelf, Op.RECV, wire, length=_LENGTH)
        elif behind == "read":
            sqe = shelf.queue(c.IORING_OP_READ, shelf.group.zero(), length=_LENGTH)
        else:
            sqe = ring.ring.sqe()
        sqe.user_data = number
        sqe.flags |= c.IOSQE_IO_DRAIN * (number == DRAINS)
        if calls == 3:
            assert ring.ring.submit() == 1
    if calls == 1:
        assert ring.ring.submit() == 3
    assert waits(ring.ring, Op.RECV)

    wires[0].send(incoming(0, _LENGTH))
    found = ring.ring.complete(3)

    takers = 2 if behind == "nop" else 3
    assert found[0].user_data == FIRST
    assert sorted(cqe.user_data for cqe in found) == [FIRST, DRAINS, BEHIND]
    held = {cqe.user_data: cqe.bid for cqe in found if cqe.bid is not None}
    assert held[FIRST] == BIDS[0]
    assert sorted(held.values()) == sorted(BIDS[:takers])
    assert [Reply.of(cqe.res, cqe.flags) for cqe in found] == [
        Reply(res=_LENGTH, bid=held[cqe.user_data]) if cqe.user_data in held else Reply(res=0)
        for cqe in found
    ]
    data = {number: incoming(_LENGTH * (number - FIRST), _LENGTH) for number in held}
    if behind == "read":
        data[BEHIND] = bytes(_LENGTH)
    assert shelf.written() == {held[number]: data[number] for number in held}
    assert [bid for bid, _ in shelf.left()] == list(BIDS[takers:])
