"""Races: what several tasks do at once, and what must hold whatever comes of it.

`dice` and `shuffled` make the order of each task's calls from the seed a case is given; how the tasks then meet is
the scheduler's. On a kernel with one processor that is not preempted they meet where a call sleeps or yields.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from ctypes import c_int

import pytest

from ringrig.uring.structs import kernel_timespec
from ringrig.uring.walks import INSTANTS, YIELD, Call, nap, urgent


@pytest.fixture(params=["amber", "birch", "cedar"])
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Three seeds, three schedules; the same ones each time."""
    return random.Random(request.param)


@pytest.fixture
def scattered(dice: random.Random) -> Callable[[Sequence[Call]], list[Call]]:
    """scattered(calls): the calls in their order, with the processor given away here and there."""

    def make(calls: Sequence[Call]) -> list[Call]:
        return [one for call in calls for one in ((call, YIELD) if dice.random() < 0.3 else (call,))]

    return make


@pytest.fixture
def interrupting(dice: random.Random) -> Callable[[Sequence[Call]], list[Call]]:
    """interrupting(calls): urgent(), then each call when a timer goes off, 1 to 10 us after the one before."""
    priority = c_int(1)
    naps = [kernel_timespec(tv_nsec=dice.randrange(1_000, 10_000)) for _ in range(INSTANTS)]

    def make(calls: Sequence[Call]) -> list[Call]:
        return [
            urgent(priority),
            *(one for ts, call in zip(naps, calls, strict=True) for one in (nap(ts), call)),
        ]

    return make
