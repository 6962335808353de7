"""How much of a buffer a request may use."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.model.course import expect
from ringrig.model.profiles import Profile
from ringrig.model.scene import Scene
from ringrig.model.transfer import Buffer, Kind, Op, Stock, Transfer

LENGTHS = {"zero": 0, "one": 1, "shorter": 24, "equal": 64, "longer": 65, "much_longer": 4096}
OPS = [
    *(pytest.param(op, id=op.value) for op in (Op.READ, Op.READV, Op.RECV, Op.RECVMSG)),
    pytest.param(Op.SEND, id=Op.SEND.value, marks=pytest.mark.needs("send_select")),
]


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("op", OPS)
def test_a_transfer_keeps_within_length_and_buffer(
    make_scene: Callable[[Stock | None], Scene], profile: Profile, op: Op, length: int, kind: Kind
) -> None:
    """100 bytes for a buffer of 64 between canaries: no more than the SQE's length, and none beside it.

    io_ring_buffer_select(), io_provided_buffer_select(): length 0 is all of the buffer (not in the RFC's
    ring). A SEND of a legacy buffer sends all of it whatever the length. io_provided_buffers_select()
    """
    stock = Stock(kind=kind, buffers=(Buffer(bid=3), Buffer(bid=2)))
    call = Transfer(op=op, length=length, ready=100)

    got = make_scene(stock).run(call)

    assert got == expect(call, stock, profile.traits)


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_each_buffer_has_its_own_size(
    make_scene: Callable[[Stock | None], Scene], profile: Profile, kind: Kind
) -> None:
    """Buffers of 1, 64, 7 and 4096 bytes: each transfer gets the size of its own."""
    sizes = {4: 1, 1: 64, 3: 7, 2: 4096}
    stock = Stock(kind=kind, buffers=tuple(Buffer(bid=bid, size=size) for bid, size in sizes.items()))
    scene = make_scene(stock)

    got = [scene.transfer(Transfer(op=Op.READ, length=5000, ready=5000))[0][0] for _ in sizes]

    assert [(reply.bid, reply.res) for reply in got] == list(sizes.items())
    assert scene.written()[1] == ()
