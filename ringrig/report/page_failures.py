"""What a page says beyond its cells: each failure with its evidence, and which run has which known bug."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ringrig.report.folder import JUDGE, Case, Folder, Run

_MOST = 300
"""Failures with their evidence on a page."""
_LINES = 80
"""Of a failure's own words."""
_PROGRAMS = Path(__file__).parents[2] / "docs/bugs"
_MADE_FROM = re.compile(r"Made by ringrig from (\S+?)[,.]$", re.MULTILINE)


@dataclass(slots=True, kw_only=True)
class Failure:
    """A case that went wrong in the same way in these runs; evidence and commands are the first one's."""

    number: int
    nodeid: str
    outcome: str
    why: str
    detail: str
    console: str
    rerun: str
    reproduce: str
    runs: list[str] = field(default_factory=list)

    @property
    def file(self) -> str:
        return self.nodeid.partition("::")[0]


@dataclass(slots=True, kw_only=True)
class Bug:
    """A known bug; `cells`: for each run the cases that show it, and those that passed although it is known there."""

    ids: list[str]
    title: str
    link: str
    expires: str
    cells: list[tuple[int, int]] = field(default_factory=list)
    programs: dict[str, str] = field(default_factory=dict)
    """Of docs/bugs, by file name: what `rig reproduce` made of a case that shows it here."""


def failures(folder: Folder) -> tuple[list[Failure], dict[tuple[int, str], int]]:
    """Those there are, at most _MOST, and at which of them (run's number, node id) is told."""
    found: dict[tuple[str, str, str], int] = {}
    places: dict[tuple[int, str], int] = {}
    out: list[Failure] = []
    for nodeid in folder.nodeids:
        for number, run in enumerate(folder.runs):
            case = run.cases.get(nodeid)
            if case is None or case.outcome not in ("failed", "error"):
                continue
            key = (nodeid, case.outcome, case.why)
            if key not in found:
                if len(out) == _MOST:
                    continue
                found[key] = len(out)
                out.append(_failure(len(out), run, case))
            out[found[key]].runs.append(run.name)
            places[number, nodeid] = found[key]
    return out, places


def _failure(number: int, run: Run, case: Case) -> Failure:
    lines = case.detail.splitlines()
    left = (
        [f"… {len(lines) - _LINES} lines more in {run.folder.name}/results.jsonl"]
        if len(lines) > _LINES
        else []
    )
    return Failure(
        number=number,
        nodeid=case.nodeid,
        outcome=case.outcome,
        why=case.why,
        detail="\n".join([*lines[:_LINES], *left]),
        console="\n".join(run.excerpt(case)),
        rerun=command("run", case.nodeid, run.arguments),
        reproduce=command("reproduce", case.nodeid, of_kernel(run)),
    )


def command(verb: str, nodeid: str, arguments: Sequence[str]) -> str:
    """To be pasted into a shell in the clone."""
    return shlex.join(["./rig", verb, *arguments, nodeid])


def of_kernel(run: Run) -> list[str]:
    """Of its arguments those that `rig reproduce` takes too."""
    return [word for word in run.arguments if not word.startswith(JUDGE)]


def left_out(folder: Folder) -> list[tuple[str, list[int]]]:
    """Reasons for leaving cases out, the commonest first, and how many cases of each run."""
    counts = [
        Counter(case.why for case in run.cases.values() if case.outcome == "skipped") for run in folder.runs
    ]
    total = sum(counts, Counter[str]())
    return [(why, [count[why] for count in counts]) for why, _ in total.most_common()]


def bugs(folder: Folder) -> list[Bug]:
    """Those that a case of the folder shows or should show, by title: several known issues may speak of one bug."""
    found: dict[tuple[str, str], Bug] = {}
    programs = _programs()
    for name in sorted({case.known for run in folder.runs for case in run.cases.values() if case.known}):
        about = next((run.issues[name] for run in folder.runs if name in run.issues), {})
        title, link = about.get("title", name), about.get("link", "")
        none = [(0, 0)] * len(folder.runs)
        bug = found.setdefault(
            (title, link),
            Bug(ids=[], title=title, link=link, expires=about.get("expires", ""), cells=none),
        )
        bug.ids.append(name)
        shown_by = {case.nodeid for run in folder.runs for case in run.cases.values() if case.known == name}
        bug.programs |= {file: text for nodeid, (file, text) in programs.items() if nodeid in shown_by}
        bug.cells = [
            (shown + _count(run, name, "xfailed"), hidden + _count(run, name, "xpassed"))
            for (shown, hidden), run in zip(bug.cells, folder.runs, strict=True)
        ]
    return [found[key] for key in sorted(found)]


def _programs() -> dict[str, tuple[str, str]]:
    """Name and text of each program of docs/bugs, by the case that it was made from."""
    texts = {file.name: file.read_text(encoding="utf-8") for file in sorted(_PROGRAMS.glob("*.c"))}
    return {made[1]: (name, text) for name, text in texts.items() if (made := _MADE_FROM.search(text))}


def _count(run: Run, known: str, outcome: str) -> int:
    return sum(case.known == known and case.outcome == outcome for case in run.cases.values())
