"""After a failure nothing has changed: the ring that was there works, and no page stays pinned."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from ringrig.model.calls import PAGE, Arg, Memory, registration
from ringrig.model.spec import Model
from ringrig.model.subject import Subject
from ringrig.uring.counters import PinWatch
from ringrig.uring.group import Group, bids
from ringrig.uring.layout import A_PAGE
from ringrig.uring.memory import pages
from ringrig.uring.probe import known_layout

WRONG: dict[str, dict[str, Any]] = {
    "group_exists": {},
    "unreadable_arg": {"arg": Arg.UNMAPPED},
    "reserved_word": {"resv": (0, 0, 1, 0, 0)},
    "unknown_flag": {"flags": 8},
    "entries_zero": {"entries": 0},
    "entries_65536": {"entries": 65536},
    "null_addr": {"memory": Memory.NULL},
    "misaligned": {"offset": 16},
    "unmapped": {"memory": Memory.UNMAPPED},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
def test_the_group_still_works(ring: Subject, model: Model, group: Group, changes: dict[str, Any]) -> None:
    """A wrong registration over a ring in mid-use: its errno, and the ring goes on from where it was.

    io_register_pbuf_ring()
    """
    model.say(registration())
    group.publish(3, 1, 2)
    assert group.next() == 3
    call = registration(**changes)

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)

    assert bids(group.drain(2)) == [1, 2]
    assert group.read(length=1).res == -errno.ENOBUFS


REFUSED: dict[str, dict[str, Any]] = {
    "first_page_of_two": {"memory": Memory.THEN_UNMAPPED, "entries": 2 * A_PAGE},
    "first_page_of_many": {"memory": Memory.THEN_UNMAPPED, "entries": 32768},
    "then_read_only": {"memory": Memory.THEN_READ_ONLY, "entries": 4 * A_PAGE},
    "read_only": {"memory": Memory.READ_ONLY, "entries": 4 * A_PAGE},
    "half_anonymous_half_memfd": {"memory": Memory.THEN_MEMFD, "entries": 4 * A_PAGE},
    "last_page": {"memory": Memory.LAST_PAGE},
}


@pytest.mark.needs("pin_counters")
@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED)
def test_memory_refused_is_not_left_pinned(
    make_ring: Callable[..., Subject], model: Model, pins: PinWatch, changes: dict[str, Any]
) -> None:
    """Memory that is partly good: what was pinned of it before the bad page is released again.

    io_pin_pages() unpins a partial result (and before 6.5 what turned out to be a file's).
    """
    call = registration(**changes)
    taken = model.register_pbuf_ring(call).res == 0
    wanted = pages(known_layout().size(call.entries)) // PAGE * taken

    def refused() -> None:
        make_ring().register_pbuf_ring(call)

    assert pins.after(refused, wanted=wanted) == wanted


@pytest.mark.needs("pin_counters", "ramfs")
def test_file_memory_refused_is_not_left_pinned(
    make_ring: Callable[..., Subject], model: Model, pins: PinWatch
) -> None:
    """A shared file's memory, refused before or (until 6.5) after pinning: none stays so. io_pin_pages()"""
    call = registration(memory=Memory.RAMFS, entries=4 * A_PAGE)
    assert model.register_pbuf_ring(call).res < 0

    def refused() -> None:
        assert make_ring().register_pbuf_ring(call).res < 0

    assert pins.after(refused, wanted=0) == 0


@pytest.mark.needs("pin_counters")
def test_memory_for_a_group_in_use_is_not_pinned(make_ring: Callable[..., Subject], pins: PinWatch) -> None:
    """-EEXIST leaves the first ring's page pinned, not the second's many. io_register_pbuf_ring()"""

    def twice() -> None:
        ring = make_ring()
        assert ring.register_pbuf_ring(registration()).res == 0
        assert ring.register_pbuf_ring(registration(entries=32768)).res == -errno.EEXIST

    assert pins.after(twice, wanted=1) == 1
