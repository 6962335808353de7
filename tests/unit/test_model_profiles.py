"""Profiles: which one a kernel gets, and how a deviation reads."""

from __future__ import annotations

import pytest

from ringrig.model.experiments import EXPERIMENTS
from ringrig.model.profiles import NoSuchProfile, deviations, load_profile, profile_for, profiles
from ringrig.model.traits import TRAITS

CHOICES = [
    ("debian:6.1", "6.1.0-56-amd64", "debian:6.1", True),
    (None, "6.1.0-56-amd64", "debian:6.1", True),
    (None, "6.12.117+deb12-amd64", "debian:6.12", True),
    ("debian:6.18", "6.18.15+deb13-amd64", "6.18", True),
    ("host", "6.18.44-fc-v669", "6.18.44", True),
    (None, "6.18.60", "6.18.44", True),
    ("7.2", "6.1.0", "7.2", True),
    ("source:6.1", "6.1.192", "debian:6.1", True),
    ("source:6.12", "6.12.117", "debian:6.12", True),
    ("source:7.3", "7.3.4", "7.3", True),
    ("debian-uml:6.1", "6.1.176", "debian-uml:6.1", True),
    ("debian-uml:6.12", "6.12.117", "debian:6.12", True),
    ("rfc", "6.1.192", "rfc", True),
    ("rfc-reviewed", "6.1.192", "rfc-reviewed", True),
    (None, "6.1.192", "debian:6.1", False),
    ("tree:/home/me/linux", "6.1.192", "debian:6.1", False),
    (None, "6.12.117", "debian:6.12", False),
    (None, "7.0.4", "7.0", False),
    (None, "7.9.0-rc1", "7.3", False),
    (None, "6.15.2", "debian:6.12", False),
    (None, "5.4.1", "debian:6.1", False),
]


@pytest.mark.parametrize("spec, release, name, pinned", CHOICES)
def test_kernel_gets_its_profile(spec: str | None, release: str, name: str, pinned: bool) -> None:
    """Spec first, then series and distribution; what no file pins is marked."""
    profile = profile_for(spec, release)

    assert (profile.name, profile.pinned) == (name, pinned)


def test_a_release_that_is_none_is_refused() -> None:
    """No guess without a version."""
    with pytest.raises(ValueError, match="does not begin with a kernel version"):
        profile_for(None, "next-20260101")


def test_unknown_profile_lists_the_known() -> None:
    """The message is the help."""
    with pytest.raises(NoSuchProfile, match=r"'6.99'.*debian:6.12"):
        load_profile("6.99")


@pytest.mark.parametrize("name", profiles())
def test_profile_says_where_it_comes_from(name: str) -> None:
    """Each pin has a source, and its own name loads it."""
    profile = load_profile(name)
    assert profile.source
    assert profile.pinned


def test_every_trait_has_an_experiment() -> None:
    """And no experiment is without a trait."""
    assert EXPERIMENTS.keys() == TRAITS.keys()


def test_every_trait_is_had_by_some_kernel() -> None:
    """A trait without a kernel would be a guess."""
    assert TRAITS.keys() == set().union(*(profile.traits for profile in profiles().values()))


def test_deviation_names_trait_profile_and_place() -> None:
    """Both directions; traits that were not probed are not judged."""
    profile = load_profile("7.3")
    found = [str(one) for one in deviations(profile, {"pbuf_mmap": False, "low_bgids_stay": True})]

    assert found[0].startswith("ABI trait changed: pbuf_mmap: this kernel lacks it, profile 7.3 has it")
    assert "io_register_pbuf_ring(), c56e022c0a27" in found[0]
    assert found[1].startswith("ABI trait changed: low_bgids_stay: this kernel has it, profile 7.3 lacks it")


def test_no_deviation_no_words() -> None:
    """A kernel as pinned."""
    profile = load_profile("7.3")
    assert not deviations(profile, {name: name in profile.traits for name in TRAITS})
