"""Whose splat is it? Pure: evidence in, a verdict or suspects out (design, law 5).

The kernel names the task in whose context it complained: a case's child is called `case-N`, its io-wq
workers `iou-wrk-PID`. That decides, unless the complaint came from an interrupt, which runs in whatever
task it meets. Otherwise every case that ran or ended shortly before is a suspect, and is run again, alone
in time, in a fresh guest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ringrig.guest.wire import Message

WINDOW = 2.0
"""Seconds of guest time after its end in which a case may still be the cause of a splat."""
MOST_SUSPECTS = 96
"""More than share a child (ringrig.plugin.company)."""
_STAMP = re.compile(r"^(?:<\d+>)?\[ *(\d+\.\d{6})\]", re.MULTILINE)
_TASK = re.compile(r"(?:iou-wrk|iou-sqp)-(\d+)")


class Splat(Protocol):
    @property
    def comm(self) -> str | None: ...
    @property
    def pid(self) -> int | None: ...
    @property
    def text(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A case that ran in a guest: its number there, its child's pid, and when (guest's monotonic clock, s)."""

    nodeid: str
    number: int
    pid: int
    began: float
    ended: float | None
    """None: it was running when the guest was lost."""


def one_by_one(ran: Ran, nodeids: Sequence[str], done: Message) -> list[Ran]:
    """The cases that shared a child, each with its own time in it, as far as they told when they began."""
    began = [told["since"] for told in done.get("each", [])]
    if not began:
        return [ran]
    began.append(done.get("since", began[-1]))
    ended = [*began[1:], ran.ended]
    return [
        replace(ran, nodeid=nodeid, began=start, ended=end)
        for nodeid, start, end in zip(nodeids, began, ended, strict=False)
    ]


def stamp(text: str) -> float | None:
    """The first printk time stamp in a piece of log (CLOCK_MONOTONIC without suspend, near enough)."""
    found = _STAMP.search(text)
    return float(found[1]) if found else None


def culprit(splat: Splat, cases: Iterable[Ran]) -> Ran | None:
    """The case whose task the kernel named, when the complaint did not come from an interrupt."""
    if "<IRQ>" in splat.text or "<SOFTIRQ>" in splat.text:
        return None
    worker = _TASK.fullmatch(splat.comm or "")
    named = [
        case
        for case in cases
        if splat.comm == f"case-{case.number}"
        or (splat.pid is not None and splat.pid == case.pid)
        or (worker and int(worker[1]) == case.pid)
    ]
    return named[0] if len({case.nodeid for case in named}) == 1 else None  # cases can share a child


def suspects(splat: Splat, cases: Sequence[Ran]) -> list[Ran]:
    """Cases that ran at the splat or ended within WINDOW before it, oldest first; all recent ones when it
    bears no time.
    """
    at = stamp(splat.text)
    if at is None:
        return list(cases[-MOST_SUSPECTS:])
    # A few milliseconds: a record's stamp and the agent's clock are read at different moments.
    near = [c for c in cases if c.began <= at + 0.01 and (c.ended is None or c.ended >= at - WINDOW)]
    return near[-MOST_SUSPECTS:]


def wait_for(splat: Splat, case: Ran) -> float:
    """How long (s) to watch after running `case` again: as long as the splat took after it, and a margin."""
    at = stamp(splat.text)
    if at is None or case.ended is None:
        return WINDOW
    return max(0.0, at - case.ended) + 0.3


def same(one: object, other: object) -> bool:
    """The same complaint on another run: equal fingerprints, or, for what has no stable trace, equal kinds."""
    pair = [getattr(s, "fingerprint", None) for s in (one, other)]
    if pair[0] == pair[1]:
        return True
    return getattr(one, "kind", 1) == getattr(other, "kind", 2) and not getattr(one, "frames", ())
