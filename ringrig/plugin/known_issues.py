"""Known kernel bugs (design, law 9): a case, the wrong result it shows, and the kernels that show it, with a link and an expiry.

A failure that matches becomes xfail with the link; any other failure of that case stays one; a pass where
the bug was expected is xpass.
"""

from __future__ import annotations

import datetime
import fnmatch
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ringrig.model.profiles import profile_for, profiles
from ringrig.model.traits import unknown
from ringrig.vm.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One entry of suites/known-issues.toml."""

    id: str
    title: str
    case: str | tuple[str, ...]
    """A node id, with shell wildcards outside brackets; or several."""
    shows: str
    """A regular expression that the failure's message must match."""
    link: str
    expires: datetime.date
    traits: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    alone: bool = False
    """What it shows would be everybody's whose child the case shares."""


class KnownIssues:
    """The issues of one kernel: those that hold, and those that expired and no longer count."""

    def __init__(self, issues: Sequence[Issue]) -> None:
        today = datetime.date.today()
        self.issues = [issue for issue in issues if issue.expires >= today]
        self._expired = [issue for issue in issues if issue.expires < today]

    @classmethod
    def load(cls, path: Path, plan: Plan) -> KnownIssues:
        """Issues whose traits or profiles fit the plan's kernel; UsageError for a file that is none."""
        if not path.exists():
            return cls([])
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8")).get("issue", [])
            issues = [_issue(table) for table in tables]
        except (TypeError, ValueError, re.error) as error:
            raise pytest.UsageError(f"{path}: {error}") from error
        profile = profile_for(plan.profile or plan.spec, plan.release)
        return cls(
            [
                issue for issue in issues
                if (not issue.profiles or profile.name in issue.profiles)
                and profile.traits.issuperset(issue.traits)
            ]
        )  # fmt: skip

    def expired(self, nodeids: Iterable[str]) -> list[Issue]:
        """Those that speak of one of these cases and no longer count: somebody has to look at them again."""
        names = list(nodeids)
        return [issue for issue in self._expired if any(_matches(issue, name) for name in names)]

    def speak_of(self, nodeid: str) -> bool:
        """Whether the case is known to fail on this kernel."""
        return any(_matches(issue, nodeid) for issue in self.issues)

    def alone(self, nodeid: str) -> bool:
        """Whether the case needs a child to itself on this kernel."""
        return any(_matches(issue, nodeid) for issue in self.issues if issue.alone)

    def expect(self, reports: Sequence[pytest.TestReport]) -> bool:
        """Whether all that failed is a call that an issue explains."""
        failed = [report for report in reports if not report.passed]
        return all(
            (report.when, report.outcome) == ("call", "failed") and self._explaining(report)
            for report in failed
        )

    def _explaining(self, report: pytest.TestReport) -> list[Issue]:
        return [one for one in self.issues if _matches(one, report.nodeid) and _explains(one, report)]

    def apply(self, reports: Sequence[pytest.TestReport]) -> None:
        """Turn the failure that an issue explains into xfail, and a pass that it says cannot be into xpass."""
        for report in reports:
            if report.when != "call" or report.skipped:
                continue
            if report.passed:
                issues = [one for one in self.issues if _matches(one, report.nodeid)]
            elif issues := self._explaining(report):
                report.outcome = "skipped"
            if issues:
                report.wasxfail = f"known: {issues[0].title} ({issues[0].link})"
                report.user_properties.append(("known", issues[0].id))


def _issue(table: dict[str, Any]) -> Issue:
    """One entry.

    TypeError, ValueError, re.error: an entry that is misspelt would never match, and nobody would notice.
    """
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
    }
    issue = Issue(**fields)
    for name in ("id", "title", "shows", "link"):
        if not isinstance(getattr(issue, name), str):
            raise TypeError(f"{issue.id}: {name} must be a string")
    if not all(isinstance(case, str) for case in _cases(issue)):
        raise TypeError(f"{issue.id}: case must be a string or a list of them")
    if type(issue.alone) is not bool:
        raise TypeError(f"{issue.id}: alone must be true or false")
    if type(issue.expires) is not datetime.date:
        raise TypeError(f"{issue.id}: expires must be a date, like 2027-11-30")
    re.compile(issue.shows)
    if wrong := [*unknown(issue.traits), *(name for name in issue.profiles if name not in profiles())]:
        raise ValueError(f"{issue.id}: no such trait or profile: {', '.join(wrong)}")
    return issue


def _cases(issue: Issue) -> tuple[str, ...]:
    return issue.case if isinstance(issue.case, tuple) else (issue.case,)


def _matches(issue: Issue, nodeid: str) -> bool:
    # Brackets hold parameters, never character classes.
    return any(fnmatch.fnmatchcase(nodeid, pattern.replace("[", "[[]")) for pattern in _cases(issue))


def _explains(issue: Issue, report: pytest.TestReport) -> bool:
    """Whether it speaks of this result, and of each splat, hang or leak beside it."""
    troubles = [str(value) for name, value in report.user_properties if name == "trouble"]
    return all(re.search(issue.shows, text) for text in (report.longreprtext, *troubles))
