"""A mutant on trial: the cases that reach it, likeliest first, until one notices it, three times in three."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ringrig.campaign.baseline import COMPANY, Baseline, Docket
from ringrig.campaign.mutants import Mutant
from ringrig.campaign.notice import Notice, notice
from ringrig.plugin.keeper import Keeper
from ringrig.plugin.known_issues import KnownIssues

TIMES = 3
_FIRST = 6
_LEAST, _TIMES_LONGER = 5.0, 8
"""A case's deadline under a mutant: so many times what it takes on the unchanged kernel, and no less than this (s).

A kill by it must hold under the deadline that `rig run` gives, too.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """`case` noticed the mutant `times` of `tries` times, alone, and the unchanged kernel passes it in the same guest."""

    case: str
    how: str
    what: str
    times: int
    tries: int
    leaks: bool = False
    """The unchanged kernel passes only in a fresh guest: the mutant had left something behind."""

    @property
    def sure(self) -> bool:
        return self.times == self.tries


@dataclass(slots=True, kw_only=True)
class Verdict:
    """killed, survived, flaky, unreached; equivalent, needs, stale, refused: not tried. `seconds` of a guest's time."""

    mutant: Mutant
    result: str
    kills: list[Kill] = field(default_factory=list)
    doubts: list[Kill] = field(default_factory=list)
    """Cases that noticed it, but not every time they were asked alone (0 times: only with others before them)."""
    cases: int = 0
    """Cases that reach it."""
    seconds: float = 0.0
    why: str = ""


class Court:
    """Judges mutants; what killed one is asked first about the next. Used by several threads at once."""

    def __init__(
        self,
        baseline: Baseline,
        docket: Docket,
        mutants: Mapping[int, Mutant],
        *,
        known: KnownIssues,
        before: Mapping[str, str],
        full: bool,
    ) -> None:
        self._baseline, self._mutants, self._before, self._known = baseline, mutants, before, known
        self._full, self._docket = full, docket
        self._kills: Counter[str] = Counter()
        self._near: Counter[tuple[str, str]] = Counter()
        self._alone = frozenset(baseline.alone)
        self._cases = baseline.by_mutant()

    def judge(self, keeper: Keeper, number: int) -> Verdict:
        """RigError: there is no guest to be had."""
        began, mutant = time.monotonic(), self._mutants[number]
        rest = self._ordered(number)
        verdict = Verdict(mutant=mutant, result="survived" if rest else "unreached", cases=len(rest))
        size = 1 if mutant.id in self._before else _FIRST
        while rest and (self._full or not verdict.kills):
            group = self._group(rest, size)
            size = min(4 * size, COMPANY)
            seen = self._seen(keeper, number, group)
            if seen is None or seen.case is None:
                rest = rest[len(group) :]
                continue
            kill = self._confirm(keeper, number, seen, tries=1 if verdict.kills else TIMES)
            if kill.sure:
                verdict.kills.append(kill)
                self._kills[kill.case] += 1
                self._near[mutant.edits[0].function, kill.case] += 1
            else:
                verdict.doubts.append(kill)
            rest = rest[rest.index(seen.case) + 1 :]
        if verdict.kills:
            verdict.result = "killed"
        elif any(kill.times for kill in verdict.doubts):
            verdict.result = "flaky"
        verdict.seconds = round(time.monotonic() - began, 2)
        return verdict

    def _ordered(self, number: int) -> list[str]:
        mutant = self._mutants[number]
        before, function = self._before.get(mutant.id), mutant.edits[0].function

        def rank(case: str) -> tuple[bool, int, int, float]:
            near, kills = self._near[function, case], self._kills[case]
            return case != before, -near, -kills, self._baseline.seconds[case]

        return sorted(self._cases.get(number, []), key=rank)

    def _group(self, rest: Sequence[str], size: int) -> list[str]:
        """The next cases that can run in one process."""
        if self._docket.commands or rest[0] in self._alone:
            return [rest[0]]
        group = []
        for case in rest[:size]:
            if case in self._alone:
                break
            group.append(case)
        return group

    def _seen(self, keeper: Keeper, number: int, group: list[str]) -> Notice | None:
        """What is noticed, by the first case of the group that does; by trying halves where nothing says which."""
        seen = self._ask(keeper, group, number)
        if seen is None or seen.case is not None:
            return seen
        for half in (group[: len(group) // 2], group[len(group) // 2 :]):
            if (found := self._seen(keeper, number, half)) is not None:
                return found
        return None

    def _confirm(self, keeper: Keeper, number: int, seen: Notice, *, tries: int) -> Kill:
        assert seen.case is not None
        case, times = seen.case, 0
        done = 1 if seen.costly and tries > 1 else 0  # it has just happened, and takes a guest each time
        times = done
        for number_of_try in range(tries - done):
            patient = seen.how == "timeout" and number_of_try == 0
            once_more = self._ask(keeper, [case], number, patient=patient)
            if once_more is None and patient:
                break  # it only takes longer
            if once_more is not None:
                times, seen = times + 1, once_more
        leaks = self._fails_unchanged(keeper, case)
        if leaks:
            keeper.renew()
            if self._fails_unchanged(keeper, case):
                times = 0  # then it is the case that cannot be relied upon
        return Kill(case=case, how=seen.how, what=seen.what, times=times, tries=tries, leaks=leaks)

    def _fails_unchanged(self, keeper: Keeper, case: str) -> bool:
        return self._ask(keeper, [case], 0) is not None

    def _ask(self, keeper: Keeper, cases: list[str], number: int, *, patient: bool = False) -> Notice | None:
        longest = max(self._baseline.seconds[case] for case in cases)
        limit = max(_LEAST, _TIMES_LONGER * longest)
        seconds = None if patient else limit
        return notice(
            keeper.attempt(self._docket.request(cases, number), seconds=seconds), cases, self._known
        )
