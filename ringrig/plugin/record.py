"""The run folder: results as they come (JSON lines), versions, the command, and a summary a person reads
first.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from ringrig.cache import writing
from ringrig.errors import BadSpec, NoSpace
from ringrig.plugin.prepare import Context

OUTCOMES = ("passed", "failed", "error", "xfailed", "xpassed", "skipped")
"""What becomes of a case, in the order that reports have."""
_RANK = ("passed", "skipped", "xpassed", "xfailed", "failed", "error")


class Record:
    """Writes results.jsonl while cases end, so that nothing is lost whatever becomes of the run."""

    def __init__(self, config: pytest.Config, context: Context) -> None:
        self._folder = context.folder
        self._began = time.time()
        self._results = (context.folder / "results.jsonl").open("ab", buffering=0)
        self.unwritten: NoSpace | None = None
        """Why results are missing from results.jsonl."""
        self._open: dict[str, dict[str, Any]] = {}
        self.outcomes: dict[str, str] = {}
        self.messages: dict[str, str] = {}
        write_json(
            context.folder / "run.json",
            {
                "kernel": context.plan.spec,
                "label": context.plan.label,
                "release": context.plan.release,
                "build_id": context.plan.build_id,
                "judged_by": context.plan.profile,
                "notes": context.notes,
                "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "command": [sys.executable, "-m", "pytest", *config.invocation_params.args],
                "host": {
                    "kernel": platform.release(),
                    "machine": platform.machine(),
                    "python": platform.python_version(),
                },
                "versions": {
                    "ringrig": suite_version(config.rootpath),
                    **{n: version(n) for n in ("pytest", "pytest-xdist", "paramiko", "virtme-ng")},
                },
            },
        )
        (context.folder / "command.txt").write_text(
            shlex.join(["rig", "run", *map(str, config.invocation_params.args)]) + "\n"
        )

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        seen = self.outcomes.get(report.nodeid)
        late = report.when == "teardown" and report.failed and report.nodeid not in self._open
        line = self._open.setdefault(
            report.nodeid, {"nodeid": report.nodeid, "outcome": seen or "passed", "seconds": 0.0}
        )
        outcome = _outcome(report)
        if _RANK.index(outcome) > _RANK.index(line["outcome"]):
            line["outcome"] = outcome
        line["seconds"] = round(line["seconds"] + report.duration, 4)
        for name, value in report.user_properties:
            if name == "trouble":
                line.setdefault("troubles", []).append(value)
            else:
                line[str(name)] = value
        if report.skipped and not hasattr(report, "wasxfail"):
            line["why"] = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        elif hasattr(report, "wasxfail"):
            line["why"] = report.wasxfail
        elif report.failed:
            line["why"] = _first_words(report)
            line["detail"] = _words(report)
        # Of a case whose worker has died pytest-xdist makes one report, of no phase.
        if report.when not in ("setup", "call"):
            line["at"] = round(time.time(), 3)
            self._write({**line, "late": True} if late else line)
            self.outcomes[report.nodeid] = line["outcome"]
            self.messages[report.nodeid] = line.get("why", "")
            del self._open[report.nodeid]

    def finish(self, verdict: str, lines: list[str], news: dict[str, Any]) -> None:
        """Close the results and write summary.txt, run.json's rest, and each guest's own facts."""
        for line in self._open.values():
            self._write({**line, "unfinished": True})
        self._results.close()
        path = self._folder / "run.json"
        ready = {
            k: v
            for k, v in news.get("ready", {}).items()
            if k in ("release", "version", "python", "running_build_id", "taint")
        }
        extra = {
            "seconds": round(time.time() - self._began, 1),
            "verdict": verdict,
            "exit_code": news["exit_code"],
            "ran": ready,
            "not watched": news.get("blind", {}),
            "guests": news.get("guests", 0),
            "uncertain": news.get("uncertain", []),
            "known": [asdict(issue) for issue in news["known"].issues],
            "expired": [asdict(issue) for issue in news["known"].expired(self.outcomes)],
        }
        write_json(path, {**json.loads(path.read_text()), **extra})
        failed = [n for n, o in self.outcomes.items() if o in ("failed", "error")]
        text = [
            *lines,
            "",
            *self._about(json.loads(path.read_text())),
            "",
            *(f"FAILED {n}\n    {self.messages[n]}" for n in failed),
            *([""] if failed else []),
            _GUIDE,
        ]
        (self._folder / "summary.txt").write_text("\n".join(text) + "\n", encoding="utf-8")

    def _write(self, line: dict[str, Any]) -> None:
        """A whole line or none: on a disk that is full, too."""
        data, end = json.dumps(line).encode() + b"\n", self._results.tell()
        try:
            while data:
                data = data[self._results.write(data) :]
        except OSError as error:
            self._results.truncate(end)
            self._results.seek(end)
            self.unwritten = self.unwritten or unwritten(self._folder, error)

    def _about(self, run: dict[str, Any]) -> list[str]:
        """Which kernel, how it was known to be that one, what ran it, and the command."""
        meant, ran = run["build_id"], run["ran"].get("running_build_id")
        proof = (
            "the one that was meant" if meant and meant == ran else "not compared: the spec names no image"
        )
        guests = [json.loads(file.read_text()) for file in sorted(self._folder.glob("guests/*/guest.json"))]
        how = f"{guests[0]['guest']} ({guests[0]['accel']}), {guests[0]['cpus']} CPUs" if guests else "no VM"
        return [
            f"kernel    {run['label']}, {run['ran'].get('release', 'not reached')}",
            f"build-id  {ran} ({proof})",
            f"began     {run['began']}, took {run['seconds']} s, {run['guests']} guests: {how}",
            f"command   {(self._folder / 'command.txt').read_text().strip()}",
            f"suite     ringrig {run['versions']['ringrig']}",
        ]

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.outcomes.values())


def begin(config: pytest.Config, context: Context) -> Record:
    """The record of a run, or pytest.exit where its folder takes none."""
    try:
        with writing("the run folder", context.folder):
            return Record(config, context)
    except NoSpace as error:
        pytest.exit(str(error), returncode=error.exit_code)


def results(folder: Path) -> Iterator[dict[str, Any]]:
    """The cases of a run folder's results.jsonl; a later line of a case takes the earlier's place.

    Cases that had not ended without a fault when the run did are no results, nor is half a line.
    """
    path = folder / "results.jsonl"
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            told: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        if not (told.get("unfinished") and told["outcome"] == "passed"):
            yield told


_GUIDE = """In this folder:
  summary.txt     this page
  results.jsonl   one case a line: outcome, seconds, guest, why, detail
  junit.xml       the same for CI
  run.json        kernel, build-id, versions, command, verdict
  kernel.config   the kernel's configuration, where the image came with it
  kernel.json     what a kernel that was built here was built from; patches/ has the patches
  guests/NAME/    a guest's console.log ("ringrig: begin/end N case" around each case), guest.json, agent.log"""


def unwritten(folder: Path, error: OSError) -> NoSpace:
    """The error for a run folder that does not take what a run leaves."""
    return NoSpace(
        f"The run folder {folder} cannot be written: {error.strerror or error}.",
        next_step="free space there, then run again; what was written before is whole",
    )


def read_json(path: Path) -> dict[str, Any]:
    """What a run or a campaign has written. BadSpec: it is damaged."""
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadSpec(
            f"{path} is damaged: {error}.",
            next_step="name another folder, or run again (--resume for a campaign)",
        ) from error
    return told


def write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=1, default=str) + "\n", encoding="utf-8")


VERSION_FILE = ".suite-version"
_SUITE = ("suites", "ringrig", "kconfigs", "patches", "vmimages", "conftest.py", "pyproject.toml")
"""What a run takes of the clone."""


def suite_version(root: Path) -> str:
    """The project's version, with the commit where there is one, and behind a + a digest of what differs from it.

    Of a suite that has travelled: what it was where it came from.
    """
    if (told := root / VERSION_FILE).is_file():
        return told.read_text()
    commit = _git(root, "describe", "--always").strip()
    return f"{version('ringrig')}{f' ({commit}{_differing(root)})' if commit else ''}"


def _differing(root: Path) -> str:
    """Changed and new files of the suite by their content: "+" and a digest; "" where there are none."""
    listing = ["status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", *_SUITE]
    names = sorted({entry[3:] for entry in _git(root, *listing).split("\0") if entry})
    if not names:
        return ""
    told = hashlib.sha256()
    for name in names:
        content = (root / name).read_bytes() if (root / name).is_file() else b"is gone"
        told.update(f"{name}\0{len(content)}\0".encode(errors="surrogateescape") + content)
    return f"+{told.hexdigest()[:8]}"


def _git(root: Path, *words: str) -> str:
    """What git says; "" where there is no git, or no repository."""
    argv = ["git", "--no-optional-locks", "-C", str(root), *words]
    try:
        done = subprocess.run(argv, capture_output=True, check=False)
    except OSError:
        return ""
    return os.fsdecode(done.stdout)


def _outcome(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.failed and report.when != "call":
        return "error"
    return report.outcome


def _words(report: pytest.TestReport) -> str:
    """Without the line that pytest-xdist puts above a worker's words."""
    return re.sub(r"\A\[gw\d+\] .*\n", "", report.longreprtext)


def _first_words(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else _words(report)
    return str(text).strip().split("\n", 1)[0][:300]
