"""Cases that share a child where a child is dear: in User-Mode Linux a fork costs more than most cases take.

Whatever is not plain (a failure, a splat, a process that died) counts for nothing: the cases concerned run again, each in a
child of its own, and that is their verdict. What then does not come again is told as uncertain, never swallowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import pytest

from ringrig.plugin.judge import Trouble
from ringrig.plugin.keeper import Keeper, Outcome
from ringrig.vm.plan import Plan

_MOST = 24
"""Cases of one child."""
_BYTES = 3000
"""Their names together: a User-Mode Linux takes no more than 4 KiB of its serial line at once."""
_COUNTERS = frozenset({"pin_counters", "slabinfo", "vmallocinfo", "memcg", "kmemleak"})
"""Capabilities of the whole kernel."""


def wanted(plan: Plan, *, fresh: bool, keep: bool) -> bool:
    """Whether cases share children: not where each is to be seen by itself."""
    apart = (plan.gcov and not plan.totals) or fresh or keep
    return plan.kind == "image" and plan.guest == "uml" and not apart


class Company:
    """Hands out the verdicts of cases one by one, having run several at a time."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._had: dict[str, Outcome] = {}
        self._again: list[str] = []
        """Cases that run alone because of `_doubt`, until the last of them has."""
        self._doubt: Trouble | None = None

    def run(self, item: pytest.Item, coming: Iterable[pytest.Item]) -> Outcome:
        """The verdict on a case; `coming`: what this process will be asked for after it.

        RigError: there is no guest to run it on, nor will there be.
        """
        if (outcome := self._had.pop(item.nodeid, None)) is not None:
            return outcome
        if not self._again and not alone(item):
            self._together(_group(item, coming))
            if (outcome := self._had.pop(item.nodeid, None)) is not None:
                return outcome
        outcome = self._keeper.run(item.nodeid)
        self._settle(item.nodeid, outcome)
        return outcome

    def open_doubt(self) -> tuple[Trouble, list[str]] | None:
        """What nobody was found for when the run ended before all of its cases had run again."""
        return None if self._doubt is None else (self._doubt, self._again)

    def _together(self, nodeids: list[str]) -> None:
        if len(nodeids) == 1:
            return
        tried = self._keeper.attempt({"nodeids": nodeids, "each": True})
        found, done = tried.found, tried.course.done
        each = [one["reports"] for one in done.get("each", [])]
        if found.troubles or found.splats:
            splat = found.splats[0] if found.splats else None
            self._doubt = (
                found.troubles[0]
                if splat is None
                else Trouble(kind="splat", what=splat.title, detail=splat.text)
            )
            self._again = nodeids
            return
        last = done["reports"]
        ended = nodeids[len(each)]
        if any(report["outcome"] == "failed" for report in last) or len(each) + 1 < len(nodeids):
            # It failed, or was left out halfway: alone it may say something else.
            words = next((str(report["longrepr"]) for report in last if report["outcome"] != "passed"), "")
            self._doubt = Trouble(kind="company", what="it did not pass beside others", detail=words)
            self._again = [ended]
        else:
            each.append(last)
        counted = done.get("gcov")
        for nodeid, reports in zip(nodeids, each, strict=False):
            self._had[nodeid] = Outcome(ran=tried.ran, guest=tried.guest, reports=reports, gcov=counted)
            counted = None  # by all of them together: the first stands for them

    def _settle(self, nodeid: str, outcome: Outcome) -> None:
        """A doubt goes with the first case that is not plain alone; else it is told once all of them have run."""
        if nodeid not in self._again or self._doubt is None:
            return
        plain = not outcome.troubles and all(
            report["outcome"] == "passed" for report in outcome.reports or []
        )
        if not plain or outcome.late or outcome.uncertain:
            self._doubt = None
        elif nodeid == self._again[-1]:
            outcome.uncertain.append((self._doubt, self._again))
            self._doubt = None
        if nodeid == self._again[-1]:
            self._again = []


def alone(item: pytest.Item) -> bool:
    """Whether the case wants a child to itself: one that counts what the whole kernel has, where others' rings still end."""
    return any(_COUNTERS.intersection(mark.args) for mark in item.iter_markers("needs"))


def _group(item: pytest.Item, coming: Iterable[pytest.Item]) -> list[str]:
    """The case and those after it that may share its child."""
    nodeids, room = [item.nodeid], _BYTES - len(item.nodeid)
    for one in islice(coming, _MOST - 1):
        room -= len(one.nodeid)
        if alone(one) or room < 0:
            break
        nodeids.append(one.nodeid)
    return nodeids
