"""Folders as runs and campaigns leave them, for the reports' tests."""

import json

A, B = "suites/mmap/test_b.py", "suites/status/test_a.py"
ISSUE = {
    "id": "stale-head",
    "title": "6.1: a stale head",
    "link": "https://example.invalid/1",
    "expires": "2199-01-01",
}
CONSOLE = """\
[    1.000000] Linux version 6.12.1
[    6.000000] ringrig: begin 1 suites/status/test_a.py::test_1
[    6.100000] ringrig: end 1 suites/status/test_a.py::test_1
[    6.200000] ringrig: begin 2 suites/mmap/test_b.py::test_4[a#1]
[    6.300000] WARNING: CPU: 0 PID: 180 at io_uring/kbuf.c:1
[    6.400000] ringrig: end 2 suites/mmap/test_b.py::test_4[a#1]
[    6.500000] later
"""
LINES = [
    {"nodeid": f"{B}::test_1", "outcome": "passed", "seconds": 0.1},
    {"nodeid": f"{B}::test_2", "outcome": "skipped", "seconds": 0.0, "why": "Skipped: needs inc: <no> & \x1b[1m"},
    {"nodeid": f"{A}::test_3[a/b]", "outcome": "xfailed", "seconds": 0.2, "why": "known: 6.1: …", "known": "stale-head"},
    {"nodeid": f"{A}::test_4[a#1]", "outcome": "failed", "seconds": 0.2, "why": "got -EINVAL </script><b>",
     "detail": "E  assert -22 == 0\n# Subtest: none\nok 1 of them", "guest": "gw0-1"},
    {"nodeid": f"{A}::test_5", "outcome": "failed", "seconds": 20.0, "why": "no end after 20 s",
     "troubles": ["timeout: no end after 20 s"]},
    {"nodeid": f"{A}::test_6", "outcome": "error", "seconds": 0.0, "why": "no fixture"},
    {"nodeid": f"{A}::test_7", "outcome": "xpassed", "seconds": 0.0, "why": "known: …", "known": "stale-head"},
    {"nodeid": f"{A}::test_8", "outcome": "error", "seconds": 0.0, "why": "the guest is gone", "unfinished": True},
]  # fmt: skip


def a_run(folder, *, lines=LINES, kernel="source:6.12", **about):
    """A run folder with these results."""
    guest = folder / "guests/gw0-1"
    guest.mkdir(parents=True)
    (guest / "console.log").write_text(CONSOLE)
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = {
        "kernel": kernel,
        "label": f"{kernel} (6.12.117) [uml]",
        "release": "6.12.117",
        "build_id": "abc0",
        "notes": [],
        "began": "2026-11-29T11:37:09+0000",
        "command": [
            "python",
            "-m",
            "pytest",
            f"--kernel={kernel}",
            "--guest",
            "uml",
            "-q",
            "--judged-by=debian:6.12",
            "suites",
        ],
        "host": {"machine": "x86_64"},
        "versions": {"ringrig": "0.1.0 (abc)"},
        "seconds": 35.2,
        "verdict": f"FAIL: {kernel}: 1 passed, 2 failed",
        "exit_code": 1,
        "ran": {"release": "6.12.117", "running_build_id": "abc0"},
        "uncertain": [],
        "known": [ISSUE],
        "expired": [],
    }
    (folder / "run.json").write_text(json.dumps({**told, **about}))
    return folder


def a_job(folder, *, kernel="source:6.12", name=None, **about):
    """A campaign's run of that kernel that has ended."""
    a_run(folder, kernel=kernel, **about)
    _job(folder, name or kernel, kernel, about.get("exit_code", 1))
    return folder


def a_job_without_a_case(folder, *, kernel="debian:9.9", code=12, words="Exit: There is no such kernel.\n"):
    """One whose kernel was not to be had, for one."""
    folder.mkdir(parents=True)
    (folder / "output.txt").write_text(f"rig: looking\n{words}")
    _job(folder, kernel, kernel, code)
    return folder


def _job(folder, name, kernel, code):
    job = {
        "name": name,
        "kernel": kernel,
        "guest": "uml",
        "configs": ["kasan"],
        "patches": [],
        "cases": ["suites"],
    }
    told = {"job": job, "suite": "0.1.0 (abc)", "exit_code": code, "seconds": 40.0}
    (folder / "job.json").write_text(json.dumps(told))


PATCH = "--- a/io_uring/kbuf.c\n+++ b/io_uring/kbuf.c\n@@ -1 +1 @@\n-a\n+b\n"
ROW = {
    "author": "", "message_id": "", "arguments": [], "faults": {}, "breaks": [], "mends": [], "unknown_before": [],
    "flaky": [], "newly_passing": [], "newly_skipped": [], "newly_run": [], "not_run": [], "new_splats": {},
    "lines": None, "exercised": "", "seconds": {"build": 9.0}, "words": "", "subject": "", "verdict": "",
}  # fmt: skip


def a_series(folder, *, lines=LINES, words=""):
    """Base, a patch that breaks a case, one that does not build, one that mends it; the fourth was not run. `words` as in a_bisection()."""
    changed = {
        "ran": {},
        "idle": {"io_uring/kbuf.c": [7, 8, 9, 12]},
        "uncompiled": {},
        "unmeasured": ["fs/pipe.c"],
    }
    case = f"{A}::test_4[a#1]"
    combined = folder / "kernels/2-of-4.patch"
    combined.parent.mkdir(parents=True)
    combined.write_text(PATCH)
    rows = [
        {**ROW, "number": 0, "folder": "base"},
        {**ROW, "number": 1, "folder": "1-of-4", "subject": f"io_uring: <one>{words}", "verdict": "breaks",
         "faults": {case: f"got -EINVAL{words}"}, "breaks": [case], "newly_passing": ["p1"], "newly_run": ["r1"], "lines": changed},
        {**ROW, "number": 2, "folder": "2-of-4", "verdict": "does not build",
         "words": f"source:6.12 does not build:\n    kbuf.c:3: error: expected ‘;’{words}",
         "arguments": ["--kernel=source:6.12", "--guest=uml", f"--patch={combined}"]},
        {**ROW, "number": 3, "folder": "3-of-4", "verdict": "mends", "mends": [case],
         "newly_passing": ["p1", "p2"], "newly_run": ["r1"]},
    ]  # fmt: skip
    for name in ("base", "1-of-4", "1-of-4-again", "3-of-4"):
        a_job(folder / name, name=name, lines=lines)
    told = {
        "title": f"bundles <two>{words}",
        "base": "tree:/linux",
        "cases": [f"{folder.parents[1]}/suites/status"],
        "base failing": {},
        "base flaky": ["wavers"],
        "rows": rows,
        "not run": [4],
    }
    (folder / "series.json").write_text(json.dumps(told))
    return folder


def a_bisection(folder, *, words=""):
    """Good, the culprit and one that was skipped; `words` are there where people's may be long."""
    folder.mkdir(exist_ok=True)
    commits = [
        {
            "id": n * 40,
            "subject": f"io_uring: {n} <b>{words}",
            "author": "A",
            "mail": "a@b.invalid",
            "day": "2026-01-01",
            "parents": [],
        }
        for n in "abc"
    ]
    facts = {"passed": 3, "failed": 0, "other": 0, "seconds": 20.5, "boots": 1, "build_id": "", "folder": "f"}
    told = {
        "result": "culprit",
        "culprit": commits[1],
        "case": f"{A}::test_1{words}",
        "confidence": 0.99999,
        "kernels": 3,
        "examined": [
            {**one, **facts, "verdict": word, "why": f"is {word}{words}"}
            for one, word in zip(commits, ["good", "bad", "skip"], strict=True)
        ],
    }
    (folder / "bisect.json").write_text(json.dumps(told))
    return folder


def a_bisection_under_way(folder):
    """One that has no result of its own: asked for, and a commit examined."""
    a_job(folder / "aaaaaaaaaaaa", name="aaaaaaaaaaaa", exit_code=0, verdict="PASS: all well")
    (folder / "bbbbbbbbbbbb").mkdir()
    (folder / "bbbbbbbbbbbb/output.txt").write_text("rig: building\n")
    (folder / "asked.json").write_text(json.dumps({"tree": "/linux", "good": "a" * 40, "bad": "b" * 40}))
    return folder


def a_matrix(folder, *, lines=LINES):
    """Two kernels with results, one that was not to be had, one that was not run."""
    names = ["k-6.12", "k-6.1", "k-9.9"]
    a_job(folder / names[1], kernel="debian:6.1", lines=LINES[:3], exit_code=0, verdict="PASS: all well")
    a_job(folder / names[0], lines=lines)
    a_job_without_a_case(folder / names[2])
    told = {"suite": "0.1.0 (abc)", "kernels": [{"folder": name} for name in names], "not run": ["host"]}
    (folder / "matrix.json").write_text(json.dumps(told))
    return folder
