"""Splats: the kernel's complaints, found in the text of a console or of its log. Pure; linear in the text.

One event is one Splat, however many lines, traces and follow-up headlines it takes. Lines of different
callers (`[  T123]`, `[    C0]`; CONFIG_PRINTK_CALLER) are kept apart; without callers two CPUs that print at
once are read as they come.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from ringrig.vm import splat_kinds as kinds
from ringrig.vm.kmsg import LogLine, log_lines
from ringrig.vm.splat_facts import frames_of, normalise, task_of
from ringrig.vm.taint import decode_taint

__all__ = ["Splat", "a_task_died", "decode_taint", "find_splats"]

# A silence longer than this (seconds by the stamps) ends a report; an NMI backtrace may wait ten for a CPU.
_SILENCE = 12.0
# What a kernel still says after it has panicked belongs to the panic, within reason.
_LAST_WORDS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Splat:
    """One complaint of the kernel.

    `kind` is one of splat_kinds.KINDS. `title` is the headline without stamps. `frames` are the first five
    functions that mean something, innermost first. `fingerprint` is 12 hex digits over kind, title and frames
    without addresses, numbers and task names: the same bug gives the same one on the next run and, mostly, on
    the next kernel. `text` is the report as it stood in the log; `line` is the index (from 0, lines split at
    LF) where it begins. `fatal`: the kernel said that it does not go on.
    """

    kind: str
    title: str
    frames: tuple[str, ...]
    fingerprint: str
    comm: str | None
    pid: int | None
    cpu: int | None
    text: str
    line: int
    fatal: bool


def a_task_died(text: str) -> bool:
    """Whether the kernel ended a task because of a fault of its own (an oops or a BUG(); die())."""
    if "[#" not in text:  # asked twice a second, of all that a case has printed
        return False
    heads = (kinds.headline(line.body) for line in log_lines(text) if "[#" in line.body)
    return any(head is not None and head.die is not None for head in heads)


@dataclass(slots=True, kw_only=True)
class _Report:
    """A report that is being read; `lines[:kept]` is known to belong to it."""

    kind: str
    title: str
    lines: list[LogLine]
    kept: int
    die: int | None = None
    trapped: bool = False
    traced: bool = False
    ended: bool = False
    fatal: bool = False

    def add(self, line: LogLine, *, belongs: bool) -> None:
        self.lines.append(line)
        if belongs:
            self.kept = len(self.lines)

    def silent_before(self, line: LogLine) -> bool:
        last = self.lines[self.kept - 1].stamp
        return last is not None and line.stamp is not None and line.stamp - last > _SILENCE

    def finish(self) -> Splat:
        lines = self.lines[: self.kept]
        bodies = [line.body for line in lines]
        task = task_of(self.title, bodies)
        frames = frames_of(self.kind, bodies)
        identity = "\n".join((self.kind, normalise(self.title, task), *frames))
        return Splat(
            kind=self.kind,
            title=self.title,
            frames=frames,
            fingerprint=hashlib.sha256(identity.encode(errors="replace")).hexdigest()[:12],
            comm=task.comm,
            pid=task.pid,
            cpu=task.cpu,
            text="\n".join(line.raw for line in lines),
            line=lines[0].at,
            fatal=self.fatal,
        )


@dataclass(slots=True)
class _Stream:
    """What one caller is in the middle of saying."""

    report: _Report | None = None
    last: _Report | None = None
    before: LogLine | None = None


@dataclass(slots=True)
class _Reader:
    reports: list[_Report] = field(default_factory=list)
    streams: dict[str | None, _Stream] = field(default_factory=dict)
    dead: _Report | None = None

    def feed(self, line: LogLine) -> None:
        if self.dead is not None:
            if not kinds.BOOT.match(line.body):
                if len(self.dead.lines) < _LAST_WORDS:
                    self.dead.add(line, belongs=True)
                return
            self.dead = None
            self.streams.clear()
        stream = self.streams.setdefault(line.caller, _Stream())
        head = kinds.headline(line.body)
        if stream.report is not None and stream.report.silent_before(line):
            stream.report = None
        if head is not None:
            self._headline(stream, line, head)
        elif kinds.CUT_HERE.match(line.body):
            self._cut_here(stream, line)
        elif stream.report is not None:
            self._go_on(stream, stream.report, line)
        stream.before = line

    def _headline(self, stream: _Stream, line: LogLine, head: kinds.Headline) -> None:
        report, last = stream.report, stream.last
        if head.kind == "panic":
            self._panic(stream, line)
        elif last is not None and last.kind == head.kind == "kmemleak" and "suspected" in line.body:
            last.add(line, belongs=True)
        elif report is not None and not report.ended and _goes_on(report, head):
            if report.kind == "cut-short" and not head.vague:
                report.kind, report.title = head.kind, line.body.strip()
            report.die = report.die if head.die is None else head.die
            report.trapped = report.trapped or head.trap
            report.add(line, belongs=True)
        else:
            self._begin(stream, line, head)

    def _begin(self, stream: _Stream, line: LogLine, head: kinds.Headline) -> _Report:
        lines = [line]
        if stream.before is not None and kinds.PRELUDE.match(stream.before.body):
            lines.insert(0, stream.before)
        title = line.body.strip()
        report = _Report(
            kind=head.kind, title=title, lines=lines, kept=len(lines), die=head.die, trapped=head.trap
        )
        stream.report = stream.last = report
        self.reports.append(report)
        return report

    def _panic(self, stream: _Stream, line: LogLine) -> None:
        report = stream.last
        if report is not None and _concludes(report, line):
            report.add(line, belongs=True)
        else:
            report = self._begin(stream, line, kinds.Headline(kind="panic"))
        report.fatal = True
        self.dead = report

    def _cut_here(self, stream: _Stream, line: LogLine) -> None:
        report = stream.report
        if report is not None and report.kind != "cut-short" and _awaits_trap(report):
            report.add(line, belongs=True)
        else:
            self._begin(stream, line, kinds.Headline(kind="cut-short"))

    def _go_on(self, stream: _Stream, report: _Report, line: LogLine) -> None:
        shape = kinds.shape(report.kind)
        if report.ended:
            if shape.tail is not None and shape.tail.match(line.body):
                report.add(line, belongs=True)
            elif line.body.strip():
                stream.report = None
            return
        if shape.end is not None and shape.end.match(line.body):
            report.add(line, belongs=True)
            report.ended = True
            return
        if report.traced and shape.end is None and kinds.RULER.match(line.body):
            stream.report = None
            return
        belongs = kinds.BODY.match(line.body) is not None
        report.traced = report.traced or kinds.TRACE.match(line.body) is not None
        report.add(line, belongs=belongs and bool(line.body.strip()))
        bearable = shape.after_trace if report.traced and shape.end is None else shape.patience
        if not belongs and len(report.lines) - report.kept > bearable:
            stream.report = None


def _awaits_trap(report: _Report) -> bool:
    return report.kind in kinds.AWAITS_TRAP and not (report.ended or report.trapped or report.traced)


def _goes_on(report: _Report, head: kinds.Headline) -> bool:
    """True when this headline only confirms the report that is open, rather than beginning another."""
    if head.die is not None:
        return report.die is None and report.kind in kinds.AWAITS_DIE
    return report.kind == "cut-short" or (head.trap and _awaits_trap(report))


def _concludes(report: _Report, line: LogLine) -> bool:
    """True when this panic is the end of that report, rather than an event of its own."""
    if report.silent_before(line):
        return False
    for reason, after in kinds.PANIC_CONCLUDES:
        if reason.match(line.body):
            return after is None or report.kind in after
    return False


def find_splats(text: str) -> list[Splat]:
    """Every splat in a console's or a log's text, in the order of their first lines; never raises.

    Takes what a serial console, `dmesg`, `dmesg -r` or kmsg.kernel_text() gives: stamps, callers and `<N>`
    prefixes or none, CR LF, a text that ends anywhere. Lines that programs wrote are left out where that can
    be told (kmsg.log_lines()); what a program wrote to /dev/kmsg cannot be told on a console: for certainty
    read that device.
    """
    reader = _Reader()
    for line in log_lines(text):
        reader.feed(line)
    return sorted((report.finish() for report in reader.reports), key=lambda splat: splat.line)
