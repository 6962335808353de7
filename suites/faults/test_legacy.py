"""PROVIDE_BUFFERS and REMOVE_BUFFERS, when an allocation of theirs fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.model.subject import Subject
from ringrig.uring.bufring import explain
from ringrig.uring.faults import Fault, FaultyRing, Kind
from ringrig.uring.group import legacy, remove_legacy
from ringrig.uring.ring import Ring

pytestmark = [pytest.mark.needs("faults"), pytest.mark.crashes]

Walk = Callable[..., None]
HandedOut = Callable[[Ring, int], list[int]]
both_sides = pytest.mark.parametrize("bgid", [7, 700], ids=["low_bgid", "high_bgid"])


@both_sides
@pytest.mark.parametrize(
    "there, spare",
    [(0, 0), (0, 9), (2, 0)],
    ids=["new_group", "new_group_of_what_is_at_hand", "group_in_use"],
)
def test_providing(walk: Walk, handed_out: HandedOut, bgid: int, there: int, spare: int) -> None:
    """Provide five buffers: -ENOMEM and none is there, or 0 and at least the first of them are, in their order.

    io_provide_buffers(): list, xarray node, each buffer. io_add_buffers() is content with fewer, without a word. What
    describes a buffer is at hand where as many were removed before.
    """

    def provide(subject: Subject, ring: FaultyRing, fault: Fault) -> None:
        addr = subject.arena.anon(64 * 7)
        if there:
            assert legacy(ring, bgid=bgid, addr=addr, count=there, bid=100) == 0
        if spare:
            assert legacy(ring, bgid=1, addr=addr, count=spare) == 0
            assert remove_legacy(ring, bgid=1, count=spare) == spare
        before = [100 + at for at in range(there)]
        ring.arm(fault)

        res = legacy(ring, bgid=bgid, addr=addr, count=5)

        bids = handed_out(ring, bgid)
        assert bids[:there] == before
        got = bids[there:]
        assert res in {0, *ring.excused}, f"PROVIDE_BUFFERS says {explain(res)}"
        assert got == list(range(len(got)))
        assert bool(got) == (res == 0), f"PROVIDE_BUFFERS says {explain(res)}, and {len(got)} are there"
        assert ring.hit or len(got) == 5
        assert legacy(ring, bgid=bgid, addr=addr, count=3) == 0
        assert handed_out(ring, bgid) == [0, 1, 2]
        assert remove_legacy(ring, bgid=bgid, count=9) == 0

    spared = bool(there or (spare and bgid == 7))  # 6.1 has those lists in an array
    walk(provide, set() if spared else {Kind.SLAB}, perhaps=spared)


def test_removing(walk: Walk, handed_out: HandedOut) -> None:
    """Remove two of three buffers: nothing of it can fail, and the third stays. io_remove_buffers() only frees"""

    def remove(subject: Subject, ring: FaultyRing, fault: Fault) -> None:
        assert legacy(ring, bgid=7, addr=subject.arena.anon(64 * 3), count=3) == 0
        ring.arm(fault)

        assert remove_legacy(ring, bgid=7, count=2) == 2

        assert handed_out(ring, 7) == [2]

    walk(remove, set())
