"""Ten thousand rounds of taking and giving back leave nothing behind, by every count the kernel keeps."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import pytest

from ringrig.model.subject import Subject
from ringrig.uring import bufring
from ringrig.uring.counters import Disturbed, vmapped_rings
from ringrig.uring.leaks import AREAS, PINS, SLAB, ControlGroup, Oracle, growth
from ringrig.uring.loops import LOOPS, OF_KERNEL_MEMORY

ROUNDS = 10_000
_MMAP = [pytest.mark.needs("mmap")]
each_loop = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=_MMAP if name in OF_KERNEL_MEMORY else []) for name in LOOPS]
)


def _stays_flat(oracles: Sequence[Oracle], name: str, *, shared: bool) -> None:
    def grown() -> dict[str, int]:
        return growth(oracles, lambda: LOOPS[name](ROUNDS), rounds=ROUNDS)

    found = grown()
    if shared and found and not found.keys() & grown().keys():
        raise Disturbed(f"others moved what is counted: {found}")
    left = ", ".join(f"{what} +{by}" for what, by in found.items())
    assert not found, f"{ROUNDS} rounds of {name} leave behind: {left}"


@pytest.mark.needs("pin_counters", "vmallocinfo", "slabinfo")
@each_loop
def test_counts_stay_flat(name: str, shared_kernel: bool) -> None:
    """Pages pinned (/proc/vmstat), the kernel's own mappings of rings (/proc/vmallocinfo), objects of every cache
    (/proc/slabinfo): what a round takes it gives back.
    """
    _stays_flat([PINS, AREAS, SLAB], name, shared=shared_kernel)


@pytest.mark.needs("pin_counters", "memcg")
@each_loop
def test_the_charge_stays_flat(name: str) -> None:
    """The kernel's memory that a control group of the case's own is charged with. GFP_KERNEL_ACCOUNT"""
    with ControlGroup() as group:
        _stays_flat([group.oracle], name, shared=False)


ORACLES = {
    "pinned_pages": pytest.param(PINS, marks=pytest.mark.needs("pin_counters")),
    "vmalloc_areas": pytest.param(AREAS, marks=pytest.mark.needs("vmallocinfo")),
    "slab_objects": pytest.param(SLAB, marks=pytest.mark.needs("slabinfo")),
    "charge": pytest.param(None, marks=pytest.mark.needs("memcg")),
}


@pytest.mark.parametrize("oracle", ORACLES.values(), ids=ORACLES)
def test_what_is_kept_is_seen(ring: Subject, oracle: Oracle | None) -> None:
    """A thousand rings that are not given back: a count that stays flat here would say nothing anywhere."""
    memory = ring.arena.anon(ring.layout.size(512))

    def keep() -> None:
        for bgid in range(100, 1100):
            assert bufring.register(ring.ring, addr=memory, entries=512, bgid=bgid) == 0
            ring.owns(bgid)

    with ControlGroup() if oracle is None else nullcontext() as group:
        watched = group.oracle if group is not None else oracle
        assert watched is not None
        grown = growth([watched], keep, rounds=1000, seconds=0)
        if watched is AREAS and not vmapped_rings():
            pytest.skip(
                "needs vmapped rings: this kernel reaches a ring's pages without a mapping of its own"
            )
        assert grown
