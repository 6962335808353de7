"""REGISTER_PBUF_STATUS: which groups have a head to tell."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.model.calls import BufReg, kernel_registration, registration, status, unregistration
from ringrig.model.spec import Model
from ringrig.model.subject import Subject

pytestmark = pytest.mark.needs("status")

BGIDS = {
    "zero": 0,
    "last_of_array": 63,
    "first_beyond_array": 64,
    "last_mappable": 2047,
    "first_unmappable": 2048,
    "s16_min": 32768,
    "u16_max": 65535,
}
BEYOND = {"bit16": 1 << 16, "bit17": 1 << 17, "bit31": 1 << 31, "all": 0xFFFF0000}

each_bgid = pytest.mark.parametrize("bgid", BGIDS.values(), ids=BGIDS)
both_sides = pytest.mark.parametrize("bgid", [7, 700], ids=["low_bgid", "high_bgid"])


@each_bgid
@pytest.mark.parametrize("make", [registration, kernel_registration], ids=["user", "kernel"])
def test_every_ring_has_a_head(ring: Subject, model: Model, make: Callable[..., BufReg], bgid: int) -> None:
    """A fresh ring under any id: 0, head 0; its neighbour's id: -ENOENT. io_register_pbuf_status()"""
    assert ring.say(make(bgid=bgid)) == model.say(make(bgid=bgid))

    for call in (status(bgid=bgid), status(bgid=bgid ^ 1)):
        assert ring.pbuf_status(call) == model.pbuf_status(call)


@pytest.mark.parametrize("high", BEYOND.values(), ids=BEYOND)
@pytest.mark.parametrize("bgid", [0, 7, 65535], ids=["zero", "low", "u16_max"])
def test_group_beyond_16_bits_is_not_cut(ring: Subject, model: Model, bgid: int, high: int) -> None:
    """buf_group has 32 bits here: with a high bit set it names no group, even if its low half does: -ENOENT.

    io_register_pbuf_status(), io_buffer_get_list()
    """
    assert ring.say(registration(bgid=bgid)) == model.say(registration(bgid=bgid))
    call = status(bgid=high | bgid)

    assert ring.pbuf_status(call) == model.pbuf_status(call)


@both_sides
@pytest.mark.parametrize("there", ["nothing", "legacy", "emptied_legacy", "unregistered_ring"])
def test_what_is_no_ring_has_none(ring: Subject, model: Model, there: str, bgid: int) -> None:
    """No group: -ENOENT. A legacy group, with buffers or emptied: -EINVAL. io_register_pbuf_status()"""
    if there == "unregistered_ring":
        for call in (registration(bgid=bgid), unregistration(bgid=bgid)):
            assert ring.say(call) == model.say(call)
    elif there != "nothing":
        assert ring.provide_buffers(bgid=bgid, count=2) == model.provide_buffers(bgid=bgid, count=2)
        if there == "emptied_legacy":
            assert ring.remove_buffers(bgid=bgid, count=2) == model.remove_buffers(bgid=bgid, count=2)
    asked = status(bgid=bgid)

    assert ring.pbuf_status(asked) == model.pbuf_status(asked)
    assert ring.survey(bgid) == model.survey(bgid)


def test_a_ring_over_an_emptied_legacy_group_has_one(ring: Subject, model: Model) -> None:
    """After the upgrade the group is a ring: head 0. io_register_pbuf_ring(), 8802766324e1"""
    assert ring.provide_buffers(bgid=7, count=2) == model.provide_buffers(bgid=7, count=2)
    assert ring.remove_buffers(bgid=7, count=2) == model.remove_buffers(bgid=7, count=2)
    assert ring.say(registration()) == model.say(registration())

    assert ring.pbuf_status(status()) == model.pbuf_status(status())
