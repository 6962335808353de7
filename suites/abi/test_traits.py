"""The kernel on trial does not choose its judge: what it shows must be what its profile pins."""

from __future__ import annotations

import pytest

from ringrig.model.experiments import Unclear, probe_trait
from ringrig.model.profiles import Profile, deviations
from ringrig.model.traits import TRAITS


@pytest.mark.parametrize("name", TRAITS)
def test_trait_is_as_pinned(profile: Profile, name: str) -> None:
    """An experiment, after a call that must succeed: the kernel has the trait if its profile says so.

    A failure means that the ABI is not what was pinned: either the patch on trial changes it (then the
    profile changes with it), or the profile is wrong for this kernel.
    """
    try:
        has = probe_trait(name)
    except Unclear as error:
        pytest.fail(f"ABI trait changed: {name}: the experiment was inconclusive: {error}", pytrace=False)

    for deviation in deviations(profile, {name: has}):
        pytest.fail(str(deviation), pytrace=False)
