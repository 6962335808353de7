"""What UNREGISTER_PBUF_RING wants to be zero, and what it does not look at."""

from __future__ import annotations

from typing import Any

import pytest

from ringrig.model.calls import Memory, registration, unregistration
from ringrig.model.spec import Model
from ringrig.model.subject import Subject

BITS = {"lowest": 1, "highest": 1 << 31}
IGNORED: dict[str, dict[str, Any]] = {
    "address_of_the_ring": {"memory": Memory.ANON},
    "misaligned_address": {"offset": 16},
    "kernel_address": {"memory": Memory.KERNEL},
    "entries_of_the_ring": {"entries": 8},
    "other_entries": {"entries": 16},
    "entries_three": {"entries": 3},
    "entries_u32_max": {"entries": 0xFFFFFFFF},
}


@pytest.fixture
def registered(ring: Subject, model: Model) -> Subject:
    """A ring with group 7 registered, also in the model."""
    assert ring.say(registration()) == model.say(registration())
    return ring


@pytest.mark.parametrize("value", BITS.values(), ids=BITS)
@pytest.mark.parametrize("word", range(5), ids=lambda word: f"resv{word}")
def test_each_reserved_word_must_be_zero(registered: Subject, model: Model, word: int, value: int) -> None:
    """One reserved word set: -EINVAL, and the group stays. io_unregister_pbuf_ring()"""
    call = unregistration(resv=tuple(value if at == word else 0 for at in range(5)))

    assert registered.unregister_pbuf_ring(call) == model.unregister_pbuf_ring(call)
    assert registered.survey(7) == model.survey(7)


@pytest.mark.parametrize("bit", range(16), ids=lambda bit: f"bit{bit}")
def test_each_flag_must_be_zero(registered: Subject, model: Model, bit: int) -> None:
    """One flag set, also one of registration's: -EINVAL, the group stays. io_unregister_pbuf_ring()"""
    call = unregistration(flags=1 << bit)

    assert registered.unregister_pbuf_ring(call) == model.unregister_pbuf_ring(call)
    assert registered.survey(7) == model.survey(7)


@pytest.mark.parametrize("value", BITS.values(), ids=BITS)
def test_min_left_is_ignored_where_it_exists(registered: Subject, model: Model, value: int) -> None:
    """min_left set: ignored; before the field existed the same bytes were reserved: -EINVAL.

    io_unregister_pbuf_ring(); 7deba791ad49. Open.
    """
    call = unregistration(min_left=value)

    assert registered.unregister_pbuf_ring(call) == model.unregister_pbuf_ring(call)
    assert registered.survey(7) == model.survey(7)


@pytest.mark.parametrize("changes", IGNORED.values(), ids=IGNORED)
def test_address_and_entries_are_ignored(registered: Subject, model: Model, changes: dict[str, Any]) -> None:
    """The group id alone names the ring: whatever stands in ring_addr and ring_entries, it goes.

    io_unregister_pbuf_ring(). Open.
    """
    call = unregistration(**changes)

    assert registered.unregister_pbuf_ring(call) == model.unregister_pbuf_ring(call)
    assert registered.survey(7) == model.survey(7)
