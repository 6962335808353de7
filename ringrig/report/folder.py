"""What a folder below runs/ holds, read for every report: a run, or a campaign with a folder for each of its runs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ringrig.campaign import kept, matrix_asked
from ringrig.campaign.job import Job, last_words
from ringrig.campaign.rows import NO_BUILD
from ringrig.errors import BadSpec, BuildFailed
from ringrig.plugin.record import read_json, results

_ASKED = {"asked": "series", "jobs": "matrix", "tree": "bisect"}
"""What asked.json has, by the campaign; mutants have no report before their end."""
_CAMPAIGNS = {"matrix": "kernels", "series": "rows", "bisect": "examined", "mutants": ""}
"""What names their runs' folders in the JSON of each."""
JUDGE = "--judged-by"
_NAMING = ("--kernel", "--guest", "--config", "--patch", JUDGE)
"""The options of `rig run` that say which kernel ran, and what judged it."""
_KNOWN = re.compile(r"known: (.*) \((\S+)\)")
"""The reason of a case that shows a known issue: title and link. Runs of old have no more."""
_EXCERPT = 40
"""Console lines shown of a case: its first half and its last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A case in a run. `known`: the id of the known issue it shows, or should have shown (xpassed)."""

    nodeid: str
    outcome: str
    seconds: float
    why: str = ""
    detail: str = ""
    known: str = ""
    guest: str = ""
    troubles: tuple[str, ...] = ()
    ended: bool = True
    """False: the run was over before the case was."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One session of `rig run`: `about` is its run.json, `exit_code` None while it is under way or was killed."""

    name: str
    folder: Path
    about: dict[str, Any]
    verdict: str
    exit_code: int | None
    arguments: tuple[str, ...]
    """Of `rig run`: those that name the kernel."""
    cases: dict[str, Case]

    @property
    def label(self) -> str:
        return str(self.about.get("label") or self.name)

    @property
    def release(self) -> str:
        return str(self.about.get("ran", {}).get("release") or self.about.get("release") or "")

    @property
    def seconds(self) -> float:
        return float(self.about.get("seconds", 0))

    @cached_property
    def count(self) -> Counter[str]:
        return Counter(case.outcome for case in self.cases.values())

    @cached_property
    def issues(self) -> dict[str, dict[str, Any]]:
        """The known issues that held for its kernel, by id: title, link, expires."""
        told = [_KNOWN.fullmatch(case.why) for case in self.cases.values() if case.known]
        old = {one[1]: {"title": one[1], "link": one[2], "expires": ""} for one in told if one}
        return old | {one["id"]: one for one in self.about.get("known", [])}

    @property
    def facts(self) -> list[str]:
        """Which kernel, when, judged by which suite: as far as the run got."""
        build, suite = self.about.get("build_id"), self.about.get("versions", {}).get("ringrig")
        return [
            self.label,
            *([self.release] if self.release else []),
            *([f"build-id {build[:16]}"] if build else []),
            *([f"began {self.about['began']}"] if "began" in self.about else []),
            *([f"suite {suite}"] if suite else []),
        ]

    @cached_property
    def _consoles(self) -> dict[str, list[str]]:
        files = self.folder.glob("guests/*/console.log")
        return {file.parent.name: file.read_text(errors="replace").splitlines() for file in files}

    def excerpt(self, case: Case) -> list[str]:
        """The console's lines while the case ran; of many, the first and the last."""
        found: list[str] = []
        inside = False
        for line in self._consoles.get(case.guest, []):
            mark = line.partition("] ringrig: ")[2]
            if mark:
                inside = mark.endswith(f" {case.nodeid}") and not mark.startswith("end ")
            elif inside:
                found.append(line)
        half = _EXCERPT // 2
        return found if len(found) <= _EXCERPT else [*found[:half], "…", *found[-half:]]


@dataclass(frozen=True, kw_only=True)
class Folder:
    """`kind` is run, matrix, series, bisect or mutants; `told` is the campaign's own JSON; `left` names what did not run."""

    path: Path
    kind: str
    runs: list[Run]
    told: dict[str, Any] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    @cached_property
    def nodeids(self) -> list[str]:
        """Every case of every run, in the order of folders, files and names."""
        return sorted({name for run in self.runs for name in run.cases}, key=lambda n: n.split("::", 1))


def read(path: Path) -> Folder:
    """The folder's reports are made of this. BadSpec: there is none, it is another's, or a file of it is damaged."""
    if not path.is_dir():
        what = "No run is there yet" if path.name == "latest" else f"There is no folder {path}"
        raise BadSpec(f"{what}.", next_step="`rig run` makes one; `ls runs` shows those there are")
    path = path.resolve()
    if (path / "run.json").exists():
        return Folder(path=path, kind="run", runs=[_run(path, path.name)])
    kind = _kind(path)
    if not kind:
        raise BadSpec(
            f"{path} holds neither a run nor a campaign.",
            next_step="name a folder of runs/ that `rig run`, matrix, series, bisect or mutate left",
        )
    told = read_json(path / f"{kind}.json") if (path / f"{kind}.json").exists() else {}
    if kind == "mutants":
        return Folder(path=path, kind=kind, runs=[], told=told)
    rows = told.get(_CAMPAIGNS[kind], [])
    order = [path / one["folder"] for one in rows]
    # A series has folders beside, of cases that were run again.
    rest = [] if told and kind == "series" else sorted(one for one in path.iterdir() if one not in order)
    unbuilt = {path / row["folder"]: row for row in rows if row.get("verdict") == NO_BUILD}
    names = {}
    if kind == "matrix" and (path / kept.FILE).exists():
        names = {matrix_asked.folder_name(one): one.name for one in matrix_asked.stored(path)}
    runs = [
        _unbuilt(unbuilt[one], one) if one in unbuilt else _run(one, names.get(one.name, one.name))
        for one in [*order, *rest]
        if one in unbuilt or _began(one)
    ]
    return Folder(
        path=path,
        kind=kind,
        runs=runs if told else sorted(runs, key=lambda run: str(run.about.get("began", "~"))),
        told=told,
        left=[
            one if isinstance(one, str) else f"patch {one}"
            for one in told.get("not run", [])
            if one not in {run.name for run in runs}  # a resumed matrix has begun it since
        ],
    )


def _kind(path: Path) -> str:
    """Of the campaign there, also of one that has not come to its own JSON; "" where there is none."""
    if found := next((kind for kind in _CAMPAIGNS if (path / f"{kind}.json").exists()), ""):
        return found
    if (path / kept.FILE).exists():
        asked = read_json(path / kept.FILE)
        return next((kind for field, kind in _ASKED.items() if field in asked), "")
    return "matrix" if any(path.glob("*/job.json")) else ""


def _began(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("run.json", "job.json", "output.txt"))


def _run(folder: Path, name: str) -> Run:
    about = read_json(folder / "run.json") if (folder / "run.json").exists() else {}
    words = about.get("command", [])
    exit_code = about.get("exit_code")
    verdict = about.get("verdict", "")
    if (folder / "job.json").exists():
        told = read_json(folder / "job.json")
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in told["job"].items()
        }
        job = Job(**fields)
        name, words, exit_code = job.name, job.arguments, told["exit_code"]
        about.setdefault("seconds", told["seconds"])
        verdict = verdict or last_words(folder) or f"NO VERDICT: exit code {exit_code}"
    return Run(
        name=name,
        folder=folder,
        about=about,
        verdict=verdict or "NO VERDICT: the run is under way, or was killed",
        exit_code=exit_code,
        arguments=naming(words),
        cases={told["nodeid"]: _case(told) for told in results(folder)},
    )


def _unbuilt(row: dict[str, Any], folder: Path) -> Run:
    """A patch of a series that does not build: nothing ran, and there is no such folder."""
    return Run(
        name=folder.name,
        folder=folder,
        about={},
        verdict=f"NO VERDICT: {row['words']}",
        exit_code=BuildFailed.exit_code,
        arguments=naming(row["arguments"]),
        cases={},
    )


def _case(told: dict[str, Any]) -> Case:
    return Case(
        nodeid=told["nodeid"],
        outcome=told["outcome"],
        seconds=told["seconds"],
        why=told.get("why", "").removeprefix("Skipped: "),
        detail=told.get("detail", ""),
        known=told.get("known") or (known[1] if (known := _KNOWN.fullmatch(told.get("why", ""))) else ""),
        guest=told.get("guest", ""),
        troubles=tuple(told.get("troubles", ())),
        ended=not told.get("unfinished", False),
    )


def naming(words: Sequence[str]) -> tuple[str, ...]:
    """Of a command line, the options that say which kernel runs, each one word."""
    found = []
    rest = iter(words)
    for word in rest:
        if word in _NAMING:
            found.append(f"{word}={next(rest, '')}")
        elif word.partition("=")[0] in _NAMING and word != "--guest=auto":
            found.append(word)
    return tuple(found)
