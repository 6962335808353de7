"""The unit of every campaign: this kernel, these cases → results. A job that is done is not done again."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ringrig import runs
from ringrig.cache import writing
from ringrig.errors import HostLacks, KernelUnavailable, NoSpace
from ringrig.plugin.record import results

_DONE = "job.json"
INTERRUPTED = {2, 128 + signal.SIGINT, 128 + signal.SIGTERM}
"""Exit codes after Ctrl-C: pytest's, and of a process that it ended. interrupted() says whether it was."""
_MENDED = {error.exit_code for error in (KernelUnavailable, HostLacks, NoSpace)}
"""Exit codes of what is another time than it was: the network, this machine's programs, its disk."""
_PROGRESS = "rig: "
_FAULTY = re.compile(r"^!* ?(Interrupted: \d+ errors? during collection)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One session of `rig run`; paths in it are absolute. `name` is what reports call it, and its folder's name."""

    name: str
    kernel: str
    guest: str = "auto"
    configs: tuple[str, ...] = ()
    patches: tuple[str, ...] = ()
    cases: tuple[str, ...] = ("suites",)

    @property
    def arguments(self) -> list[str]:
        """Those of `rig run`, which a person repeats it with."""
        return [
            f"--kernel={self.kernel}",
            f"--guest={self.guest}",
            *(f"--config={one}" for one in self.configs),
            *(f"--patch={one}" for one in self.patches),
            *self.cases,
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What became of a case: its outcome in pytest's words, seconds, and why where it is not a plain pass."""

    outcome: str
    seconds: float
    why: str = ""


@dataclass(slots=True, kw_only=True)
class Result:
    """A job that has run; `verdict` as its run said it, `folder` the run folder, `seconds` with build and boot."""

    job: Job
    folder: Path
    exit_code: int
    seconds: float
    verdict: str
    cases: dict[str, Case] = field(default_factory=dict)

    def count(self, top: str | None = None) -> Counter[str]:
        """Outcomes, of one folder of suites/ or of all."""
        return Counter(case.outcome for name, case in self.cases.items() if top in (None, folder_of(name)))


def folder_of(nodeid: str) -> str:
    """The folder of suites/ that a case lies in."""
    parts = Path(nodeid.split("::", 1)[0]).parts
    return parts[1] if len(parts) > 2 and parts[0] == "suites" else parts[0]


def do(
    job: Job, folder: Path, *, workers: int, root: Path, suite: str, run: Callable[..., int] | None = None
) -> Result:
    """Runs the job into `folder`, unless that holds its finished result of the same `suite` already. NoSpace.

    What the run prints goes to output.txt there. `run`: how (runs.wait_for, which is for programs without threads;
    Children.wait_for).
    """
    run = run or runs.wait_for
    if (known := finished(job, folder, suite)) is not None:
        return known
    began = time.monotonic()
    with writing("the campaign's folder", folder):
        folder.mkdir(parents=True, exist_ok=True)
        for old in (_DONE, "results.jsonl"):
            (folder / old).unlink(missing_ok=True)
        with (folder / "output.txt").open("wb") as output:
            words = ["-q", "-n", str(workers), f"--run-folder={folder}", *job.arguments]
            command = [sys.executable, "-m", "pytest", *words]
            code = run(command, cwd=root, output=output)
        seconds = round(time.monotonic() - began, 1)
        told = {"job": asdict(job), "suite": suite, "exit_code": code, "seconds": seconds}
        if not interrupted(folder, code):
            (folder / _DONE).write_text(json.dumps(told, indent=1) + "\n")
    return read(job, folder, code, seconds)


def finished(job: Job, folder: Path, suite: str) -> Result | None:
    """The result that `folder` holds of this very job, run with this suite; none that a person could mend, nor half of one."""
    try:
        told = json.loads((folder / _DONE).read_text())
        mine = told["suite"] == suite and told["job"] == json.loads(json.dumps(asdict(job)))
        code, seconds = told["exit_code"], told["seconds"]
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None
    whole = code not in {0, 1} or ((folder / "results.jsonl").exists() and (folder / "run.json").exists())
    return read(job, folder, code, seconds) if mine and whole and code not in _MENDED else None


def read(job: Job, folder: Path, exit_code: int, seconds: float) -> Result:
    """What the run folder of a job says, however far the run got."""
    verdict = ""
    if (folder / "run.json").exists():
        verdict = json.loads((folder / "run.json").read_text()).get("verdict", "")
    return Result(
        job=job,
        folder=folder,
        exit_code=exit_code,
        seconds=seconds,
        verdict=verdict or last_words(folder) or f"NO VERDICT: exit code {exit_code}",
        cases={
            told["nodeid"]: Case(outcome=told["outcome"], seconds=told["seconds"], why=told.get("why", ""))
            for told in results(folder)
        },
    )


def interrupted(folder: Path, exit_code: int) -> bool:
    """Whether Ctrl-C ended the run: pytest's code for that is also the one for faulty case files."""
    return exit_code in INTERRUPTED and not (exit_code == 2 and _FAULTY.search(_output(folder)))


def last_words(folder: Path) -> str:
    """Why a run that has ended has no verdict, as "NO VERDICT: …"; "" where it said nothing."""
    output = _output(folder)
    said = [
        line.partition(": ")[2]
        for line in output.splitlines()
        if line.startswith(("Exit: ", "ERROR: ", "INTERNALERROR> "))
    ]
    if faulty := _FAULTY.search(output):
        said = [faulty[1]]
    others = [line for line in output.splitlines() if line.strip() and not line.startswith(_PROGRESS)]
    last = (said or others or [""])[-1]
    return f"NO VERDICT: {last}" if last else ""


def _output(folder: Path) -> str:
    path = folder / "output.txt"
    return path.read_text(errors="replace") if path.exists() else ""
