"""What one case's course says against the kernel, beyond the case's own assertions.

Pure: messages in, troubles out.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field

from ringrig.guest.wire import Message
from ringrig.vm.kmsg import kernel_text, parse_kmsg
from ringrig.vm.splats import Splat, find_splats
from ringrig.vm.taint import decode_taint

# Machine check, bad page, oops, warning, soft lockup (kernel/panic.c, taint_flags): the kernel complained.
# A module that is foreign or unsigned taints too, and is no complaint.
COMPLAINTS = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 9 | 1 << 14
_CONSOLE_LINES = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a case fails beyond its own assertions: `what` in one line, `detail` as the evidence."""

    kind: str
    """splat, panic, timeout, hang, died, taint, pins, lost or company."""
    what: str
    detail: str = ""
    fingerprint: str | None = None


@dataclass(slots=True, kw_only=True)
class Course:
    """How one case went: `end` is done (the agent's message), dead (the guest is gone) or silent (it
    answers no more).
    """

    end: str
    done: Message = field(default_factory=dict)
    console: str = ""
    """What the console said meanwhile, for an end that is not `done`."""
    complaints: str = ""
    """What the agent wrote on its standard error."""
    doomed: bool = False
    """A task had died in the kernel: it was not waited for to its deadline."""


@dataclass(slots=True, kw_only=True)
class Judgement:
    """`splats` are not attributed yet; `spoilt`: the guest is not to be used again."""

    troubles: list[Trouble] = field(default_factory=list)
    splats: list[Splat] = field(default_factory=list)
    spoilt: bool = False


def judge(course: Course, *, taint: int, seconds: float, shared: bool, boxed: bool) -> Judgement:
    """`taint` before the case; `seconds` its deadline; `boxed`: a guest of ours, not a board or the host."""
    if course.end != "done":
        return _lost(course, boxed=boxed)
    done, out = course.done, Judgement(splats=logged(course.done.get("log", [])))
    if "lost" in done:
        out.troubles.append(
            Trouble(kind="lost", what="the case is not to be found in the guest", detail=done["lost"])
        )
        return out
    if done["stacks"]:
        what = f"no end after {seconds:.0f} s (--case-timeout, scaled): killed"
        if course.doomed:
            what = f"no end after {done['ended'] - done['began']:.0f} s, with a task that died in the kernel: killed"
        out.troubles.append(Trouble(kind="timeout", what=what, detail=done["stacks"]))
    elif "reports" in done and done["reports"] is None:
        out.troubles.append(
            Trouble(kind="died", what=f"the case's process ended early: {ending(done['status'])}")
        )
    if not done["reaped"]:
        what = "the case's process cannot be killed: it is stuck in the kernel"
        out.troubles.append(Trouble(kind="hang", what=what, detail=done["stuck"]))
    # On a shared kernel somebody else's pages are counted too.
    if done["pins_left"] and not shared:
        what = f"{done['pins_left']} pages stay pinned after the case's process has gone (/proc/vmstat nr_foll_pin_*)"
        out.troubles.append(Trouble(kind="pins", what=what))
    new = (done["taint"] or 0) & ~taint & COMPLAINTS
    if new and not out.splats:
        what = f"the kernel became tainted ({', '.join(decode_taint(new))}), and its log says nothing"
        out.troubles.append(Trouble(kind="taint", what=what))
    broken = bool(out.splats or new or done["pins_left"]) or not done["reaped"]
    out.spoilt = broken and not shared
    return out


def _lost(course: Course, *, boxed: bool) -> Judgement:
    tail = "\n".join(course.console.splitlines()[-_CONSOLE_LINES:]) or "(nothing on the console)"
    if course.end == "silent":
        # A guest that hangs hangs in the case that runs; what its dump shows is the evidence, not another
        # event.
        what = "the guest stopped answering: it is locked up; its console was asked for stacks"
        return Judgement(troubles=[Trouble(kind="hang", what=what, detail=tail)], spoilt=True)
    out = Judgement(splats=find_splats(course.console), spoilt=True)
    if not any(splat.fatal for splat in out.splats):
        what = "the guest ended without a word of its kernel" if boxed else "the agent is gone"
        out.troubles.append(
            Trouble(kind="died", what=what, detail=f"{tail}\n{course.complaints[-1000:]}".strip())
        )
    return out


def of_splat(splat: Splat) -> Trouble:
    kind = "panic" if splat.fatal else "splat"
    what = splat.title if splat.kind.lower() in splat.title.lower() else f"{splat.kind}: {splat.title}"
    return Trouble(kind=kind, what=f"kernel {kind}: {what}", detail=splat.text, fingerprint=splat.fingerprint)


def logged(records: Sequence[str]) -> list[Splat]:
    """The splats among /dev/kmsg records."""
    return find_splats(kernel_text(parse_kmsg("\n".join([*records, ""]))).text) if records else []


def ending(status: int) -> str:
    """A wait status in words."""
    if status & 0x7F:
        try:
            return f"killed by {signal.Signals(status & 0x7F).name}"
        except ValueError:
            return f"killed by signal {status & 0x7F}"
    return f"exit status {status >> 8}"
