"""The search in a range of commits: which to try next, and what is left after a verdict. Pure.

A commit's weight is the number of commits left that it contains, as in git's own bisection, so merges are no special case.
With one commit a round half of the weight lies on either side; with K the range is cut into K + 1 parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ringrig.campaign.history import History

_ASIDE = (0, -1 / 3, 1 / 3, -2 / 3, 2 / 3)
"""Of neighbours of commits that cannot be tried, many cannot either: with each the place moves, in parts of the way to the next."""


@dataclass(slots=True)
class Search:
    """`bad` is the oldest commit known to be bad; sets of commits are bits, in the order of `commits` (parents first)."""

    history: History
    commits: Sequence[str] = field(init=False)
    bad: str = field(init=False)
    skipped: set[str] = field(default_factory=set)
    _contained: dict[str, int] = field(default_factory=dict)
    _good: int = 0

    def __post_init__(self) -> None:
        self.commits, self.bad = list(self.history.parents), self.history.bad
        for number, commit in enumerate(self.commits):
            bits = 1 << number
            for parent in self.history.parents[commit]:
                bits |= self._contained.get(parent, 0)
            self._contained[commit] = bits

    @property
    def left(self) -> list[str]:
        """Those of which one is the culprit, parents first."""
        bits = self._left
        return [commit for number, commit in enumerate(self.commits) if bits >> number & 1]

    def rounds(self, count: int) -> int:
        """How many are still to come with `count` commits each, if none is skipped."""
        return math.ceil(math.log(self._left.bit_count()) / math.log(count + 1))

    @property
    def weights(self) -> dict[str, int]:
        """Of those left."""
        bits = self._left
        return {commit: (self._contained[commit] & bits).bit_count() for commit in self.left}

    def next(self, count: int) -> list[str]:
        """At most `count` commits to try, the most telling; none: nothing more can be learnt."""
        weights = self.weights
        total, skipped = len(weights), len(self.skipped & set(weights))
        free = [commit for commit in weights if commit != self.bad and commit not in self.skipped]
        found: list[str] = []
        for part in range(1, count + 1):
            place = total * (part + _ASIDE[skipped % len(_ASIDE)]) / (count + 1)
            rest = [commit for commit in free if commit not in found]
            if rest:
                found.append(min(rest, key=lambda commit: abs(weights[commit] - place)))
        return found

    def learn(self, verdicts: Mapping[str, str]) -> list[str]:
        """Takes a round's verdicts: good, bad or skip, by commit. Returns bad ones that a good one contains.

        Those say nothing: the case was repaired after them, and broke again.
        """
        for commit, word in verdicts.items():
            if word == "good":
                self._good |= self._contained[commit]
        self.skipped |= {commit for commit, word in verdicts.items() if word == "skip"}
        weights = self.weights
        bad = [commit for commit, word in verdicts.items() if word == "bad"]
        if fitting := [commit for commit in bad if commit in weights]:
            self.bad = min(fitting, key=lambda commit: weights[commit])
        return [commit for commit in bad if commit not in weights]

    @property
    def _left(self) -> int:
        return self._contained[self.bad] & ~self._good
