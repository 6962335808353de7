"""A job's session without pytest: a run folder and an exit code for each call."""

import json
from pathlib import Path

import pytest

from ringrig.campaign import job as jobs
from ringrig.campaign import matrix, nearest
from ringrig.campaign.job import Job, do
from ringrig.children import Children

JOB = Job(name="host", kernel="host", cases=("suites/x",))
LINES = [
    {"nodeid": "suites/status/test_a.py::test_1", "outcome": "passed", "seconds": 0.1},
    {"nodeid": "suites/status/test_a.py::test_2", "outcome": "skipped", "seconds": 0.0, "why": "needs inc"},
    {"nodeid": "suites/mmap/test_b.py::test_3[a/b]", "outcome": "xfailed", "seconds": 0.2, "why": "known: …"},
    {"nodeid": "suites/mmap/test_b.py::test_4", "outcome": "failed", "seconds": 0.2, "why": "got -EINVAL"},
]


@pytest.fixture
def session(monkeypatch):
    """Stands for pytest: each call appends its command, writes a run folder and ends with the next code."""
    calls, codes = [], []

    def wait_for(*words, cwd, output):
        command = words[-1]  # behind it, the Children, if there are any
        folder = Path(next(w for w in command if w.startswith("--run-folder=")).partition("=")[2])
        calls.append(command)
        code = codes.pop(0) if codes else 1
        if code == "faulty":
            output.write(b"!!!!!!! Interrupted: 2 errors during collection !!!!!!!\n")
            output.flush()
            return 2
        if code == 22:
            output.write(b"some words\nExit: There is no such patch.\n")
            return code
        (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
        (folder / "run.json").write_text(json.dumps({"verdict": "FAIL: host: 1 failed"}))
        return code

    monkeypatch.setattr(jobs.runs, "wait_for", wait_for)
    monkeypatch.setattr(Children, "wait_for", wait_for)
    monkeypatch.setattr(matrix, "suite_version", lambda _: "suite 1")
    monkeypatch.setattr(nearest, "known", lambda names, root: list(names))
    return calls, codes


def run_job(folder, suite="suite 1", job=JOB):
    return do(job, folder, workers=2, root=folder, suite=suite)
