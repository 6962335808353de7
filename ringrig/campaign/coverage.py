"""`rig coverage`: what of the provided-buffer code the suites execute, line by line and case by case."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringrig import runs
from ringrig.campaign.coverage_counts import Branch, Counts, Place, count, nothing
from ringrig.campaign.coverage_scope import FOLDER, UNTAKEN, Listed, Scope, load
from ringrig.errors import BadSpec
from ringrig.kernel.packages import series_in
from ringrig.report.coverage import SOURCES, render

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A line, or some branches of one, that nothing executed; `kind` and `why` as in coverage/X.Y.toml, or empty."""

    place: Place
    branches: int
    of: int
    kind: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the counters of all cases come to within a scope."""

    counts: Counts
    excluded: set[Place | Branch]
    missing: list[Missing]
    wrong: list[str]
    """What the data says and the counters, or the source, do not bear out."""


def main(arguments: Sequence[str]) -> int:
    """`rig coverage [--kernel K] […]` runs the suites; `--reach FILE:LINE` and `--from RUN` ask an earlier run."""
    parser = argparse.ArgumentParser(
        prog="rig coverage",
        allow_abbrev=False,
        description="What of the provided-buffer code the suites execute. Other arguments are those of `rig run`.",
    )
    parser.add_argument(
        "--kernel", default="source:6.12", metavar="K", help="source[:X.Y], tree:PATH (default: source:6.12)"
    )
    parser.add_argument("--reach", metavar="FILE:LINE", help="the cases of a run that execute that line")
    parser.add_argument(
        "--from",
        dest="run",
        type=Path,
        metavar="RUN",
        help="read that run's counters once more (with --reach: ask it), instead of running anything",
    )
    chosen, rest = parser.parse_known_args(arguments)
    if (chosen.reach or chosen.run) and rest:
        parser.error(f"nothing is run, and {' '.join(rest)} is for a run")
    if chosen.reach:
        print("\n".join(reach(chosen.run or _latest(), chosen.reach)))
        return 0
    if chosen.run:
        lines, wrong = report(chosen.run)
        print("\n".join(lines))
        return int(wrong)
    others = ["--config=gcov", "-p", "ringrig.campaign.coverage_session", *rest]
    os.environ["PWD"] = str(ROOT)
    argv = runs.command(chosen.kernel, others)
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execv(sys.executable, argv)


def report(run: Path) -> tuple[list[str], bool]:
    """Makes coverage/ of a run folder from what its session left there: the lines to print, and whether something is wrong.

    RigErrors of what it needs; BadSpec: the run counted nothing.
    """
    folder = run / "coverage"
    cases = [json.loads(line) for file in sorted(folder.glob("counters-*.jsonl")) for line in file.open()]
    if not any(case["gcov"] for case in cases):
        raise BadSpec(
            f"{run} has no counters of the kernel's.", next_step="a run of `rig coverage` leaves some"
        )
    facts = json.loads((run / "run.json").read_text())
    notes = folder / SOURCES
    sources = {file.name: file.read_text(encoding="latin-1") for file in notes.glob("*.[ch]")}
    data = FOLDER / f"{series_in(facts['release'])}.toml"
    scope = load(data if data.is_file() else None, sources)
    kept = [case for case in cases if case["gcov"] is not None]
    lost = [case["nodeid"] for case in cases if case["gcov"] is None]
    each = count((case["gcov"] for case in kept), notes)
    total = nothing(notes)
    for one in each:
        total.add(one)
    found = judge(total, scope)
    shown = render(
        folder,
        found.counts,
        functions=dict(scope.functions),
        excluded=found.excluded,
        title=f"Provided buffers in {facts['label']}",
    )
    lines = [
        *shown.splitlines(),
        *(
            []
            if data.is_file()
            else [f"there is no {data.name}: kbuf.c and kbuf.h alone count, nothing is excluded"]
        ),
        "",
        *_figures(found),
        *_told(found, sources, scope),
        *(
            [f"lost with their guests: the counters of {len(lost)} cases", *(f"  {one}" for one in lost)]
            if lost
            else []
        ),
        *(f"WRONG: {one}" for one in found.wrong),
        f"more: {folder}/html/index.html, cobertura.xml, coverage.json (which case executes which line)",
    ]
    matrix = _matrix(found.counts, scope, [case["nodeid"] for case in kept], each)
    about = {"kernel": facts["label"], "lost": lost, "wrong": found.wrong}
    (folder / "coverage.json").write_text(json.dumps({**about, **matrix}), encoding="utf-8")
    (folder / "missing.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines, bool(found.wrong)


def judge(total: Counts, scope: Scope) -> Findings:
    """Holds the counters against the scope's data: what is missing and why, and what was reached that nobody can reach."""
    counts = Counts(
        lines=Counter({place: n for place, n in total.lines.items() if place in scope}),
        branches=Counter({branch: n for branch, n in total.branches.items() if branch in scope}),
    )
    excluded: set[Place | Branch] = set()
    wrong = [f"coverage data: {one}" for one in scope.stale]
    reasons: dict[Place, Listed] = {}
    of_branches: dict[Place, Listed] = {}
    for one in scope.listed:
        (of_branches if one.branches else reasons).update(dict.fromkeys(one.places, one))
        if one.kind != "never":
            continue
        if one.branches:
            branches = _branches(counts, one.place)
            untaken = [branch for branch in branches if not counts.branches[branch]]
            if branches and len(untaken) < one.branches:
                wrong.append(
                    f"{_name(one.place)}: {one.branches} of its branches cannot be taken ({one.why}), and were"
                )
            if one.branches != UNTAKEN:
                excluded.update(untaken[: one.branches])
            elif counts.lines[one.place]:
                excluded.update(untaken)
        else:
            excluded.update(one.places)
            wrong += [
                f"{_name(place)} cannot be reached ({one.why}), and was, {counts.lines[place]} times"
                for place in one.places
                if counts.lines[place]
            ]
    missing = []
    for place, executed in sorted(counts.lines.items()):
        branches = [branch for branch in _branches(counts, place) if branch not in excluded]
        untaken = [branch for branch in branches if not counts.branches[branch]]
        if place in excluded or (executed and not untaken):
            continue
        listed = reasons.get(place)
        if executed and place in of_branches and of_branches[place].kind != "never":
            listed = of_branches[place]
        missing.append(
            Missing(
                place=place,
                branches=len(untaken) if executed else 0,
                of=len(branches),
                kind=listed.kind if listed else "",
                why=listed.why if listed else "",
            )
        )
    return Findings(counts=counts, excluded=excluded, missing=missing, wrong=wrong)


def reach(run: Path, place: str) -> Iterator[str]:
    """The cases that execute `place`, like kbuf.c:181. BadSpec: there is no such line, or no such run."""
    try:
        data = json.loads((run / "coverage/coverage.json").read_text())
    except OSError as error:
        raise BadSpec(
            f"{run} has no coverage: {error.strerror}.", next_step="run `rig coverage` first"
        ) from error
    file, _, number = place.rpartition(":")
    known = data["files"].get(file)
    if known is None or not number.isdigit():
        raise BadSpec(
            f"{place!r} is no line of {', '.join(data['files'])}.", next_step="write it like kbuf.c:181"
        )
    line = known.get(number)
    if line is None:
        near = sorted(known, key=lambda one: abs(int(one) - int(number)))[:4]
        raise BadSpec(
            f"{place} has no code that counts.",
            next_step=f"the nearest with some: {', '.join(sorted(near, key=int))}",
        )
    yield f"{place}, {line['function']}(): executed {line['count']} times, in {len(line['cases'])} of {len(data['cases'])} cases"
    yield from (f"  {data['cases'][index]}" for index in line["cases"])


def _latest() -> Path:
    """The newest run that has coverage."""
    found = sorted(ROOT.glob("runs/*/coverage/coverage.json"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise BadSpec("No run has coverage yet.", next_step="run `rig coverage` first")
    return found[-1].parents[1]


def _branches(counts: Counts, place: Place) -> list[Branch]:
    return [branch for branch in counts.branches if branch[:2] == place]


def _figures(found: Findings) -> Iterator[str]:
    """Lines and branches of each file, without what cannot be reached."""
    for name in sorted({place[0] for place in found.counts.lines}):
        lines = [
            n for place, n in found.counts.lines.items() if place[0] == name and place not in found.excluded
        ]
        branches = [
            n
            for branch, n in found.counts.branches.items()
            if branch[0] == name and not {branch, branch[:2]} & found.excluded
        ]
        yield f"{name:12} {_share(lines, 'lines')}, {_share(branches, 'branches')}"


def _share(numbers: Sequence[int], what: str) -> str:
    done = sum(n > 0 for n in numbers)
    return f"{done} of {len(numbers)} reachable {what} ({100 * done / max(1, len(numbers)):.1f} %)"


def _told(found: Findings, sources: dict[str, str], scope: Scope) -> Iterator[str]:
    """What is missing, under its function and reason."""

    def heading(one: Missing) -> str:
        why = f"{one.kind}: {one.why}" if one.kind else "no reason is listed"
        return f"{one.place[0]}, {scope.functions.get(one.place, '')}(): {why}"

    for said, group in itertools.groupby(found.missing, heading):
        yield f"missing in {said}"
        for one in group:
            text = sources[one.place[0]].split("\n")[one.place[1] - 1].strip()
            what = f"{one.branches} of {one.of} branches" if one.branches else "not executed"
            yield f"  {one.place[1]:5}  {what:18}  {text}"


def _name(place: Place) -> str:
    return f"{place[0]}:{place[1]}"


def _matrix(counts: Counts, scope: Scope, cases: list[str], each: Iterable[Counts]) -> dict[str, Any]:
    files: dict[str, dict[str, dict[str, Any]]] = {}
    for place, executed in sorted(counts.lines.items()):
        files.setdefault(place[0], {})[str(place[1])] = {
            "function": scope.functions.get(place, ""),
            "count": executed,
            "branches": [],
            "cases": [],
        }
    for branch, taken in sorted(counts.branches.items()):
        if branch[:2] in counts.lines:
            files[branch[0]][str(branch[1])]["branches"].append(taken)
    for index, one in enumerate(each):
        for place, executed in one.lines.items():
            if executed and place in counts.lines:
                files[place[0]][str(place[1])]["cases"].append(index)
    return {"cases": cases, "files": files}
