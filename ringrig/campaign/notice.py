"""What an attempt shows: whether its last case noticed anything, and how."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from _pytest.reports import TestReport

from ringrig.plugin.judge import ending, of_splat
from ringrig.plugin.keeper import Tried
from ringrig.plugin.known_issues import KnownIssues

_MARK = re.compile(r"ringrig: (?:begin|goes on) \d+ (\S.*)$", re.MULTILINE)
_ERRNO = re.compile(r"\bE[A-Z]{3,}\b")
_SKIP_STATUS = 77
_COSTLY = {"panic", "hang", "died", "splat"}
_WORDS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """`case` noticed, `how`: errno, value, skip, status, splat, panic, hang, timeout, died, pins, taint; in its own words.

    case is None where something was noticed after several cases that all passed: any of them may be it.
    """

    case: str | None
    how: str
    what: str

    @property
    def costly(self) -> bool:
        """Each time it is noticed a guest is lost."""
        return self.how in _COSTLY


def notice(tried: Tried, cases: list[str], known: KnownIssues) -> Notice | None:
    """None: all of `cases` passed or, if it is one, failed as is known, and nothing else happened."""
    done = tried.course.done
    if tried.course.end != "done":
        marks = [name for name in _MARK.findall(tried.course.console) if name.strip() in cases]
        case = marks[-1].strip() if marks else cases[0] if len(cases) == 1 else None
    else:
        case = cases[done.get("passed", 0)]
    troubles = [*tried.found.troubles, *map(of_splat, tried.found.splats)]
    # A case that cannot be killed has run out of its time, too: what loses the guest says more.
    for trouble in sorted(troubles, key=lambda one: one.kind not in _COSTLY):
        failed = done.get("reports") is None or _failure(done["reports"]) is not None
        sure = len(cases) == 1 or tried.course.end != "done" or trouble.kind in ("timeout", "died") or failed
        return Notice(case=case if sure else None, how=trouble.kind, what=trouble.what[:_WORDS])
    if "said" in done:
        return _status(case, done["status"], done["said"])
    failure = _failure(unexplained(done["reports"], known))
    return None if failure is None else Notice(case=case, how=failure[0], what=failure[1])


def unexplained(reports: Sequence[dict[str, object]], known: KnownIssues) -> list[dict[str, object]]:
    """All but the failures that a known issue of this kernel explains."""
    found = [TestReport._from_json(dict(data)) for data in reports]
    known.apply(found)
    return [one for one, report in zip(reports, found, strict=True) if report.outcome == one["outcome"]]


def _failure(reports: list[dict[str, object]]) -> tuple[str, str] | None:
    """How the first report that is no pass says so."""
    for report in reports:
        if report["outcome"] == "skipped":
            return "skip", _first_line(report["longrepr"])
        if report["outcome"] == "failed":
            words = _first_line(report["longrepr"])
            return ("errno" if _ERRNO.search(words) else "value"), words
    return None


def _first_line(longrepr: object) -> str:
    if isinstance(longrepr, dict):
        longrepr = longrepr["reprcrash"]["message"]
    if isinstance(longrepr, list | tuple):
        longrepr = longrepr[-1]
    lines = [line.strip() for line in str(longrepr).splitlines() if line.strip()]
    return " · ".join(lines[:3])[:_WORDS]


def _status(case: str | None, status: int, said: str) -> Notice | None:
    if status == 0:
        return None
    how = "skip" if status >> 8 == _SKIP_STATUS else "status"
    return Notice(
        case=case, how=how, what=f"{ending(status)}: {' · '.join(said.strip().splitlines()[-2:])}"[:_WORDS]
    )
