"""KCIDB's JSON (schema v5.3): checkouts, builds, tests, and known issues with their incidents. Nothing is submitted.

What the kernel did wrong is FAIL, a case that broke down ERROR, one that the rig could not run MISS; a known issue is a
FAIL with an incident, so that whoever reads it can tell it from news.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from ringrig.errors import BadConfig, BadPatch, BadSpec, BuildFailed, NoBoot, NothingRan
from ringrig.report.folder import Case, Folder, Run

ORIGIN = "ringrig"
_ORIGIN = re.compile("[a-z0-9_]+")
"""The schema's rule."""
_EXCERPT = 16384
"""Characters of a log that the schema takes."""
_STATUS = {
    "passed": "PASS",
    "failed": "FAIL",
    "error": "ERROR",
    "xfailed": "FAIL",
    "xpassed": "PASS",
    "skipped": "SKIP",
}
_ERRORS = 10
"""The first of the rig's own exit codes."""
Report = dict[str, Any]


def check(origin: str) -> None:
    """BadSpec: KCIDB would refuse whatever has that origin."""
    if not _ORIGIN.fullmatch(origin):
        raise BadSpec(
            f"{origin!r} is no origin: KCIDB's have small letters, digits and _, and nothing else.",
            next_step="name the origin that KernelCI has given you with --origin",
        )


def text(folder: Folder, *, origin: str = ORIGIN) -> str:
    """The whole report; `origin` is the name that KernelCI knows the submitter by."""
    out: dict[str, dict[str, Report]] = {
        name: {} for name in ("checkouts", "builds", "tests", "issues", "incidents")
    }
    for run in folder.runs:
        checkout = _checkout(run, origin)
        build = _build(run, origin, checkout["id"])
        out["checkouts"][checkout["id"]] = checkout
        out["builds"][build["id"]] = build
        for test in _tests(run, origin, build["id"]):
            out["tests"][test["id"]] = test
        for case in run.cases.values():
            if case.known:
                issue = _issue(run, case, origin)
                incident = _incident(run, case, origin, issue["id"])
                out["issues"][issue["id"]] = issue
                out["incidents"][incident["id"]] = incident
    lists = {name: list(found.values()) for name, found in out.items() if found}
    return json.dumps({"version": {"major": 5, "minor": 3}, **lists}, indent=1) + "\n"


def _checkout(run: Run, origin: str) -> Report:
    source = _kernel(run).get("tree") or run.release or run.name
    patches = _patches(run)
    made: Report = {
        "origin": origin,
        "comment": f"{run.label}{f' with {len(patches)} patches' if patches else ''}",
        "valid": run.exit_code != BadPatch.exit_code,
        "misc": {"spec": run.about.get("kernel", run.name), "release": run.release},
    }
    if patches:
        made["patchset_hash"] = _patchset(patches)
        source += made["patchset_hash"]
    if began := _time(run.about.get("began", "")):
        made["start_time"] = began
    made["id"] = f"{origin}:{_short(source)}"
    return made


def _patches(run: Run) -> list[Path]:
    """Those in the run's folder; a kernel that was not built has none there, so those that it was to be built with."""
    named = [Path(word.partition("=")[2]) for word in run.arguments if word.startswith("--patch=")]
    kept = sorted(run.folder.glob("patches/*/*"))
    return kept or [path for path in named if path.is_file()]


def _patchset(patches: list[Path]) -> str:
    """As KCIDB's schema has it: of the lines with each patch's own sum."""
    sums = [hashlib.sha256(patch.read_bytes()).hexdigest() + "\n" for patch in patches]
    return hashlib.sha256("".join(sums).encode()).hexdigest()


def _build(run: Run, origin: str, checkout: str) -> Report:
    facts = _kernel(run)
    gnu = run.about.get("ran", {}).get("running_build_id") or run.about.get("build_id") or ""
    made: Report = {
        "id": f"{origin}:{gnu or _short(f'{run.label}{run.release}{run.arguments}')}",
        "origin": origin,
        "checkout_id": checkout,
        "comment": run.label,
        "architecture": facts.get("arch")
        or ("um" if "uml" in run.label else run.about.get("host", {}).get("machine", "")),
        "misc": {"gnu_build_id": gnu, "lacks": facts.get("lacks", [])},
    }
    if "toolchain" in facts:
        made |= {"compiler": facts["toolchain"], "duration": facts["seconds"]}
    if run.exit_code == BuildFailed.exit_code:
        made |= {"status": "FAIL", "log_excerpt": _cut(run.verdict)}
    elif run.exit_code == BadConfig.exit_code:
        made["status"] = "ERROR"
    elif gnu:
        made["status"] = "PASS"
    return made


def _tests(run: Run, origin: str, build: str) -> Iterator[Report]:
    """The boot, what kept the run from an end, and every case."""

    def test(name: str, path: str, status: str, comment: str, **more: Any) -> Report:
        made = {
            "id": f"{origin}:{run.folder.parent.name}/{run.folder.name}:{name}",
            "origin": origin,
            "build_id": build,
            "path": path,
            "status": status,
            "comment": _clean(comment),
            "environment": {"comment": _clean(run.label), "misc": {"rig run": " ".join(run.arguments)}},
        }
        return made | more

    if run.exit_code == NoBoot.exit_code:
        yield test("boot", "boot", "FAIL", run.verdict)
    elif run.about.get("ran", {}).get("release"):
        yield test("boot", "boot", "PASS", run.release)
    ended = run.exit_code is not None and (run.exit_code < _ERRORS or run.exit_code == NothingRan.exit_code)
    if not ended or not run.cases:
        yield test("ringrig", "ringrig", "MISS", run.verdict)
    for case in run.cases.values():
        more: Report = {"duration": case.seconds}
        if case.outcome != "passed":
            more["misc"] = {"outcome": case.outcome, "why": case.why}
        if case.detail:
            more["log_excerpt"] = _cut(case.detail)
        status = _STATUS[case.outcome] if case.ended else "MISS"
        yield test(case.nodeid, _path(case.nodeid), status, case.nodeid, **more)


def _issue(run: Run, case: Case, origin: str) -> Report:
    about = run.issues.get(case.known, {})
    made: Report = {
        "id": f"{origin}:{case.known}",
        "version": 1,
        "origin": origin,
        "comment": about.get("title", case.why),
        "culprit": {"code": True, "tool": False, "harness": False},
    }
    if about:
        made |= {
            "report_url": about["link"],
            "report_subject": about["title"],
            "misc": {"expires": about["expires"]},
        }
    return made


def _incident(run: Run, case: Case, origin: str, issue: str) -> Report:
    test = f"{run.folder.parent.name}/{run.folder.name}:{case.nodeid}"
    return {
        "id": f"{origin}:{test}:{case.known}",
        "origin": origin,
        "issue_id": issue,
        "issue_version": 1,
        "test_id": f"{origin}:{test}",
        "present": case.outcome == "xfailed",
    }


def _kernel(run: Run) -> Report:
    """What a kernel that was built here was built from."""
    path = run.folder / "kernel.json"
    facts: Report = json.loads(path.read_text()) if path.exists() else {}
    return facts


def _path(nodeid: str) -> str:
    """ringrig.FOLDER.FILE.TEST: the case's parameters are no part of it, for the schema has no room for them."""
    words = (
        nodeid.partition("[")[0].removeprefix("suites/").replace(".py::", "/").replace("::", "/").split("/")
    )
    return ".".join(["ringrig", *(re.sub(r"[^A-Za-z0-9_-]", "_", word) for word in words)])


def _time(stamp: str) -> str:
    """RFC 3339, of strftime's %z."""
    return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S%z").isoformat() if stamp else ""


def _short(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def _cut(words: str) -> str:
    return _clean(words)[:_EXCERPT]


def _clean(words: str) -> str:
    return words.replace("\0", "\ufffd")
