"""REGISTER_PBUF_STATUS: what it wants and what it writes."""

from __future__ import annotations

import ctypes

import pytest

from ringrig.model.calls import BufStatus, registration, status
from ringrig.model.spec import Model
from ringrig.model.subject import Subject
from ringrig.uring import consts as c
from ringrig.uring.structs import io_uring_buf_status

pytestmark = pytest.mark.needs("status")

BITS = {"lowest": 1, "highest": 1 << 31}
HEADS = {"one": 1, "entries": 8, "u16_max": 0xFFFF, "beyond_u16": 0x10000, "u32_max": 0xFFFFFFFF}


@pytest.mark.parametrize("value", BITS.values(), ids=BITS)
@pytest.mark.parametrize("word", range(8), ids=lambda word: f"resv{word}")
def test_each_reserved_word_must_be_zero(ring: Subject, model: Model, word: int, value: int) -> None:
    """One reserved word set: -EINVAL. io_register_pbuf_status()"""
    assert ring.say(registration()) == model.say(registration())
    call = status(resv=tuple(value if at == word else 0 for at in range(8)))

    assert ring.pbuf_status(call) == model.pbuf_status(call)


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_head_given_is_ignored_and_overwritten(ring: Subject, model: Model, head: int) -> None:
    """The output field may hold anything; its 32 bits are the kernel's then. io_register_pbuf_status()"""
    assert ring.say(registration()) == model.say(registration())
    call = status(head=head)

    assert ring.pbuf_status(call) == model.pbuf_status(call)


def test_nothing_but_head_is_written(ring: Subject) -> None:
    """Of the argument and what lies around it, four bytes change. io_register_pbuf_status()"""
    assert ring.say(registration(bgid=0x1234)).res == 0
    room = ctypes.create_string_buffer(b"\xa5" * 120, 120)
    argument = io_uring_buf_status.from_buffer(room, 40)
    ctypes.memset(ctypes.addressof(argument), 0, 40)
    argument.buf_group, argument.head = 0x1234, 0xFFFFFFFF

    assert ring.ring.register(c.IORING_REGISTER_PBUF_STATUS, argument, 1) == 0

    assert room.raw[:40] == room.raw[80:] == b"\xa5" * 40
    assert room.raw[40:80] == b"\x34\x12\0\0" + bytes(36)


@pytest.mark.parametrize(
    "call",
    [status(bgid=8), status(resv=(1,) + (0,) * 7)],
    ids=["unknown_group", "reserved_word"],
)
def test_a_failure_writes_nothing(ring: Subject, call: BufStatus) -> None:
    """-ENOENT and -EINVAL leave the argument as it was. io_register_pbuf_status()"""
    assert ring.say(registration()).res == 0
    argument = io_uring_buf_status(buf_group=call.bgid, head=0xA5A5A5A5)
    argument.resv[:] = list(call.resv)
    before = bytes(argument)

    assert ring.ring.register(c.IORING_REGISTER_PBUF_STATUS, argument, 1) < 0

    assert bytes(argument) == before
