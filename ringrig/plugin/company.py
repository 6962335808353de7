"""Cases that share a child: one of their own costs more than most of them take, on every kind of kernel.

A failure that is known word for word is believed, too. Whatever else is not plain counts for nothing: after a failure that case, after
a splat, a hang or a process that died every case of the child runs again, each in a child of its own, and that is their verdict; a splat
that none of them brings again may be of one that ran shortly before them, and those run again, too. What then does not come again is told
as uncertain, never swallowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pytest

from ringrig.guest.wire import LINE_BYTES, Message, line
from ringrig.plugin import blame
from ringrig.plugin.judge import Trouble, of_splat
from ringrig.plugin.keeper import Keeper, Outcome
from ringrig.vm.plan import Plan
from ringrig.vm.splats import Splat


def size(plan: Plan, *, slowness: float, fresh: bool, keep: bool) -> int:
    """How many cases share a child: one where each is to be seen by itself, fewer where each takes long."""
    if fresh or keep or (plan.gcov and not plan.totals):
        return 1
    return 24 if slowness > 1 and plan.guest != "uml" else 72


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubt:
    """What came of a child, and nobody knows through whom of those who shared it."""

    trouble: Trouble
    theirs: list[str]
    """The cases of that child."""
    splat: Splat | None = None
    earlier: list[blame.Ran] = field(default_factory=list)
    """Who ran shortly before them, oldest first: a splat can come late."""

    @property
    def suspects(self) -> list[str]:
        return list(dict.fromkeys([*(case.nodeid for case in self.earlier), *self.theirs]))


class Company:
    """Hands out the verdicts of cases one by one, having run several at a time."""

    def __init__(
        self,
        keeper: Keeper,
        *,
        most: Callable[[], int],
        alone: Callable[[str], bool],
        known: Callable[[Sequence[dict[str, Any]]], bool],
    ) -> None:
        """`most`: cases of one child, asked when there is a guest; `alone` says of a node id that it has one to itself; `known` of a
        case's reports that they fail as is known.
        """
        self._keeper, self._most, self._alone, self._known = keeper, most, alone, known
        self._had: dict[str, Outcome] = {}
        self._own: dict[str, Trouble | None] = {}
        """Cases that run alone when their turn comes, each because of its failure; None: it was left out while it ran."""
        self._again: list[str] = []
        """Cases that run alone because of `_doubt`, until the last of them has."""
        self._doubt: _Doubt | None = None

    def run(self, item: pytest.Item, coming: Iterable[pytest.Item]) -> Outcome:
        """The verdict on a case; `coming`: what this process will be asked for after it.

        RigError: there is no guest to run it on, nor will there be.
        """
        nodeid = item.nodeid
        if not (nodeid in self._had or nodeid in self._own or nodeid in self._again or self._alone(nodeid)):
            self._together(self._group(item, coming))
        if (outcome := self._had.pop(nodeid, None)) is not None:
            return outcome
        outcome = self._keeper.run(nodeid)
        self._settle(nodeid, outcome)
        return outcome

    def open_doubts(self) -> list[tuple[Trouble, list[str]]]:
        """What nobody was found for when the run ended before all of its cases had run again, with those it concerns."""
        shared = [] if self._doubt is None else [(self._doubt.trouble, self._doubt.suspects)]
        return [*shared, *((doubt, [nodeid]) for nodeid, doubt in self._own.items() if doubt is not None)]

    def _group(self, item: pytest.Item, coming: Iterable[pytest.Item]) -> list[str]:
        """The case and those after it that may share its child."""
        others = (one.nodeid for one in coming if not self._alone(one.nodeid))
        nodeids = [item.nodeid, *islice(others, self._most() - 1)]
        while len(nodeids) > 1 and len(line(_request(nodeids))) > LINE_BYTES:
            nodeids = nodeids[: len(nodeids) * 3 // 4]
        return nodeids

    def _together(self, nodeids: list[str]) -> None:
        if len(nodeids) == 1:
            return
        tried = self._keeper.attempt(_request(nodeids))
        found, done = tried.found, tried.course.done
        if found.troubles or found.splats:
            self._again = nodeids
            if found.splats:
                splat = found.splats[0]
                near = [case for case in blame.suspects(splat, tried.cases) if case.nodeid not in nodeids]
                self._doubt = _Doubt(trouble=of_splat(splat), theirs=nodeids, splat=splat, earlier=near)
            else:
                self._doubt = _Doubt(trouble=found.troubles[0], theirs=nodeids)
            return
        each = [*map(_told, done["each"], nodeids), done["reports"]]
        counted = done.get("gcov")
        for nodeid, reports in zip(nodeids, each, strict=True):
            wrong = _not_plain(reports)
            if wrong is None or (wrong["outcome"] == "failed" and self._known(reports)):
                self._had[nodeid] = Outcome(ran=tried.ran, guest=tried.guest, reports=reports, gcov=counted)
                counted = None  # by all of them together: the first stands for them
            elif wrong["outcome"] == "skipped":
                self._own[nodeid] = None
            else:
                what = "it did not pass beside others"
                self._own[nodeid] = Trouble(kind="company", what=what, detail=_words(wrong["longrepr"]))

    def _settle(self, nodeid: str, outcome: Outcome) -> None:
        """A doubt is over when the like of it came alone. Its own is told else, a shared one with the last of those it concerns."""
        troubled = bool(outcome.troubles or outcome.late or outcome.uncertain)
        failed = any(report["outcome"] == "failed" for report in outcome.reports or [])
        own = self._own.pop(nodeid, None)
        if own is not None and not (failed or troubled):
            outcome.uncertain.append((own, [nodeid]))
        if nodeid not in self._again:
            return
        if troubled:
            self._doubt = None
        if nodeid == self._again[-1]:
            if (doubt := self._doubt) is not None:
                guilty = self._keeper.try_again(doubt.splat, doubt.earlier) if doubt.splat else None
                if guilty is None:
                    outcome.uncertain.append((doubt.trouble, doubt.suspects))
                else:
                    outcome.late.append((guilty.nodeid, doubt.trouble))
            self._doubt, self._again = None, []


def _told(one: Message, nodeid: str) -> list[dict[str, Any]]:
    """The reports of a case of several, in pytest's serial form; of a pass the child tells the durations alone."""
    if "reports" in one:
        reports: list[dict[str, Any]] = one["reports"]
        return reports
    place = {
        "nodeid": nodeid,
        "location": (nodeid, None, nodeid),
        "keywords": {},
        "$report_type": "TestReport",
    }
    phases = zip(("setup", "call", "teardown"), one["seconds"], strict=True)
    return [
        {**place, "when": when, "outcome": "passed", "longrepr": None, "duration": seconds}
        for when, seconds in phases
    ]


def _not_plain(reports: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The report that is neither a pass nor says that the case was left out before it had done anything."""
    return next(
        (
            one
            for one in reports
            if one["outcome"] != "passed" and (one["outcome"], one["when"]) != ("skipped", "setup")
        ),
        None,
    )


def _words(longrepr: Any) -> str:
    """What a failure says of itself."""
    return str(longrepr["reprcrash"]["message"] if isinstance(longrepr, dict) else longrepr)


def _request(nodeids: list[str]) -> Message:
    return {"nodeids": nodeids, "each": True}
