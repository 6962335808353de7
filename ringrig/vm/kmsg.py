"""Kernel log lines: what stands before the message, and the records that /dev/kmsg hands out.

Formats: info_print_prefix() and devkmsg_read() in kernel/printk/printk.c, Documentation/ABI/testing/dev-kmsg.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

_STAMP = r"\[ {0,12}(\d{1,12}\.\d{6})\]"
_PREFIX = re.compile(rf"(?:<(\d{{1,4}})>)?(?:{_STAMP}(?:\[ *([TC]\d+)\])?|\[ *([TC]\d+)\])? ?")
# A program that left its line unfinished on the same console: the kernel's stamp then stands in mid-line.
_GLUED = re.compile(rf"{_STAMP}(?:\[ *([TC]\d+)\])? ")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


class LogLine(NamedTuple):
    """One line of a kernel log: `at` counts from 0, `stamp` in seconds, `body` what printk was given."""

    at: int
    raw: str
    stamp: float | None
    caller: str | None
    body: str


def log_lines(text: str) -> list[LogLine]:
    """The lines of `text` that the kernel wrote, as far as that can be told.

    Dropped are lines whose `<N>` prefix names another facility than the kernel's, and, in a log whose kernel
    lines bear stamps, those with neither stamp nor `<N>`: they come from programs that write to the console.
    """
    found = []
    bare = []
    stamped = False
    for index, line in enumerate(text.split("\n")):
        raw = line.rstrip("\r")
        match = _PREFIX.match(raw)
        assert match is not None
        priority, stamp, caller, lone_caller = match.groups()
        end = match.end()
        if priority is not None and int(priority) >> 3:
            continue
        if stamp is None and (glued := _GLUED.search(raw)):
            stamp, caller = glued.groups()
            end = glued.end()
        stamped = stamped or stamp is not None
        seconds = None if stamp is None else float(stamp)
        found.append(LogLine(index, raw, seconds, caller or lone_caller, raw[end:]))
        bare.append(stamp is None and priority is None)
    if stamped:
        return [line for line, is_bare in zip(found, bare, strict=True) if not is_bare]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class KmsgRecord:
    """One record of /dev/kmsg; `usec` counts from boot, `facility` 0 is the kernel, `level` 0 is EMERG."""

    seq: int
    usec: int
    facility: int
    level: int
    caller: str | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelText:
    """The kernel's own records as console lines, and the sequence number that each line came from."""

    text: str
    seqs: tuple[int, ...]


def parse_kmsg(raw: str) -> list[KmsgRecord]:
    """Records from any number of reads of /dev/kmsg, joined: `prio,seq,usec,flags[,caller=…];text`.

    Dictionary lines (` KEY=value`) are dropped, `\\xNN` escapes undone, records flagged `c` (a pr_cont() that
    the ring buffer could not append any more) joined to the record of the same caller that they continue.
    A record cut short before its text is dropped.
    """
    records: list[KmsgRecord] = []
    latest: dict[tuple[int, str | None], int] = {}
    for line in raw.split("\n"):
        head, semicolon, text = line.partition(";")
        fields = head.split(",")
        numbers = fields[:3]
        if not semicolon or len(fields) < 4 or not all(number.isdecimal() for number in numbers):
            continue
        priority, seq, usec = map(int, numbers)
        caller = next((f.removeprefix("caller=") for f in fields[4:] if f.startswith("caller=")), None)
        text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
        key = (priority >> 3, caller)
        if "c" in fields[3] and key in latest:
            at = latest[key]
            records[at] = replace(records[at], text=records[at].text + text)
            continue
        latest[key] = len(records)
        facility, level = key[0], priority & 7
        records.append(
            KmsgRecord(seq=seq, usec=usec, facility=facility, level=level, caller=caller, text=text)
        )
    return records


def kernel_text(records: Iterable[KmsgRecord]) -> KernelText:
    """The records of facility 0 as the console would show them, for find_splats()."""
    lines: list[str] = []
    seqs: list[int] = []
    for record in records:
        if record.facility:
            continue
        caller = f"[{record.caller:>6}]" if record.caller else ""
        prefix = f"[{record.usec // 1_000_000:5d}.{record.usec % 1_000_000:06d}]{caller} "
        for part in record.text.split("\n"):
            lines.append(prefix + part)
            seqs.append(record.seq)
    return KernelText(text="\n".join(lines), seqs=tuple(seqs))
