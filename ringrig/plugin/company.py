"""Cases that share a child where a child is dear: in User-Mode Linux, or emulated, one costs more than most cases take.

Whatever is not plain (a failure, a splat, a process that died) counts for nothing: the cases concerned run again, each in a
child of its own (one after a failure, all of them after the rest), and that is their verdict. What then does not come again
is told as uncertain, never swallowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import pytest

from ringrig.guest.wire import LINE_BYTES, Message, line
from ringrig.plugin.judge import Trouble
from ringrig.plugin.keeper import Keeper, Outcome
from ringrig.vm import accel
from ringrig.vm.plan import Plan


def size(plan: Plan, *, fresh: bool, keep: bool) -> int:
    """How many cases share a child: one where each is to be seen by itself, and where a child is cheap."""
    if plan.kind != "image" or fresh or keep or (plan.gcov and not plan.totals):
        return 1
    if plan.guest == "uml":
        return 72
    return 24 if accel.choose(plan.accel).kind == "tcg" else 1


class Company:
    """Hands out the verdicts of cases one by one, having run several at a time."""

    def __init__(self, keeper: Keeper, *, most: int, alone: Callable[[str], bool]) -> None:
        """`most`: cases of one child; `alone` says of a node id that it has one to itself."""
        self._keeper, self._most, self._alone = keeper, most, alone
        self._had: dict[str, Outcome] = {}
        self._failed: dict[str, Trouble] = {}
        """Cases that did not pass, each of which runs alone when its turn comes."""
        self._again: list[str] = []
        """Cases that run alone because of `_doubt`, until the last of them has."""
        self._doubt: Trouble | None = None

    def run(self, item: pytest.Item, coming: Iterable[pytest.Item]) -> Outcome:
        """The verdict on a case; `coming`: what this process will be asked for after it.

        RigError: there is no guest to run it on, nor will there be.
        """
        nodeid = item.nodeid
        if not (
            nodeid in self._had or nodeid in self._failed or nodeid in self._again or self._alone(nodeid)
        ):
            self._together(self._group(item, coming))
        if (outcome := self._had.pop(nodeid, None)) is not None:
            return outcome
        outcome = self._keeper.run(nodeid)
        self._settle(nodeid, outcome)
        return outcome

    def open_doubts(self) -> list[tuple[Trouble, list[str]]]:
        """What nobody was found for when the run ended before all of its cases had run again, with those it concerns."""
        shared = [] if self._doubt is None else [(self._doubt, self._again)]
        return [*shared, *((doubt, [nodeid]) for nodeid, doubt in self._failed.items())]

    def _group(self, item: pytest.Item, coming: Iterable[pytest.Item]) -> list[str]:
        """The case and those after it that may share its child."""
        nodeids = [item.nodeid]
        for one in islice(coming, self._most - 1):
            if self._alone(one.nodeid):
                break
            nodeids.append(one.nodeid)
        while len(nodeids) > 1 and len(line(_request(nodeids))) > LINE_BYTES:
            nodeids = nodeids[: len(nodeids) * 3 // 4]
        return nodeids

    def _together(self, nodeids: list[str]) -> None:
        if len(nodeids) == 1:
            return
        tried = self._keeper.attempt(_request(nodeids))
        found, done = tried.found, tried.course.done
        if found.troubles or found.splats:
            splat = found.splats[0] if found.splats else None
            self._doubt = (
                found.troubles[0]
                if splat is None
                else Trouble(kind="splat", what=splat.title, detail=splat.text)
            )
            self._again = nodeids
            return
        each = [*(one["reports"] for one in done["each"]), done["reports"]]
        counted = done.get("gcov")
        for nodeid, reports in zip(nodeids, each, strict=True):
            if (wrong := _not_plain(reports)) is not None:
                what = "it did not pass beside others"
                self._failed[nodeid] = Trouble(kind="company", what=what, detail=str(wrong["longrepr"]))
                continue
            self._had[nodeid] = Outcome(ran=tried.ran, guest=tried.guest, reports=reports, gcov=counted)
            counted = None  # by all of them together: the first stands for them

    def _settle(self, nodeid: str, outcome: Outcome) -> None:
        """Its own doubt is told where it passes now; a shared one goes with the first case that is not plain alone, else with the last."""
        passed = all(report["outcome"] == "passed" for report in outcome.reports or [])
        plain = passed and not (outcome.troubles or outcome.late or outcome.uncertain)
        own = self._failed.pop(nodeid, None)
        if own is not None and plain:
            outcome.uncertain.append((own, [nodeid]))
        if nodeid not in self._again:
            return
        last = nodeid == self._again[-1]
        if self._doubt is not None and last and plain:
            outcome.uncertain.append((self._doubt, self._again))
        if last or not plain:
            self._doubt = None
        if last:
            self._again = []


def _not_plain(reports: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The report that is neither a pass nor says that the case was left out."""
    return next((one for one in reports if one["outcome"] not in ("passed", "skipped")), None)


def _request(nodeids: list[str]) -> Message:
    return {"nodeids": nodeids, "each": True}
