"""Buffers that lie where no buffer can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from ringrig.model.course import expect
from ringrig.model.profiles import Profile
from ringrig.model.scene import Afterwards, Scene
from ringrig.model.transfer import Buffer, Issue, Kind, Op, Place, Source, Stock, Transfer

pytestmark = pytest.mark.ends_within(3)

# PROVIDE_BUFFERS refuses an address in the kernel's half.
PLACES = [
    pytest.param(
        Stock(kind=kind, buffers=(Buffer(bid=6, place=place), Buffer(bid=1))),
        id=f"{kind.value}-{place.name.lower()}",
    )
    for kind, place in product(Kind, (Place.NULL, Place.UNMAPPED, Place.KERNEL))
    if (kind, place) != (Kind.LEGACY, Place.KERNEL)
]
CALLS = {
    "read": Transfer(op=Op.READ, length=64, ready=40),
    "readv": Transfer(op=Op.READV, length=64, ready=40),
    "read_of_a_device": Transfer(op=Op.READ, source=Source.ZERO, length=24),
    "recv": Transfer(op=Op.RECV, length=64, ready=40),
    "recvmsg": Transfer(op=Op.RECVMSG, length=64, ready=40),
    "send": Transfer(op=Op.SEND),
}
OPS = [
    pytest.param(call, id=name, marks=[pytest.mark.needs("send_select")] if name == "send" else [])
    for name, call in CALLS.items()
]


@pytest.mark.parametrize("stock", PLACES)
@pytest.mark.parametrize("issue", Issue, ids=lambda issue: issue.value)
@pytest.mark.parametrize("call", OPS)
def test_a_bad_address_is_an_error(
    make_scene: Callable[[Stock | None], Scene],
    profile: Profile,
    call: Transfer,
    issue: Issue,
    stock: Stock,
) -> None:
    """The first of two buffers is at a bad address: an error, nothing written, and the next one is whole.

    io_buffer_select() gives address 0 for "none"; access_ok() and the copy refuse the others. Fixed by 46800585ae04 (7.2).
    """
    call = replace(call, issue=issue)
    scene = make_scene(stock)

    got = scene.run(call)

    assert got == expect(call, stock, profile.traits)
    assert scene.afterwards() == Afterwards()
