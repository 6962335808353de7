"""Two runs of the same cases: what the second fails, passes, leaves out and complains of that the first does not."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ringrig.campaign.job import Case
from ringrig.errors import BadSpec, NothingRan
from ringrig.plugin.record import read_json, results

GOOD, KNOWN, BAD = {"passed", "xpassed"}, {"xfailed"}, {"failed", "error"}
_COMPLAINTS = ("splat", "panic", "hang", "taint")
_NUMBERS = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a run folder holds; `splats` are the kernel's complaints, each with the cases that it is blamed on (or may be).

    `wavering` cases failed beside others and passed alone.
    """

    label: str
    verdict: str
    cases: Mapping[str, Case]
    splats: Mapping[str, tuple[str, ...]]
    wavering: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Node ids in the second run's order. `newly_failing`: failed, or a known issue that the first run did not show.

    `newly_skipped` ran in the first; `not_run` are in the first alone. `new_splats`: complaint → cases.
    """

    newly_failing: tuple[str, ...] = ()
    newly_passing: tuple[str, ...] = ()
    newly_skipped: tuple[str, ...] = ()
    newly_run: tuple[str, ...] = ()
    not_run: tuple[str, ...] = ()
    still_failing: tuple[str, ...] = ()
    new_splats: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def worse(self) -> bool:
        return bool(self.newly_failing or self.newly_skipped or self.not_run or self.new_splats)


def read(folder: Path) -> Ran:
    """A run or job folder. BadSpec: it is none, or damaged."""
    if not (folder / "run.json").is_file():
        inside = sorted(one.parent.name for one in folder.glob("*/run.json"))
        hint = (
            f"it is a campaign: name one of its runs ({', '.join(inside[:8])})"
            if inside
            else "`ls runs` shows what there is"
        )
        raise BadSpec(f"{folder} holds no run.", next_step=hint)
    about = read_json(folder / "run.json")
    cases: dict[str, Case] = {}
    splats: dict[str, list[str]] = {}
    for told in results(folder):
        cases[told["nodeid"]] = Case(
            outcome=told["outcome"], seconds=told["seconds"], why=told.get("why", "")
        )
        for trouble in told.get("troubles", []):
            kind, _, what = str(trouble).partition(": ")
            if kind in _COMPLAINTS:
                splats.setdefault(what, []).append(told["nodeid"])
    wavering: list[str] = []
    for doubt in about.get("uncertain", []):
        alone = doubt.get("kind") == "company"
        (wavering if alone else splats.setdefault(doubt["what"], [])).extend(doubt["suspects"])
    return Ran(
        label=about.get("label", folder.name),
        verdict=about.get("verdict", "NO VERDICT: it did not end"),
        cases=cases,
        splats={what: tuple(dict.fromkeys(names)) for what, names in splats.items()},
        wavering=tuple(wavering),
    )


def compare(first: Ran, second: Ran, *, flaky: Collection[str] = ()) -> Comparison:
    """`flaky` cases fail and pass on the first kernel by chance: their failing and passing says nothing."""
    before = {name: case.outcome for name, case in first.cases.items()}
    after = {name: case.outcome for name, case in second.cases.items()}

    def are(was: Collection[str], now: Collection[str]) -> tuple[str, ...]:
        return tuple(
            name for name, outcome in after.items() if outcome in now and before.get(name, "absent") in was
        )

    def certain(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name not in flaky)

    unseen = {"skipped", "absent"}
    return Comparison(
        newly_failing=certain((*are(GOOD | unseen, BAD), *are(KNOWN, BAD), *are(GOOD, KNOWN))),
        newly_passing=certain(are(KNOWN | BAD, GOOD)),
        newly_skipped=are(GOOD | KNOWN | BAD, {"skipped"}),
        newly_run=are({"skipped"}, GOOD | KNOWN),
        not_run=tuple(name for name in before if name not in after),
        still_failing=are(BAD, BAD),
        new_splats=unlike(second.splats, first.splats),
    )


def unlike(splats: Mapping[str, tuple[str, ...]], others: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Those of `splats` that are none of the others."""
    seen = {_alike(what) for what in others}
    return {what: names for what, names in splats.items() if _alike(what) not in seen}


def _alike(what: str) -> str:
    """A complaint without what differs between two kernels of the same bug: lines, addresses, process numbers."""
    return _NUMBERS.sub("N", what)


def run(arguments: Sequence[str]) -> tuple[Ran, Ran, Comparison]:
    """`rig compare RUN RUN`. BadSpec: one of them is no run, or damaged; NothingRan: no case ran in either."""
    parser = argparse.ArgumentParser(
        prog="rig compare",
        description="What the second run fails, leaves out and complains of that the first does not.",
    )
    parser.add_argument(
        "first", metavar="RUN", type=Path, help="a folder below runs/, or of a campaign's job"
    )
    parser.add_argument("second", metavar="RUN", type=Path)
    chosen = parser.parse_args(arguments)
    first, second = read(chosen.first), read(chosen.second)
    if all(case.outcome == "skipped" for case in (*first.cases.values(), *second.cases.values())):
        raise NothingRan(
            f"No case ran, so there is nothing to compare: {first.verdict}; {second.verdict}.",
            next_step=f"see {chosen.second}/summary.txt",
        )
    return first, second, compare(first, second)
