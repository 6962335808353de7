"""One case, several times on one kernel, with all that is kept of each time: calls, counters, trace."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ringrig.cache import Say, writing
from ringrig.errors import NothingRan
from ringrig.kernel.spec import Image, Target, Wanted
from ringrig.plugin import prepare
from ringrig.plugin.keeper import Keeper, Manner, Outcome
from ringrig.plugin.prepare import Context
from ringrig.vm import pack

CASE_SECONDS = 20.0
REST = "afterwards (what is left is closed)"
"""The name of what no call stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`res` is None for what no call stands for; `cqes` are (res, flags) of the completions taken before the next call."""

    name: str
    res: int | None
    cqes: tuple[tuple[int, int], ...] = ()
    gcov: Mapping[str, str] = field(default_factory=dict)

    @property
    def results(self) -> tuple[int | None, tuple[tuple[int, int], ...]]:
        """What can be compared between two runs of a case: descriptors and addresses cannot."""
        apart = self.name.startswith(("io_uring_setup", "mmap"))
        return min(self.res, 0) if apart and self.res is not None else self.res, self.cqes


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How it went: `failed`, in the case's `words`; `calls` are those that are known, the last one the REST.

    `lost`: the case's process or guest died, and what it did is known no better than as a whole. `splat`: what the kernel said.
    """

    failed: bool
    words: str = ""
    detail: str = ""
    calls: tuple[Call, ...] = ()
    lost: bool = False
    splat: str = ""
    trace: str = ""
    means: str = ""
    """What made the trace."""


class Bench:
    """A guest of one kernel and what is kept of it. RigErrors of what runs there."""

    def __init__(self, context: Context, keeper: Keeper) -> None:
        self.context, self._keeper = context, keeper

    def times(self, nodeid: str, count: int) -> list[Run]:
        return [self.once(nodeid) for _ in range(count)]

    def once(self, nodeid: str) -> Run:
        """NothingRan: the case was left out there."""
        return run_of(self._keeper.run(nodeid), nodeid, self.context.plan.label)


@contextmanager
def bench(
    target: Target, wanted: Wanted, *, root: Path, tops: set[str], plugin: str, say: Say
) -> Iterator[Bench]:
    """A kernel with the agent's `plugin` on it; its guests are gone afterwards."""
    context = prepare.context_for(target, wanted, root, tops, say=say)
    context = replace(context, plan=replace(context.plan, gcov=notes_of(target) is not None))
    pack.rewritten(root, context.plan.tops)
    prepare.pack_suite(context.plan, root)
    manner = Manner(timeout=CASE_SECONDS, fresh=False, options=("--tb=short", "-qq", f"-p{plugin}"))
    keeper = Keeper(context.plan, worker="explain", manner=manner, say=say)
    try:
        yield Bench(context, keeper)
    finally:
        keeper.end()


def notes_of(target: Target) -> Path | None:
    """Where a kernel's notes and sources for gcov lie, if it counts."""
    folder = target.path.parents[1] / "gcov" if isinstance(target, Image) else None
    return folder if folder is not None and folder.is_dir() else None


def texts_of(target: Target) -> dict[str, str]:
    """The sources that a kernel was built from, by name below io_uring/; empty where they are not at hand."""
    notes = notes_of(target)
    files = notes.glob("*.[ch]") if notes else ()
    return {file.name: file.read_text(encoding="latin-1") for file in files}


def keep(folder: Path, runs: Mapping[str, Sequence[Run]]) -> None:
    """What the runs of each side left, in the run folder: runs.json (gcov as in docs/coverage.md), and traces as text."""
    data = {side: [asdict(one) for one in those] for side, those in runs.items()}
    with writing("the run folder", folder):
        (folder / "runs.json").write_text(json.dumps(data), encoding="utf-8")
        for side, those in runs.items():
            for number, one in enumerate(those, start=1):
                if one.trace:
                    (folder / f"trace-{side}-{number}.txt").write_text(one.trace, encoding="utf-8")


def run_of(outcome: Outcome, nodeid: str, label: str) -> Run:
    """What an outcome says. NothingRan: the case was left out."""
    reports = outcome.reports or []
    for report in reports:
        if report["outcome"] == "skipped":
            why = report["longrepr"]
            raise NothingRan(
                f"{nodeid} is left out on {label}: {why[-1] if isinstance(why, list | tuple) else why}.",
                next_step="name a kernel that has what the case needs",
            )
    troubles = [*outcome.troubles, *(trouble for trouble, _ in outcome.uncertain)]
    failed = next((report for report in reports if report["outcome"] == "failed"), None)
    told = _properties(reports)
    rest = Call(name=REST, res=None, gcov=outcome.gcov or {})
    words, detail = _words(failed) if failed else ("", "")
    return Run(
        failed=bool(failed or troubles),
        words=words or (troubles[0].what if troubles else ""),
        detail=detail or (troubles[0].detail if troubles else ""),
        calls=(*map(_call, told.get("calls", [])), rest),
        lost="calls" not in told,
        splat="\n".join(one.detail or one.what for one in troubles if one.kind in ("splat", "panic", "hang")),
        trace=str(told.get("trace", "")),
        means=str(told.get("traced by", "")),
    )


def _call(data: Mapping[str, Any]) -> Call:
    cqes = tuple((res, flags) for res, flags in data["cqes"])
    return Call(name=data["name"], res=data["res"], cqes=cqes, gcov=data.get("gcov", {}))


def _properties(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: value for report in reports for name, value in report.get("user_properties", [])}


def _words(report: Mapping[str, Any]) -> tuple[str, str]:
    """The assertion's message, and the whole report as pytest would print it."""
    longrepr = report["longrepr"]
    if not isinstance(longrepr, Mapping):
        return str(longrepr).strip(), str(longrepr)
    lines = [line for entry in longrepr["reprtraceback"]["reprentries"] for line in entry["data"]["lines"]]
    return str(longrepr["reprcrash"]["message"]), "\n".join(lines)
