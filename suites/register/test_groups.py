"""Group ids, and what was there before."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ringrig.model.calls import BufReg, Memory, kernel_registration, registration
from ringrig.model.spec import Model
from ringrig.model.subject import Subject
from ringrig.uring import consts as c
from ringrig.uring.group import Group

BGIDS = {
    "zero": 0,
    "one": 1,
    "last_of_array": 63,
    "first_beyond_array": 64,
    "last_mappable": 2047,
    "first_unmappable": 2048,
    "s16_min": 32768,
    "u16_max_less_one": 65534,
    "u16_max": 65535,
}
"""6.1 keeps 0..63 in an array; mmap() offsets have room for 11 bits; the field has 16."""

each_bgid = pytest.mark.parametrize("bgid", BGIDS.values(), ids=BGIDS)
both_sides = pytest.mark.parametrize("bgid", [7, 700], ids=["low_bgid", "high_bgid"])
NEW = {"user": registration, "kernel": kernel_registration}


@each_bgid
@pytest.mark.parametrize("make", NEW.values(), ids=NEW)
def test_every_group_id_is_good(ring: Subject, model: Model, make: Callable[..., BufReg], bgid: int) -> None:
    """Any 16-bit group id can be registered, and it is that id that then exists. io_buffer_add_list()"""
    call = make(bgid=bgid)

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    assert ring.survey(bgid) == model.survey(bgid)


@each_bgid
def test_group_is_used_under_its_own_id(ring: Subject, make_group: Callable[..., Group], bgid: int) -> None:
    """A read that selects from the group gets its buffer, from a neighbour -ENOBUFS. io_buffer_select()"""
    group = make_group(bgid=bgid)
    group.publish(5)
    neighbour = Group(ring.ring, ring.arena, bgid=bgid ^ 1)

    assert neighbour.read(length=1).res == -errno.ENOBUFS
    cqe = group.read(length=1)

    assert (cqe.res, cqe.bid) == (1, 5)


def test_groups_do_not_mix(ring: Subject, make_group: Callable[..., Group]) -> None:
    """Nine groups at once, read from in another order than they were made: each hands out its own buffer.

    io_buffer_get_list(); ids that differ in one bit, or by 64, 2048 or 32768, are different groups.
    """
    groups = [make_group(bgid=bgid, entries=1) for bgid in BGIDS.values()]
    for at, group in enumerate(groups):
        group.publish(1000 + at)

    found = [group.next() for group in reversed(groups)]

    assert found == [1000 + at for at in reversed(range(len(groups)))]


EXISTING = {
    "user_ring": registration(),
    "kernel_ring": kernel_registration(),
    "inc_ring": registration(flags=c.IOU_PBUF_RING_INC),
}


@both_sides
@pytest.mark.parametrize("there", [*EXISTING, "legacy", "emptied_legacy"])
@pytest.mark.parametrize("make", NEW.values(), ids=NEW)
def test_over_an_existing_group(
    ring: Subject, model: Model, make: Callable[..., BufReg], there: str, bgid: int
) -> None:
    """Over a ring or a legacy group with buffers: -EEXIST, and it stays. Over an emptied legacy group: taken.

    io_register_pbuf_ring(): BUF_RING or a non-empty list is in use, an empty list is upgraded.
    """
    if there in EXISTING:
        first = replace(EXISTING[there], bgid=bgid)
        assert ring.say(first) == model.say(first)
    else:
        assert ring.provide_buffers(bgid=bgid, count=3) == model.provide_buffers(bgid=bgid, count=3)
        if there == "emptied_legacy":
            assert ring.remove_buffers(bgid=bgid, count=9) == model.remove_buffers(bgid=bgid, count=9)
    call = make(bgid=bgid)

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    assert ring.survey(bgid) == model.survey(bgid)


WRONG: dict[str, dict[str, Any]] = {
    "unmapped": {"memory": Memory.UNMAPPED},
    "read_only": {"memory": Memory.READ_ONLY},
    "null_addr": {"memory": Memory.NULL},
    "misaligned": {"offset": 16},
    "entries_three": {"entries": 3},
    "reserved_word": {"resv": (1, 0, 0, 0, 0)},
}


@both_sides
@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
def test_failure_over_an_emptied_legacy_group(
    ring: Subject, model: Model, changes: dict[str, Any], bgid: int
) -> None:
    """A wrong registration over an emptied legacy group: its errno, and the group stays or goes as pinned.

    io_register_pbuf_ring(): since 8802766324e1 the list is destroyed before the memory is looked at.
    Fixed by 8802766324e1 (CVE-2025-21836; 6.12.16, 6.14).
    Fixed by Dipanjan Das's fix of the kfree of a live list on failed register (5.19-rc).
    """
    assert ring.provide_buffers(bgid=bgid, count=1) == model.provide_buffers(bgid=bgid, count=1)
    assert ring.remove_buffers(bgid=bgid, count=1) == model.remove_buffers(bgid=bgid, count=1)
    call = registration(bgid=bgid, **changes)

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    assert ring.survey(bgid) == model.survey(bgid)
