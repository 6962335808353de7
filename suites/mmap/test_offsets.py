"""Which offsets, lengths and addresses mmap() takes, and which ring it then shows."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable

import pytest

from ringrig.model.mapping import Mmap, expect_mmap
from ringrig.model.profiles import Profile
from ringrig.model.spec import name_of
from ringrig.model.subject import Subject
from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.bufring import BufRing
from ringrig.uring.group import Group, remove_legacy
from ringrig.uring.layout import MERGED

pytestmark = pytest.mark.needs("mmap")

PAGE = libc.PAGE_SIZE
ENTRIES = {7: 8, 4: PAGE // 8, 300: 8, 44: 8, 0: 8, 2047: 8}
"""Rings in kernel memory, by group: 4 has two pages, 300 and 44 differ in the ninth bit alone, 0 and 2047 are the ends."""
USER, LEGACY, EMPTIED, ABSENT = 20, 21, 22, 23

CALLS = {
    "ring": Mmap(),
    "ring_of_two_pages": Mmap(bgid=4, length=2 * PAGE),
    "group_of_nine_bits": Mmap(bgid=300),
    "absent_group": Mmap(bgid=ABSENT),
    "absent_group_next_door": Mmap(bgid=6),
    "absent_group_of_nine_bits": Mmap(bgid=256 + 7),
    "ring_in_user_memory": Mmap(bgid=USER),
    "legacy_group": Mmap(bgid=LEGACY),
    "emptied_legacy_group": Mmap(bgid=EMPTIED),
    "first_group_that_does_not_fit": Mmap(bgid=2048),
    "group_whose_bits_are_another_type": Mmap(bgid=2048 + 7),
    "group_whose_upper_bits_are_lost": Mmap(bgid=32768 + 7),
    "last_group": Mmap(bgid=65535),
    "first_group": Mmap(bgid=0),
    "last_group_that_fits": Mmap(bgid=2047),
    "last_group_that_fits_and_bits_below": Mmap(bgid=2047, more=0x10000 - PAGE),
    "last_group_without_the_upper_bit": Mmap(bgid=32767),
    "first_group_with_the_upper_bit": Mmap(bgid=32768),
    "last_group_that_fits_with_the_upper_bit": Mmap(bgid=32768 + 2047),
    "first_group_behind_those": Mmap(bgid=32768 + 2048),
    "bits_below_the_group": Mmap(more=PAGE),
    "all_bits_below_the_group": Mmap(more=0x10000 - PAGE),
    "bits_below_the_group_of_two_pages": Mmap(bgid=4, length=2 * PAGE, more=PAGE),
    "bits_above_the_group": Mmap(more=1 << 32),
    "bits_far_above_the_group": Mmap(more=1 << 48),
    "no_length": Mmap(length=0),
    "a_byte": Mmap(length=1),
    "as_long_as_the_ring": Mmap(length=128),
    "longer": Mmap(length=2 * PAGE),
    "much_longer": Mmap(length=64 * PAGE),
    "two_pages_less_a_byte": Mmap(bgid=4, length=2 * PAGE - 1),
    "shorter": Mmap(bgid=4, length=PAGE),
    "shorter_by_a_byte_and_a_page": Mmap(bgid=4, length=PAGE - 1),
    "hint": Mmap(addr=0x600000000000),
    "hint_within_the_first_page": Mmap(addr=PAGE - 1),
    "fixed": Mmap(addr=0x600000000000, flags=libc.MAP_SHARED | libc.MAP_FIXED),
    "populated": Mmap(flags=libc.MAP_SHARED | libc.MAP_POPULATE),
    "no_length_and_absent": Mmap(length=0, bgid=ABSENT),
    "hint_and_absent": Mmap(addr=0x600000000000, bgid=ABSENT),
    "hint_and_shorter": Mmap(addr=0x600000000000, bgid=4),
    "hint_and_user_memory": Mmap(addr=0x600000000000, bgid=USER),
    "longer_and_absent": Mmap(length=64 * PAGE, bgid=ABSENT),
}


@pytest.fixture
def rings(ring: Subject, make_group: Callable[..., Group]) -> dict[int, Group]:
    """Groups of every sort; those in kernel memory by their id."""
    assert make_group(bgid=USER)
    for bgid in (LEGACY, EMPTIED):
        assert ring.provide_buffers(bgid=bgid, count=1) == 0
    assert remove_legacy(ring.ring, bgid=EMPTIED, count=1) == 1
    for bgid, entries in ENTRIES.items():
        assert bufring.register(ring.ring, bgid=bgid, entries=entries, flags=c.IOU_PBUF_RING_MMAP) == 0
        ring.owns(bgid)
    return {bgid: Group(ring.ring, ring.arena, bgid=bgid, entries=many) for bgid, many in ENTRIES.items()}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_an_offset_leads_to(
    rings: dict[int, Group], mmap: Callable[[Mmap], int], profile: Profile, call: Mmap
) -> None:
    """mmap() of a descriptor with rings of every sort: refused with one errno, or the one ring it names is shown.

    A ring is shown if a buffer published through the mapping is what a read of its group gets, and of no other.
    io_uring_get_unmapped_area(), io_uring_mmap(); bgids from 2048 on spill into the offset's type bits, bits
    below the group are not looked at.
    """
    mappable = {bgid: MERGED.size(entries) for bgid, entries in ENTRIES.items()}
    want = expect_mmap(call, mappable, profile.traits)

    addr = mmap(call)

    assert name_of(min(addr, 0)) == name_of(want)
    if addr > 0:
        assert call.found is not None
        shown = rings[call.found]
        BufRing(addr, shown.entries, MERGED).publish(shown.address_of(9), 64, 9)
    found = {bgid: group.next() for bgid, group in rings.items()}
    assert found == {bgid: 9 if addr > 0 and bgid == call.found else None for bgid in ENTRIES}


@pytest.mark.parametrize("fixed", [0, libc.MAP_FIXED], ids=["hint", "fixed"])
def test_a_refused_address_keeps_what_is_there(
    ring: Subject, rings: dict[int, Group], mmap: Callable[[Mmap], int], fixed: int
) -> None:
    """A mapping at an address that is taken is refused, and what lies there stays. io_uring_get_unmapped_area()"""
    there = ring.arena.anon(PAGE)
    ctypes.memset(there, 0x11, PAGE)

    assert name_of(mmap(Mmap(addr=there, flags=libc.MAP_SHARED | fixed))) == name_of(-errno.EINVAL)

    assert ctypes.string_at(there, PAGE) == b"\x11" * PAGE
