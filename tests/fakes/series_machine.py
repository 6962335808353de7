"""Stands for the builds and runs of a series: what each of its jobs comes to is told beforehand."""

import json
import shutil
from pathlib import Path

import pytest
from fakes import kernel_tree, threads

from ringrig.campaign import crew, nearest, series, tester
from ringrig.campaign.job import read
from ringrig.errors import BuildFailed
from ringrig.report import series as reports

GOOD = {"a": "passed", "b": "passed", "c": "xfailed", "d": "skipped"}


class Machine:
    """Stands for builds and runs: `outcomes`, `codes` and `splats` ({case: what}) by job, `broken` kernels do not build.

    `jobs` are those that ran.
    """

    def __init__(self):
        self.outcomes, self.codes, self.splats, self.broken, self.jobs, self.done = {}, {}, {}, set(), [], {}

    def resolve(self, spec, *, wanted, say):
        for patch in wanted.patches:
            if Path(patch).stem in self.broken:
                raise BuildFailed("it does not build:\n    kbuf.c:3: error: no", next_step="-")

    def do(self, job, folder, *, workers, root, suite, run):
        if (known := self.finished(job, folder, suite)) is not None:
            return known
        self.jobs.append(job)
        folder.mkdir(exist_ok=True)
        first, again, _ = job.name.partition("-again-")
        outcomes = self.outcomes.get(job.name, self.outcomes.get(first, GOOD))
        if again:
            outcomes = {name: outcomes.get(name, "failed") for name in job.cases if not name.startswith("-")}
        code = self.codes.get(job.name, int("failed" in outcomes.values()))
        lines = [
            {"nodeid": n, "outcome": o, "seconds": 0.1, "why": f"{o}: 5 != 6", "at": 9.0}
            for n, o in outcomes.items()
        ]
        for line in lines:
            if what := self.splats.get(job.name, {}).get(line["nodeid"]):
                line["troubles"] = [f"splat: {what}"]
        (folder / "results.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in lines if code != 15)
        )
        (folder / "run.json").write_text(
            json.dumps(
                {
                    "label": "k",
                    "release": "6.12.3",
                    "verdict": f"V {job.name}",
                    "began": "2026-11-29T15:09:02+0000",
                }
            )
        )
        result = read(job, folder, code, 2.0)
        if code not in (2, 130, 18):
            self.done[str(folder)] = (job, result)
        return result

    def finished(self, job, folder, suite):
        known = self.done.get(str(folder))
        return known[1] if known and known[0] == job else None

    @property
    def names(self):
        return [job.name for job in self.jobs]


def install(monkeypatch):
    """In the place of the rig's own, for one test."""
    made = Machine()
    for module, name in ((tester, "resolve"), (tester, "finished"), (crew, "finished"), (crew, "do")):
        monkeypatch.setattr(module, name, getattr(made, name))
    monkeypatch.setattr(series, "suite_version", lambda _: "suite 1")
    monkeypatch.setattr(reports, "_who", lambda: "Ada Tester <ada@example.com>")
    monkeypatch.setattr(nearest, "collect", lambda names, root: names)
    return made


@pytest.fixture
def machine(monkeypatch):
    return install(monkeypatch)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A kernel tree with a topic of three patches."""
    made = kernel_tree.make(tmp_path_factory.mktemp("once") / "linux")
    threads.branch(made, 3)
    return made


@pytest.fixture
def tree(once, tmp_path, monkeypatch):
    """A copy of it; the clone is tmp_path."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = shutil.copytree(once, tmp_path / "linux", symlinks=True)
    return made


def run(tree, *more, given="v6.12..topic", said=None):
    words = ["--tree", str(tree), "--no-lines", given, "suites/x", *more]
    return series.run(words, root=tree.parent, say=(said.append if said is not None else lambda _: None))


def verdicts(found):
    return [row.verdict for row in found.patches]
