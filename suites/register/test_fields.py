"""Reserved words, flags and min_left of struct io_uring_buf_reg."""

from __future__ import annotations

import pytest

from ringrig.model.calls import Memory, registration
from ringrig.model.spec import Model
from ringrig.model.subject import Subject
from ringrig.uring import consts as c

BITS = {"lowest": 1, "highest": 1 << 31}
MIN_LEFT = {"one": 1, "two": 2, "s32_max": 0x7FFFFFFF, "s32_min": 0x80000000, "u32_max": 0xFFFFFFFF}


def alone(word: int, value: int, words: int = 5) -> tuple[int, ...]:
    """`words` words, all zero but one."""
    return tuple(value if at == word else 0 for at in range(words))


@pytest.mark.parametrize("value", BITS.values(), ids=BITS)
@pytest.mark.parametrize("word", range(5), ids=lambda word: f"resv{word}")
def test_each_reserved_word_must_be_zero(ring: Subject, model: Model, word: int, value: int) -> None:
    """One reserved word set, all else good: -EINVAL, so that later kernels can give it a meaning.

    io_register_pbuf_ring()
    """
    call = registration(resv=alone(word, value))

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    assert ring.survey(7) == model.survey(7)


@pytest.mark.parametrize("bit", range(16), ids=lambda bit: f"bit{bit}")
def test_each_flag_bit_on_its_own(ring: Subject, model: Model, bit: int) -> None:
    """One flag on a user ring: INC (bit 1) is taken where known, others -EINVAL; MMAP has an address here.

    io_register_pbuf_ring(); the field was padding before 6.4
    """
    call = registration(flags=1 << bit)

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    assert ring.survey(7) == model.survey(7)


@pytest.mark.parametrize("bit", range(2, 16), ids=lambda bit: f"bit{bit}")
def test_each_unknown_flag_beside_the_known(ring: Subject, model: Model, bit: int) -> None:
    """MMAP and INC, both good, with one flag nobody knows: -EINVAL. io_register_pbuf_ring()"""
    known = c.IOU_PBUF_RING_MMAP | c.IOU_PBUF_RING_INC
    call = registration(memory=Memory.NULL, flags=known | 1 << bit)

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    assert ring.survey(7) == model.survey(7)


@pytest.mark.parametrize("flags", range(4), ids=["none", "mmap", "inc", "mmap_and_inc"])
def test_known_flags_without_an_address(ring: Subject, model: Model, flags: int) -> None:
    """Each combination of known flags with ring_addr 0: good with MMAP only. io_register_pbuf_ring()"""
    call = registration(memory=Memory.NULL, flags=flags)

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    assert ring.survey(7) == model.survey(7)


@pytest.mark.parametrize("value", MIN_LEFT.values(), ids=MIN_LEFT)
@pytest.mark.parametrize("flags", range(4), ids=["none", "mmap", "inc", "mmap_and_inc"])
def test_min_left_wants_inc(ring: Subject, model: Model, value: int, flags: int) -> None:
    """min_left is -EINVAL without INC; with INC any value is good, even beyond every buffer's length.

    io_register_pbuf_ring(); 7deba791ad49 (7.1, 6.12.90), a reserved word before
    """
    in_kernel = flags & c.IOU_PBUF_RING_MMAP
    call = registration(flags=flags, min_left=value, memory=Memory.NULL if in_kernel else Memory.ANON)

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    assert ring.survey(7) == model.survey(7)
