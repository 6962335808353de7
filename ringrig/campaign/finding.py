"""What there is to say of a case that fails: from the counters of a failing and a passing run, call by call."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ringrig.campaign import again
from ringrig.campaign.again import Call, Run
from ringrig.campaign.courses import Parting, Seen, literals, part
from ringrig.campaign.coverage_counts import Counts, Place, count
from ringrig.campaign.pair import Pair
from ringrig.kernel.spec import Target
from ringrig.vm.lines import Lines

_SPLAT_LINES = 40
_AT_A_TIME = 6
"""Calls whose counters are read by gcov at once: most cases part early."""
# As Lines.annotate() writes it.
_NAMED = re.compile(r"\b([A-Za-z_]\w*)[\w.]*\+0x[0-9a-f]+/0x[0-9a-f]+ \(io_uring/([\w.-]+):(\d+)")
_GOT = re.compile(r"\bgot [^\n,]*?-(E[A-Z0-9]{2,})\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """Runs to compare with, and what they are, in words; `same_case`: of the very case that fails."""

    words: str
    runs: tuple[Run, ...]
    target: Target
    same_case: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Where the kernel decided. `how` is

    course (this run took another way than the one that passes), errno (the line names what was returned), patch (the same lines, and
    another result: a line that the patch changed), trace (what the functions returned), splat (the kernel's own word), or nothing.
    """

    how: str
    place: Place | None = None
    function: str = ""
    chain: tuple[str, ...] = ()
    went: Place | None = None
    missed: Place | None = None
    errno: str = ""
    number: int = 0
    """Of the call on which the runs part, from 1; 0: it is not known which."""
    call: Call | None = None
    other: Call | None = None
    """The same call of the passing run."""
    others: tuple[Parting, ...] = ()
    """Where else they part in that call."""
    changed: tuple[Place, ...] = ()
    """Lines that differ between the kernels and that this run had executed by then."""
    touched: bool = False
    """The deciding line, or where it led, is one of those."""
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """All that a report is made of; `texts` are the kernel's sources, by name below io_uring/."""

    case: str
    label: str
    folder: Path
    runs: tuple[Run, ...]
    against: str
    """What the failing run was held against."""
    finding: Finding
    texts: dict[str, str]


def complained_of(run: Run) -> str:
    """The errno which the case got and did not want, or empty: it names it, or got it as the result of a call or completion."""
    found = _GOT.search(run.words)
    return found[1] if found else ""


def of_splat(run: Run, lines: Lines) -> Finding | None:
    """What the kernel itself complained of during a run: the first function of io_uring's in its words; None: it did not."""
    if not run.splat:
        return None
    said = lines.annotate(run.splat)
    evidence = tuple(line for line in said.splitlines() if line.strip())[:_SPLAT_LINES]
    # What a stack marks with ? may lie there from earlier.
    named = _NAMED.search("\n".join(line for line in said.splitlines() if " ? " not in line))
    if named is None:
        return Finding(how="nothing", evidence=evidence)
    return Finding(how="splat", place=(named[2], int(named[3])), function=named[1], evidence=evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One call of both sides."""

    number: int
    bad: Seen
    good: Seen
    mine: Sequence[Call]
    theirs: Sequence[Call]

    @property
    def differs(self) -> bool:
        """No failing run has a result that a passing one has."""
        return not {one.results for one in self.mine} & {one.results for one in self.theirs}


class Comparison:
    """Failing runs of one kernel against passing ones of the same or another."""

    def __init__(self, failing: Sequence[Run], good: Passing, target: Target) -> None:
        self._bad, self._good, self._same_case = failing, good.runs, good.same_case
        self._notes = again.notes_of(target), again.notes_of(good.target)
        self._pair = Pair(bad=again.texts_of(target), good=again.texts_of(good.target))
        self._errno = complained_of(failing[0])

    def finding(self) -> Finding:
        if any(run.lost for run in self._bad):
            return self._of(self._whole(), wanted=self._errno) or Finding(how="nothing")
        if not self._same_case:
            return self._against_sibling()
        executed: set[Place] = set()
        first: Finding | None = None
        steps: list[_Step] = []
        for step in self._steps():
            executed |= _changed(self._pair, step.bad, step.good)
            steps.append(step)
            wanted = self._returned(step) if step.differs else ""
            # A completion may have been posted during an earlier call than the one behind which it was taken.
            for one in reversed(steps) if wanted else [step]:
                if (found := self._of(one, wanted=wanted)) is not None:
                    return replace(found, number=step.number, call=step.mine[0], other=step.theirs[0])
            if step.differs and first is None:
                first = self._by_patch(step, executed)
        return first or self._by_patch(None, executed)

    def _against_sibling(self) -> Finding:
        """Two parametrizations differ on purpose: what counts is the last call that returned what the case complains of."""
        wanted = -getattr(errno, self._errno, 0)
        returning = [
            step.number
            for step in self._steps(read=False)
            if wanted and wanted in {step.mine[0].res, *(res for res, _ in step.mine[0].cqes)}
        ]
        steps = self._steps(only=returning[-1:]) if returning else self._steps()
        for step in steps:
            if (found := self._of(step, wanted=self._errno)) is not None:
                return found
        return Finding(how="nothing")

    def _of(self, step: _Step, *, wanted: str) -> Finding | None:
        """What one call says; `wanted` is the errno that it returned and should not have."""
        partings = part(self._pair, step.bad, step.good)
        named = literals(self._pair, step.bad, step.good, wanted) if wanted else []
        common = {
            "number": step.number,
            "call": step.mine[0] if step.number else None,
            "other": step.theirs[0] if step.number else None,
            "errno": wanted,
            "changed": tuple(sorted(_changed(self._pair, step.bad, step.good))),
        }
        if partings:
            first, *others = partings
            touched = {first.place, first.went} & self._pair.changed
            return Finding(
                how="course",
                place=first.place,
                function=first.function[1],
                chain=first.chain,
                went=first.went,
                missed=first.missed,
                others=tuple(others),
                touched=bool(touched),
                **common,  # type: ignore[arg-type]
            )
        if named:
            function = self._pair.functions[named[0]][1]
            return Finding(
                how="errno",
                place=named[0],
                function=function,
                touched=named[0] in self._pair.changed,
                evidence=tuple(f"{file}:{line} names it, too, and was executed" for file, line in named[1:4]),
                **common,  # type: ignore[arg-type]
            )
        return None

    def _by_patch(self, step: _Step | None, executed: set[Place]) -> Finding:
        """The same lines, and another result: it can only come from a line that was changed."""
        changed = tuple(sorted(executed))
        call, other = (step.mine[0], step.theirs[0]) if step else (None, None)
        function = self._pair.functions[changed[0]][1] if changed else ""
        return Finding(
            how="patch" if changed else "nothing",
            place=changed[0] if changed else None,
            function=function,
            number=step.number if step else 0,
            call=call,
            other=other,
            changed=changed,
            touched=bool(changed),
        )

    def _returned(self, step: _Step) -> str:
        """The name of a negative result that this run has and the passing one has not, or empty."""

        def negative(call: Call) -> list[int]:
            results = [call.res or 0, *(res for res, _ in call.cqes)]
            return [-res for res in results if res < 0]

        theirs = negative(step.theirs[0])
        mine = [number for number in negative(step.mine[0]) if number not in theirs]
        return errno.errorcode.get(mine[0], "") if mine else ""

    def _steps(self, *, only: Sequence[int] | None = None, read: bool = True) -> Iterator[_Step]:
        """Calls that both sides made, in their order, as long as they are the same ones."""
        runs = [*self._bad, *self._good]
        number, end = 0, min(len(run.calls) for run in runs)
        while number < end:
            chunk = range(number, min(number + _AT_A_TIME, end))
            wanted = [at for at in chunk if only is None or at + 1 in only] if read else []
            mine = _read([run.calls[at] for at in wanted for run in self._bad], self._notes[0])
            theirs = _read([run.calls[at] for at in wanted for run in self._good], self._notes[1])
            for at in chunk:
                if len({run.calls[at].name for run in runs}) > 1:
                    return
                if read and at not in wanted:
                    continue
                here = wanted.index(at) if read else 0
                bad, good = len(self._bad), len(self._good)
                yield _Step(
                    number=at + 1,
                    bad=Seen.of(mine[here * bad : (here + 1) * bad]),
                    good=Seen.of(theirs[here * good : (here + 1) * good]),
                    mine=[run.calls[at] for run in self._bad],
                    theirs=[run.calls[at] for run in self._good],
                )
            number = chunk.stop

    def _whole(self) -> _Step:
        """All that a run executed, where its calls are not known."""

        def added(runs: Sequence[Run], notes: Path | None) -> list[Counts]:
            out = []
            for run in runs:
                total = Counts()
                for one in _read(run.calls, notes):
                    total.add(one)
                out.append(total)
            return out

        return _Step(
            number=0,
            bad=Seen.of(added(self._bad, self._notes[0])),
            good=Seen.of(added(self._good, self._notes[1])),
            mine=[run.calls[-1] for run in self._bad],
            theirs=[run.calls[-1] for run in self._good],
        )


def _read(calls: Sequence[Call], notes: Path | None) -> list[Counts]:
    return count([call.gcov for call in calls], notes) if notes else [Counts() for _ in calls]


def _changed(pair: Pair, bad: Seen, good: Seen) -> set[Place]:
    """Lines that the patch changed and one of the runs executed; what it took away may have left no code here."""
    theirs = {pair.to_bad(place) for place in good.ever if len(place) == 2}
    return {
        place for place in pair.changed if place in pair.functions and (place in bad.ever or place in theirs)
    }
