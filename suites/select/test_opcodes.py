"""Every operation that selects buffers, from every kind of stock, issued by the submitter and by io-wq."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.model.course import expect, meaningless
from ringrig.model.params import ops
from ringrig.model.profiles import Profile
from ringrig.model.scene import Afterwards, Scene
from ringrig.model.transfer import Buffer, Issue, Kind, Op, Stock, Then, Transfer

pytestmark = pytest.mark.ends_within(3)

BUFFERS = tuple(Buffer(bid=bid) for bid in (41, 7, 0xFFFF, 3))
STOCKS = {
    "ring_with_buffers": Stock(kind=Kind.RING, buffers=BUFFERS),
    "ring_empty": Stock(kind=Kind.RING),
    "legacy_with_buffers": Stock(kind=Kind.LEGACY, buffers=BUFFERS),
    "legacy_empty": Stock(kind=Kind.LEGACY),
    "no_group": None,
}


@pytest.mark.parametrize("stock", STOCKS.values(), ids=STOCKS)
@pytest.mark.parametrize("issue", Issue, ids=lambda issue: issue.value)
@pytest.mark.parametrize("op", ops())
def test_an_operation_takes_the_first_buffer_or_says_there_is_none(
    make_scene: Callable[[Stock | None], Scene], profile: Profile, op: Op, issue: Issue, stock: Stock | None
) -> None:
    """40 bytes are ready: the first buffer gets them and no other is touched; without one, an error at once.

    Either way the ring takes calls and requests afterwards. io_buffer_select() and its callers. As first
    posted, a selection outside the lock from an empty ring returned with uring_lock held.
    """
    call = Transfer(
        op=op, issue=issue, length=0 if op.multishot else 64, ready=40, then=(Then.CANCEL,) * op.multishot
    )
    if why := meaningless(call, stock, profile.traits):
        pytest.skip(why)
    scene = make_scene(stock)

    got = scene.run(call)

    assert got == expect(call, stock, profile.traits)
    assert scene.afterwards() == Afterwards()
