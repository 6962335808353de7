"""Which groups can be unregistered, and what is left."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from ringrig.model.calls import BufReg, kernel_registration, registration, unregistration
from ringrig.model.spec import Model
from ringrig.model.subject import Subject
from ringrig.uring.group import Group

BGIDS = {
    "zero": 0,
    "last_of_array": 63,
    "first_beyond_array": 64,
    "last_mappable": 2047,
    "first_unmappable": 2048,
    "s16_min": 32768,
    "u16_max": 65535,
}

each_bgid = pytest.mark.parametrize("bgid", BGIDS.values(), ids=BGIDS)
both_sides = pytest.mark.parametrize("bgid", [7, 700], ids=["low_bgid", "high_bgid"])


@each_bgid
def test_unknown_group_of_a_fresh_ring(ring: Subject, model: Model, bgid: int) -> None:
    """No group was ever made: -ENOENT. io_unregister_pbuf_ring()"""
    call = unregistration(bgid=bgid)

    assert ring.unregister_pbuf_ring(call) == model.unregister_pbuf_ring(call)
    assert ring.survey(bgid) == model.survey(bgid)


@each_bgid
@pytest.mark.parametrize("other", [5, 705], ids=["beside_a_low_group", "beside_a_high_group"])
def test_unknown_group_beside_another(ring: Subject, model: Model, bgid: int, other: int) -> None:
    """Another group exists: still -ENOENT; on 6.1 a low group makes all of 0..63 exist: -EINVAL there.

    io_unregister_pbuf_ring(), io_init_bl_list()
    """
    assert ring.say(registration(bgid=other)) == model.say(registration(bgid=other))
    call = unregistration(bgid=bgid)

    assert ring.unregister_pbuf_ring(call) == model.unregister_pbuf_ring(call)
    assert ring.survey(bgid) == model.survey(bgid)
    assert ring.survey(other) == model.survey(other)


@each_bgid
@pytest.mark.parametrize("make", [registration, kernel_registration], ids=["user", "kernel"])
def test_twice(ring: Subject, model: Model, make: Callable[..., BufReg], bgid: int) -> None:
    """Register, unregister, unregister: the second finds nothing: -ENOENT (6.1, low groups: -EINVAL).

    io_unregister_pbuf_ring(): xa_erase()
    """
    assert ring.say(make(bgid=bgid)) == model.say(make(bgid=bgid))

    for _ in range(2):
        call = unregistration(bgid=bgid)
        assert ring.unregister_pbuf_ring(call) == model.unregister_pbuf_ring(call)
    assert ring.survey(bgid) == model.survey(bgid)


@both_sides
@pytest.mark.parametrize("removed", [0, 1, 3], ids=["full", "partly_removed", "emptied"])
def test_legacy_group(ring: Subject, model: Model, removed: int, bgid: int) -> None:
    """A group of PROVIDE_BUFFERS is no ring: -EINVAL, and its buffers stay. io_unregister_pbuf_ring()"""
    assert ring.provide_buffers(bgid=bgid, count=3) == model.provide_buffers(bgid=bgid, count=3)
    if removed:
        got = ring.remove_buffers(bgid=bgid, count=removed)
        assert got == model.remove_buffers(bgid=bgid, count=removed)
    call = unregistration(bgid=bgid)

    assert ring.unregister_pbuf_ring(call) == model.unregister_pbuf_ring(call)
    assert ring.survey(bgid) == model.survey(bgid)


@both_sides
def test_only_the_named_group_goes(ring: Subject, make_group: Callable[..., Group], bgid: int) -> None:
    """Of three groups with near ids one is unregistered: the others still hand out buffers. xa_erase()"""
    groups = [make_group(bgid=bgid + step) for step in (-1, 0, 1)]
    for group in groups:
        group.publish(group.bgid)

    assert groups[1].unregister() == 0

    assert [group.next() for group in (groups[0], groups[2])] == [bgid - 1, bgid + 1]
    assert groups[1].read(length=1).res == -errno.ENOBUFS


USES = {
    "user": (0, 8, 1),
    "kernel": pytest.param(1, 8, 1, marks=pytest.mark.needs("mmap")),
    "inc": pytest.param(2, 8, 1, marks=pytest.mark.needs("inc")),
    "half_used": (0, 8, 4),
    "full": (0, 8, 0),
    "never_used": (0, 0, 0),
}


@both_sides
@pytest.mark.parametrize("flags, published, used", USES.values(), ids=USES)
def test_any_ring_can_go_and_come_back(  # noqa: PLR0917
    ring: Subject, make_group: Callable[..., Group], flags: int, published: int, used: int, bgid: int
) -> None:
    """Rings in every state go at once, and their id is free for a legacy group.

    io_unregister_pbuf_ring(), __io_remove_buffers()
    """
    group = make_group(bgid=bgid, flags=flags)
    group.publish(*range(published))
    for _ in range(used):
        group.read(length=1)

    assert group.unregister() == 0

    assert ring.provide_buffers(bgid=bgid, count=2) == 0
    assert ring.remove_buffers(bgid=bgid, count=9) == 2
