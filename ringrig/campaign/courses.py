"""Where two courses through io_uring part: the executed lines of a run that fails against those of one that passes.

Counters have no order in time. What there is: lines come in the order of their function, a function that is entered in one run
alone is what followed from its caller's decision, and what a function called before its own decision was decided earlier (Course).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ringrig.campaign.coverage_counts import Branch, Counts, Place
from ringrig.campaign.pair import Course, Function, Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one call executed in several runs: `always` in each of them, `ever` in some; lines and branches alike."""

    always: frozenset[Place | Branch]
    ever: frozenset[Place | Branch]
    code: frozenset[Place]
    """Lines that have code, executed or not, in the object files that were executed."""
    times: Mapping[Place, int]
    """How often each line was executed, in the run that did so most often."""
    lengths: Mapping[Place, tuple[tuple[str, int], ...]]
    """How many branches each object file has at a line."""

    @classmethod
    def of(cls, runs: Sequence[Counts]) -> Seen:
        sets: list[set[Place | Branch]] = [
            {*_positive(one.lines.items()), *_positive(one.branches.items())} for one in runs
        ]
        lengths: dict[Place, dict[str, int]] = {}
        for one in runs:
            for file, line, unit, index in one.branches:
                units = lengths.setdefault((file, line), {})
                units[unit] = max(units.get(unit, 0), index + 1)
        return cls(
            always=frozenset(set.intersection(*sets) if sets else ()),
            ever=frozenset(set.union(*sets) if sets else ()),
            code=frozenset(place for one in runs for place in one.lines),
            times={place: max(one.lines[place] for one in runs) for one in runs for place in one.lines},
            lengths={place: tuple(sorted(units.items())) for place, units in lengths.items()},
        )


def _positive(items: Iterable[tuple[Place | Branch, int]]) -> Iterator[Place | Branch]:
    return (place for place, count in items if count > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """`place` decides; from there this run went to `went`, or did not go to `missed`; None: a branch on the line itself."""

    function: Function
    place: Place
    went: Place | None = None
    missed: Place | None = None
    chain: tuple[str, ...] = ()
    """Who called it, outermost first, itself last."""


def part(pair: Pair, bad: Seen, good: Seen) -> list[Parting]:
    """Where the runs of one call part, the first in the order of execution first; empty: both took the same lines."""
    return _Comparison(pair, bad, good).partings()


class _Comparison:
    def __init__(self, pair: Pair, bad: Seen, good: Seen) -> None:
        self._pair, self._bad, self._good = pair, bad, good
        always, ever = self._mapped(good.always), self._mapped(good.ever)
        inserted = pair.changed - set(filter(None, map(pair.to_bad, _lines_of(pair.good))))
        self._went = {p for p in _lines(bad.always) - ever if p not in inserted}
        # A changed line need not have code of its own; one that reads the same must have been there for the taking.
        self._missed = {p for p in always - _lines(bad.ever) if p not in pair.changed}
        self._turned = self._branches(good)
        self._both = {pair.functions.get(p) for p in _lines(bad.always) & always}

    def _mapped(self, places: frozenset[Place | Branch]) -> set[Place]:
        return {there for place in _lines(places) if (there := self._pair.to_bad(place)) is not None}

    def _branches(self, good: Seen) -> set[Place]:
        """Lines that read the same, were executed in both, and were left another way."""
        bad, found = self._bad, set[Place]()
        for place in _lines(good.always):
            here = self._pair.to_bad(place)
            if here is None or here in self._pair.changed or here not in bad.always:
                continue
            if place not in good.lengths or bad.lengths.get(here) != good.lengths[place]:
                continue
            if any(self._turns(place, here, unit, length, good) for unit, length in good.lengths[place]):
                found.add(here)
        return found

    def _turns(self, place: Place, here: Place, unit: str, length: int, good: Seen) -> bool:
        """Whether a branch of the line was taken on one side alone.

        Of two builds only the number of branches taken can be compared: the compiler may have turned them round.
        """
        mine: list[Branch] = [(*here, unit, index) for index in range(length)]
        theirs: list[Branch] = [(*place, unit, index) for index in range(length)]
        always, ever = self._bad.always, self._bad.ever
        if self._pair.bad == self._pair.good:
            pairs = list(zip(mine, theirs, strict=True))
            return any(
                (one in always and other not in good.ever) or (one not in ever and other in good.always)
                for one, other in pairs
            )
        taken = [sum(one in places for one in mine) for places in (always, ever)]
        others = [sum(one in places for one in theirs) for places in (good.always, good.ever)]
        return taken[0] > others[1] or others[0] > taken[1]

    def partings(self) -> list[Parting]:
        functions = {f for p in self._went | self._missed | self._turned if (f := self._function(p))}
        entered = {one for one in functions if one in self._both} or functions
        executed = _lines(self._bad.ever) | self._mapped(self._good.ever)
        course = Course(self._pair, executed)

        def rank(one: Parting) -> tuple[bool, int]:
            return not self._thorough(one), course.position(one.place)

        found = [replace(self._within(one), chain=course.chains.get(one, (one[1],))) for one in entered]
        return sorted(found, key=rank)

    def _thorough(self, one: Parting) -> bool:
        """Whether the run that took the other way took it each time it came by.

        Where a call goes round several times, the last round is left otherwise than the others, and when it comes says little.
        """
        if one.went is None and one.missed is None and self._pair.bad != self._pair.good:
            return False  # of two builds: one run left it in both ways
        return all(
            self._times(there) >= self._times(one.place)
            for there in (one.went, one.missed)
            if there is not None and self._times(there)
        )

    def _times(self, place: Place) -> int:
        """How often the run that executed a line more often executed it."""
        return max(self._bad.times.get(place, 0), self._theirs.get(place, 0))

    @cached_property
    def _theirs(self) -> dict[Place, int]:
        times = self._good.times.items()
        return {there: n for place, n in times if (there := self._pair.to_bad(place)) is not None}

    def _function(self, place: Place) -> Function | None:
        return self._pair.functions.get(place)

    def _within(self, function: Function) -> Parting:
        """Where a function's course is left: the first line, but first of all one where it is left each time."""

        def own(places: set[Place]) -> list[Place]:
            return sorted(place for place in places if self._function(place) == function)

        went, missed = own(self._went), own(self._missed)
        decisions = {place: self._decision(place) for place in (*went, *missed)}

        def at(decision: Place) -> Parting:
            def next_of(places: list[Place]) -> Place | None:
                return next((place for place in places if decisions[place] == decision), None)

            to, past = self._completed(decision, next_of(went), next_of(missed))
            return Parting(function=function, place=decision, went=to, missed=past)

        found = [at(decision) for decision in {*decisions.values(), *own(self._turned)}]
        return min(found, key=lambda one: (not self._thorough(one), one.place))

    def _completed(
        self, place: Place, went: Place | None, missed: Place | None
    ) -> tuple[Place | None, Place | None]:
        """What an `if` leads to, like `return -EINVAL;`, need not have code of its own: who did not go on behind it went there."""
        guarded = self._pair.guarded(place)
        if guarded is None or len(guarded.bodies) != 1:
            return went, missed
        body = place[0], guarded.bodies[0]
        if body in self._bad.code:
            return went, missed
        if went is None and missed is not None and missed[1] > guarded.end:
            return body, missed
        if missed is None and went is not None and went[1] > guarded.end:
            return went, body
        return went, missed

    def _decision(self, place: Place) -> Place:
        """The last line before that both executed, or that was changed; of a condition over several lines the first."""
        function = self._function(place)
        before = [
            one
            for one in self._common
            if one < place and one[0] == place[0] and self._function(one) == function
        ]
        return self._pair.condition(max(before)) if before else place

    @cached_property
    def _common(self) -> set[Place]:
        return (_lines(self._bad.ever) & self._mapped(self._good.ever)) | self._pair.changed


def _lines(places: Iterable[Place | Branch]) -> set[Place]:
    return {(place[0], place[1]) for place in places if len(place) == 2}


def _lines_of(texts: Mapping[str, str]) -> Iterator[Place]:
    return ((name, number) for name, text in texts.items() for number in range(1, text.count("\n") + 2))


def literals(pair: Pair, bad: Seen, good: Seen | None, errno: str) -> list[Place]:
    """The executed lines that name an errno, like -EINVAL: those the passing runs did not execute first, returns before others."""
    theirs = {pair.to_bad(place) for place in _lines(good.ever)} if good is not None else set()
    named = re.compile(rf"-{errno}\b")
    found: dict[Place, int] = {}
    for place in pair.functions:
        if not named.search(pair.text(place)):
            continue
        if place in bad.always:
            found[place] = 1 if place in theirs else 0
        elif place not in bad.code and _ended_at(pair, bad, place):
            found[place] = 1
    return sorted(found, key=lambda place: (found[place], "return" not in pair.text(place), place))


def _ended_at(pair: Pair, bad: Seen, place: Place) -> bool:
    """Whether its function was left there, as far as can be told of a line without code: nothing behind its condition was executed."""
    function = pair.functions[place]
    for line in pair.controls(place):
        guarded = pair.guarded((place[0], line))
        if (place[0], line) not in bad.always or guarded is None:
            return False
        return not any(
            one[1] > guarded.end and pair.functions.get(one) == function for one in _lines(bad.always)
        )
    return False
