"""ring_entries: every power of two below 65536 (in the RFC every one), and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.model.calls import kernel_registration, registration
from ringrig.model.spec import Model
from ringrig.model.subject import Subject
from ringrig.uring import libc
from ringrig.uring.counters import PinWatch
from ringrig.uring.layout import A_PAGE, MERGED, RFC, Layout
from ringrig.uring.probe import known_layout

COUNTS = {
    "zero": 0,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "seven": 7,
    "one_page_less_one": A_PAGE - 1,
    "one_page": A_PAGE,
    "one_page_and_one": A_PAGE + 1,
    "two_pages": 2 * A_PAGE,
    "a_page_of_bytes": libc.PAGE_SIZE,
    "most_less_one": 32767,
    "most": 32768,
    "most_and_one": 32769,
    "u16_max": 65535,
    "u16_max_and_one": 65536,
    "u16_max_and_two": 65537,
    "twice_u16": 131072,
    "s32_min": 1 << 31,
    "s32_min_and_one": (1 << 31) + 1,
    "u32_max": (1 << 32) - 1,
}


@pytest.mark.parametrize("entries", COUNTS.values(), ids=COUNTS)
def test_entries_of_a_user_ring(ring: Subject, model: Model, entries: int) -> None:
    """A ring of so many entries in enough memory: a power of two below 65536 is taken, others are -EINVAL.

    65536 could not tell a full ring from an empty one with u16 indices; io_register_pbuf_ring(). The RFC's had
    32 bits and no bound.
    """
    call = registration(entries=entries)

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    assert ring.survey(7) == model.survey(7)


@pytest.mark.parametrize("entries", COUNTS.values(), ids=COUNTS)
def test_entries_of_a_kernel_ring(ring: Subject, model: Model, entries: int) -> None:
    """The same for a ring the kernel allocates (before 6.4 the flag is reserved: -EINVAL throughout).

    io_register_pbuf_ring(); c56e022c0a27
    """
    call = kernel_registration(entries=entries)

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    assert ring.survey(7) == model.survey(7)


PINNED = {
    "one": (1, {MERGED: 1, RFC: 1}),
    "one_page": (A_PAGE, {MERGED: 1, RFC: 2}),
    "two_pages": (2 * A_PAGE, {MERGED: 2, RFC: 3}),
    "four_pages": (4 * A_PAGE, {MERGED: 4, RFC: 5}),
    "most": (32768, {MERGED: 32768 // A_PAGE, RFC: 32768 // A_PAGE + 1}),
}


@pytest.mark.needs("pin_counters")
@pytest.mark.parametrize("entries, pages", PINNED.values(), ids=PINNED)
def test_a_user_ring_pins_its_pages(
    make_ring: Callable[..., Subject], pins: PinWatch, entries: int, pages: dict[Layout, int]
) -> None:
    """16 bytes an entry, in the RFC's layout 16 more, rounded up to pages: so many are pinned, no more, no fewer.

    io_pin_pages() through io_register_pbuf_ring()
    """
    wanted = pages[known_layout()]

    def register() -> None:
        assert make_ring().register_pbuf_ring(registration(entries=entries)).res == 0

    assert pins.after(register, wanted=wanted) == wanted
