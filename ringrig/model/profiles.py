"""Profiles: which traits a kernel is expected to have, checked in and never guessed from what it shows.

Which profile a kernel gets (profile_for):

1. a kernel spec that is a profile's name gets that one (some profiles are to be had only so);
2. otherwise the release decides: profiles of the same series (6.12, 7.3, …), Debian's own first if spec or
   release are Debian's, and of these the one with the greatest `since` that is not beyond the release.
   source: and debian-uml: are built from the sources that debian: is;
3. no profile of the series: the nearest older series, or the oldest. It is marked unpinned, and so is one for
   a release older than every `since` of its series, or one that only Debian's profile fits.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from ringrig.model.traits import TRAITS, Trait, unknown

_FOLDER = Path(__file__).parent / "profiles"
_DEBIAN_SPEC = re.compile(r"(debian|debian-uml|source):")
_DEBIAN_RELEASE = re.compile(r"\+deb\d+|\.0-\d+-(cloud-|rt-)?amd64$")


class NoSuchProfile(LookupError):
    """No file pins a profile of that name; the text lists those there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """`since`: the first release of the series it holds for. `pinned`: false where it is only the nearest.

    `only_by_name`: never for the sake of the release: of a set of patches, or of an image that lags behind.
    """

    name: str
    since: tuple[int, ...]
    traits: frozenset[str]
    source: str
    only_by_name: bool = False
    pinned: bool = True

    @property
    def series(self) -> tuple[int, ...]:
        return self.since[:2]

    @property
    def of_debian(self) -> bool:
        return self.name.startswith("debian:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """A trait the kernel has and must not, or lacks and must have."""

    trait: Trait
    expected: bool
    profile: str

    def __str__(self) -> str:
        verb = ("lacks it", "has it") if self.expected else ("has it", "lacks it")
        commit = f", {self.trait.commit}" if self.trait.commit else ""
        return (
            f"ABI trait changed: {self.trait.name}: this kernel {verb[0]}, profile {self.profile} {verb[1]} "
            f"({self.trait.says}; {self.trait.where}{commit})"
        )


def version(release: str) -> tuple[int, ...]:
    """The leading numbers of a `uname -r`: (6, 18, 44) for 6.18.44-x; ValueError where there are none."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", release)
    if not found:
        raise ValueError(f"{release!r} does not begin with a kernel version")
    return tuple(int(part or 0) for part in found.groups())


@cache
def profiles() -> dict[str, Profile]:
    """All that are checked in, by name."""
    found = {}
    for file in sorted(_FOLDER.glob("*.toml")):
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        if wrong := unknown(data["traits"]):
            raise ValueError(f"{file.name} names unknown traits: {', '.join(wrong)}")
        found[data["name"]] = Profile(
            name=data["name"],
            since=version(data["since"]),
            traits=frozenset(data["traits"]),
            source=data["source"],
            only_by_name=data.get("only_by_name", False),
        )
    return found


def load_profile(name: str) -> Profile:
    """The profile of that name; NoSuchProfile."""
    try:
        return profiles()[name]
    except KeyError:
        raise NoSuchProfile(f"no profile {name!r}; there are {', '.join(profiles())}") from None


def profile_for(kernel_spec: str | None, release: str) -> Profile:
    """The profile a kernel is judged by, after the rule above."""
    if kernel_spec in profiles():
        return profiles()[kernel_spec]
    number = version(release)
    debian = bool(_DEBIAN_SPEC.match(kernel_spec or "") or _DEBIAN_RELEASE.search(release))
    every = [one for one in profiles().values() if not one.only_by_name]
    series = [one for one in every if one.series == number[:2]]
    own = [one for one in series if one.of_debian] if debian else []
    usual = own or [one for one in series if not one.of_debian]
    for candidates, pinned in ((usual, True), (series, False)):
        if fitting := [one for one in candidates if one.since <= number]:
            best = max(fitting, key=lambda one: one.since)
            return best if pinned else replace(best, pinned=False)
    if series:
        return replace(min(series, key=lambda one: one.since), pinned=False)
    older = [one for one in every if one.series < number[:2]]
    nearest = max(older, key=lambda one: one.since) if older else min(every, key=lambda one: one.since)
    return replace(nearest, pinned=False)


def deviations(profile: Profile, probed: Mapping[str, bool]) -> list[Deviation]:
    """Every probed trait that is not as the profile says, in the order of TRAITS."""
    return [
        Deviation(trait=TRAITS[name], expected=name in profile.traits, profile=profile.name)
        for name in TRAITS
        if name in probed and probed[name] != (name in profile.traits)
    ]
