"""Races: what several tasks do at once, and what must hold whatever comes of it.

What a case leaves to chance (the order of its calls, where a task gives the processor away, when a timer goes off, how
much goes at a time) it takes from `dice`, or from `die`: the same for the same seed, which a failure names. How the
tasks then meet is the scheduler's. On a kernel with one processor that is not preempted they meet where a call sleeps or yields.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Sequence
from ctypes import c_int

import pytest

from ringrig.uring.structs import kernel_timespec
from ringrig.uring.walks import INSTANTS, YIELD, Call, nap, urgent

SEED = json.loads(os.environ.get("RINGRIG_FACTS", "{}")).get("race_seed")
"""The one seed of all cases (--race-seed)."""


def _rolled(seed: str) -> random.Random:
    seed = SEED or seed
    print(f"rolled with --race-seed {seed}")
    return random.Random(seed)


@pytest.fixture(params=["amber", "birch", "cedar"])
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Three seeds, three schedules; the same ones each time."""
    return _rolled(request.param)


@pytest.fixture
def die() -> random.Random:
    """One seed, for a case whose id names none."""
    return _rolled("amber")


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
