"""Random steps over several groups, made by the kernel and by the model: after each, all that is to be seen agrees."""

from __future__ import annotations

import importlib.util

import pytest

from ringrig.model.profiles import Profile

pytestmark = pytest.mark.ends_within(20)

SEEDS = range(1, 9)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed_{seed}")
def test_the_kernel_follows_the_model(seed: int, profile: Profile) -> None:
    if importlib.util.find_spec("hypothesis") is None:
        pytest.skip("needs hypothesis")
    from suites.model.machine import explore

    found = explore(seed, profile, patience=3.0)

    if found:
        pytest.fail(found, pytrace=False)
