"""The unchanged kernel (mutant 0) under every case: what passes, and which mutants' places each case reaches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ringrig import cache
from ringrig.cache import Say
from ringrig.campaign.guests import Guests
from ringrig.campaign.notice import Notice, notice, unexplained
from ringrig.errors import NotClean
from ringrig.guest.wire import Message
from ringrig.plugin.keeper import Keeper
from ringrig.plugin.known_issues import KnownIssues

COMPANY = 96
"""Cases that run in one child, one after the other, unless a case cannot bear it."""
_NEWS = 200
_WORDS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """`reached`: the mutants whose place each case that passes executes; `seconds`: what it takes.

    `left_out`: cases that are skipped, not reliable on the unchanged kernel, or known to trouble it, and why; `alone`: cases
    that pass, but not after others in one process, and those that fail as is known, whose other failures are told.
    """

    reached: dict[str, list[int]]
    seconds: dict[str, float]
    left_out: dict[str, str]
    alone: list[str]

    def by_mutant(self) -> dict[int, list[str]]:
        """The cases that reach each mutant that any reaches."""
        found: dict[int, list[str]] = {}
        for case, numbers in self.reached.items():
            for number in numbers:
                found.setdefault(number, []).append(case)
        return found

    def save(self, path: Path) -> None:
        with cache.writing("the baseline"):
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f".{path.name}.new")
            new.write_text(json.dumps(asdict(self)))
            new.replace(path)

    @classmethod
    def load(cls, path: Path) -> Baseline | None:
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    case: str
    notice: Notice | None
    done: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Docket:
    """The cases of a campaign, as its guests know them: node ids by number, or foreign `commands`."""

    cases: Sequence[str]
    commands: bool

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {case: number for number, case in enumerate(self.cases)}

    def request(self, cases: Sequence[str], mutant: int) -> Message:
        """What an agent is told: these cases in one child, or the one command, with that mutant on."""
        asked = {"command": cases[0]} if self.commands else {"cases": [self._numbers[case] for case in cases]}
        return {**asked, "name": cases[0], "mutant": mutant}


def take(guests: Guests, docket: Docket, known: KnownIssues, *, say: Say) -> Baseline:
    """Runs every case by itself, then all that pass in company. Raises NotClean, naming cases that fail twice."""

    def alone(keeper: Keeper, case: str) -> _Run:
        tried = keeper.attempt(docket.request([case], 0))
        return _Run(case=case, notice=notice(tried, [case], known), done=tried.course.done)

    cases = docket.cases
    say(f"mutant 0, the unchanged kernel: {len(cases)} cases, each by itself")
    runs = {run.case: run for run in _told(guests.map(alone, cases), len(cases), say)}
    reached: dict[str, list[int]] = {}
    seconds: dict[str, float] = {}
    left_out: dict[str, str] = {}
    failed = []
    for case in cases:
        run = runs[case]
        if run.notice is None:
            bits = int(run.done["reached"], 16)
            reached[case] = [number for number in range(bits.bit_length()) if bits >> number & 1]
            seconds[case] = round(run.done["ended"] - run.done["began"], 4)
        elif run.notice.how == "skip":
            left_out[case] = run.notice.what
        elif known.speak_of(case) and not _fails_otherwise(run.done, known):
            left_out[case] = f"a known issue: {run.notice.how}"
        else:
            failed.append(run)
    again = [run for run in guests.map(alone, [run.case for run in failed]) if run.notice is not None]
    if again:
        lines = [f"    {run.case}: {run.notice.how}: {run.notice.what}" for run in again if run.notice]
        raise NotClean(
            f"{len(again)} cases fail on the unchanged kernel:\n" + "\n".join(lines[:8]),
            next_step="rig run on the same kernel says more; a fault of the kernel's own belongs into suites/known-issues.toml",
        )
    left_out |= {run.case: "it failed on the unchanged kernel, and passed when run again" for run in failed}
    if not reached:
        why = "; ".join(sorted(set(left_out.values())))[:_WORDS]
        raise NotClean(
            f"No case passes on the unchanged kernel: {why}.",
            next_step="name other cases, or another command",
        )
    lonely = [case for case in reached if known.speak_of(case)]
    if not docket.commands:
        lonely += _lonely(guests, docket, [case for case in reached if case not in lonely], known, say)
    return Baseline(reached=reached, seconds=seconds, left_out=left_out, alone=lonely)


def _told(runs: Iterator[_Run], total: int, say: Say) -> Iterator[_Run]:
    for number, run in enumerate(runs, start=1):
        if number % _NEWS == 0:
            say(f"  {number} of {total}")
        yield run


def _fails_otherwise(done: dict[str, Any], known: KnownIssues) -> bool:
    return any(report["outcome"] == "failed" for report in unexplained(done.get("reports") or [], known))


def _lonely(guests: Guests, docket: Docket, cases: Sequence[str], known: KnownIssues, say: Say) -> list[str]:
    """Cases that notice something that is not there when others have run before them in the same process."""

    def together(keeper: Keeper, group: list[str]) -> list[str]:
        found = []
        while group:
            seen = notice(keeper.attempt(docket.request(group, 0)), group, known)
            if seen is None:
                break
            at = group.index(seen.case) if seen.case else 0
            found.append(group[at])
            group = group[at + 1 :]
        return found

    say("mutant 0 once more, many cases in one process")
    groups = [list(cases[at : at + COMPANY]) for at in range(0, len(cases), COMPANY)]
    return sorted(case for found in guests.map(together, groups) for case in found)
