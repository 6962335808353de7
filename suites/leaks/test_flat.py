"""Two thousand rounds of taking and giving back leave nothing behind, by every count the kernel keeps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import pytest

from ringrig.model.subject import Subject
from ringrig.uring import bufring
from ringrig.uring import consts as c
from ringrig.uring.counters import Disturbed, vmapped_rings
from ringrig.uring.group import legacy, remove_legacy
from ringrig.uring.layout import A_PAGE
from ringrig.uring.leaks import AREAS, PAGES, PINS, SLAB, ControlGroup, Oracle, growth
from ringrig.uring.request_loops import LOOPS

ROUNDS = 2048
FEW_ROUNDS = 256
"""Enough for a count that nothing else moves. Two thousand areas that stay would make every later look at them slow."""


def loops(*names: str) -> pytest.MarkDecorator:
    """Parametrize by loops, all by default."""
    params = [pytest.param(name, marks=pytest.mark.needs(*LOOPS[name].needs)) for name in names or LOOPS]
    return pytest.mark.parametrize("name", params)


def _stays_flat(oracles: Sequence[Oracle], name: str, *, shared: bool, rounds: int = ROUNDS) -> None:
    def grown() -> dict[str, int]:
        return growth(oracles, lambda: LOOPS[name].run(rounds), rounds=rounds)

    found = grown()
    if found:  # what leaks does so each time; what a busy machine has yet to give back does not
        first, again = found, grown()
        found = {what: by for what, by in first.items() if what in again}
        if shared and not found:
            raise Disturbed(f"others moved what is counted: {first}")
    left = ", ".join(f"{what} +{by}" for what, by in found.items())
    assert not found, f"{rounds} rounds of {name} leave behind: {left}"


@pytest.mark.slow
@pytest.mark.needs("pin_counters", "vmallocinfo", "slabinfo")
@loops()
def test_counts_stay_flat(name: str, shared_kernel: bool) -> None:
    """Pages pinned (/proc/vmstat), objects of every cache (/proc/slabinfo) and, of rings in memory of the application's,
    mappings of the kernel's own (/proc/vmallocinfo): what a round takes it gives back.

    Fixed by b4a72c0589fd (6.1.24). Fixed by ef62de3c4ad5 (6.14).
    """
    if name in {"register", "end"}:
        exact = [AREAS, *[PINS] * (not shared_kernel)]
        _stays_flat(exact, name, shared=shared_kernel, rounds=FEW_ROUNDS)
    _stays_flat([PINS, SLAB], name, shared=shared_kernel)


@pytest.mark.slow
@pytest.mark.needs("slabinfo", "own_kernel")
def test_the_list_of_a_rings_pages_goes() -> None:
    """A ring in the application's memory: the caches that a list of two pages can be from. io_pages_unmap()

    By themselves, for what 6.10 to 6.13 leave of such a ring hides them in the counts above.
    """
    small = re.compile(r"kmalloc\S*-(8|16|32)")
    lists = replace(
        SLAB, counts=lambda: {name: n for name, n in SLAB.counts().items() if small.fullmatch(name)}
    )
    _stays_flat([lists], "register", shared=False)


@pytest.mark.slow
@pytest.mark.needs("own_kernel")
@loops("register_kernel_memory", "map_kernel_memory", "map_too_little", "end_with_kernel_memory")
def test_pages_come_back(name: str) -> None:
    """A ring in kernel memory is made of pages, which no cache has. __io_remove_buffers()"""
    _stays_flat([PAGES], name, shared=False)


@pytest.mark.slow
@pytest.mark.needs("memcg")
@loops()
def test_the_charge_stays_flat(name: str) -> None:
    """The kernel's memory that a control group of the case's own is charged with. GFP_KERNEL_ACCOUNT"""
    # On 6.1 a read that waits a second time waits in io-wq.
    if name.endswith("_by_a_worker") or name == "wait_on_two_queues":
        pytest.skip(
            "needs a steady charge: io-wq makes workers meanwhile, each with a stack that is charged and stays"
        )
    with ControlGroup() as group:
        _stays_flat([group.oracle], name, shared=False)


KEPT = {
    "pinned_pages": pytest.param(PINS, 0, marks=pytest.mark.needs("pin_counters")),
    "vmalloc_areas": pytest.param(AREAS, 0, marks=pytest.mark.needs("vmallocinfo")),
    "slab_objects": pytest.param(SLAB, 0, marks=pytest.mark.needs("slabinfo")),
    "pages": pytest.param(PAGES, c.IOU_PBUF_RING_MMAP, marks=pytest.mark.needs("own_kernel", "mmap")),
    "charge": pytest.param(None, 0, marks=pytest.mark.needs("memcg")),
}


@pytest.mark.slow
@pytest.mark.parametrize("oracle, flags", KEPT.values(), ids=KEPT)
def test_what_is_kept_is_seen(ring: Subject, oracle: Oracle | None, flags: int) -> None:
    """A thousand rings that are not given back: a count that stays flat here would say nothing anywhere.

    Fixed by "kbuf: account ring io_buffer_list memory" (6.12.35).
    """
    entries = 2 * A_PAGE if oracle is AREAS else 128
    memory = 0 if flags else ring.arena.anon(ring.layout.size(entries))

    def keep() -> None:
        for bgid in range(100, 1124):
            assert bufring.register(ring.ring, addr=memory, entries=entries, bgid=bgid, flags=flags) == 0
            ring.owns(bgid)

    with ControlGroup() if oracle is None else nullcontext() as group:
        watched = group.oracle if group is not None else oracle
        assert watched is not None
        grown = growth([watched], keep, rounds=1024, patience=0)
        if watched is AREAS and not vmapped_rings():
            pytest.skip(
                "needs vmapped rings: this kernel reaches a ring's pages without a mapping of its own"
            )
        assert grown


@pytest.mark.slow
@pytest.mark.needs("memcg")
@pytest.mark.parametrize("what", ["buffers", "groups"])
def test_what_is_provided_is_charged(ring: Subject, what: str) -> None:
    """A thousand buffers in one group, or a thousand groups whose only buffer is removed again: the caller's control group is
    charged for each. io_add_buffers(), io_provide_buffers(): GFP_KERNEL_ACCOUNT

    Fixed by "kbuf: account ring io_buffer_list memory" (6.12.35).
    """
    memory = ring.arena.anon(1024)

    def keep() -> None:
        if what == "buffers":
            assert legacy(ring.ring, bgid=100, addr=memory, size=1, count=1024) == 0
            return
        for bgid in range(100, 1124):
            assert legacy(ring.ring, bgid=bgid, addr=memory, size=1, count=1) == 0
            assert remove_legacy(ring.ring, bgid=bgid, count=1) == 1

    with ControlGroup() as group:
        assert growth([group.oracle], keep, rounds=1024, patience=0)
