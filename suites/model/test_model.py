"""Random steps over several groups, made by the kernel and by the model: after each, all that is to be seen agrees.

A failure says the shortest script that shows the difference, ready to be run. docs/model.md
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import time

import pytest

from ringrig.model.profiles import Profile

_FACTS = json.loads(os.environ.get("RINGRIG_FACTS", "{}"))
BUDGET = _FACTS.get("model_budget", 0.0)
"""Seconds that each case goes on for with fresh seeds (--model-budget)."""
SEED = _FACTS.get("model_seed")
"""The one seed to explore from (--model-seed)."""
SEEDS = range(1, 9)

HAS_HYPOTHESIS = importlib.util.find_spec("hypothesis") is not None
if HAS_HYPOTHESIS and _FACTS:  # in a guest: once here, what the forked cases then inherit
    from suites.model import machine  # noqa: F401

pytestmark = pytest.mark.ends_within(20 + BUDGET)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed_{seed}")
def test_the_kernel_follows_the_model(seed: int, profile: Profile) -> None:
    """Rings, provided buffers, requests of each kind, data, ends, cancellations in any order, from a fixed seed.

    Results, flags, bids, heads, descriptors, payload and what lies between buffers are as ringrig/model/world.py says.
    io_uring/kbuf.c, io_ring_buffer_select() to io_put_kbuf()
    """
    if not HAS_HYPOTHESIS:
        pytest.skip("needs hypothesis: this Python has none")
    if "rfc_layout" in profile.traits:
        pytest.skip("needs merged_layout: the model of many groups knows no other ring")
    from suites.model.machine import EXAMPLES, explore

    end = time.monotonic() + BUDGET
    number = seed if SEED is None else SEED
    while True:
        print(f"seed {number}")
        # An emulated guest has time for the first few of them.
        found = explore(number, profile, examples=max(int(EXAMPLES / _FACTS.get("slowness", 1.0)), 3))
        if found:
            pytest.fail(f"{found}\n(--model-seed {number})", pytrace=False)
        if time.monotonic() >= end:
            break
        number = random.SystemRandom().randrange(1000, 1 << 31)
