"""Counters as the kernel gives them (.gcda) → how often each line and branch of io_uring/ was executed, by gcov itself."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ringrig.errors import BuildFailed, HostLacks
from ringrig.kernel.make import SOURCE

Place: TypeAlias = tuple[str, int]
"""File below io_uring/ and line."""
Branch: TypeAlias = tuple[str, int, str, int]
"""File, line, object file, and which of the line's branches there.

What is inlined from a header has branches in each object, which the compiler may have turned round: those of different objects
are different branches.
"""
_FOLDER = f"{SOURCE}io_uring/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Executions. A line or branch that has code is there, with 0 if it was never executed."""

    lines: Counter[Place] = field(default_factory=Counter)
    branches: Counter[Branch] = field(default_factory=Counter)

    def add(self, other: Counts) -> None:
        for place, count in other.lines.items():
            self.lines[place] += count
        for branch, count in other.branches.items():
            self.branches[branch] += count


def count(gcov: Iterable[Mapping[str, str]], notes: Path) -> list[Counts]:
    """The counts of each case, from what the agent read (ringrig.guest.gcov) and the folder with the build's .gcno.

    HostLacks: there is no gcov. BuildFailed: it makes nothing of them.
    """
    cases = list(gcov)
    wanted = sorted({item for case in cases for item in case.items()})
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = dict(zip(wanted, pool.map(lambda item: _one(item[0], item[1], notes), wanted), strict=True))
    out = []
    for case in cases:
        total = Counts()
        for item in case.items():
            total.add(found[item])
        out.append(total)
    return out


def nothing(notes: Path) -> Counts:
    """All lines and branches that have code, none of them executed."""
    total = Counts()
    for file in sorted(notes.glob("*.gcno")):
        with tempfile.TemporaryDirectory() as scratch:
            total.add(_gcov(file, Path(scratch)))
    return total


def _one(unit: str, packed: str, notes: Path) -> Counts:
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / f"{unit}.gcda").write_bytes(zlib.decompress(base64.b64decode(packed)))
        return _gcov(notes / f"{unit}.gcno", Path(scratch))


def _gcov(note: Path, folder: Path) -> Counts:
    shutil.copy(note, folder)
    argv = ["gcov", "--json-format", "--stdout", "--branch-probabilities", note.name]
    try:
        done = subprocess.run(argv, cwd=folder, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise HostLacks(
            "Coverage is read with gcov.", next_step="apt-get install gcc, which it is part of"
        ) from error
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode or "mismatch" in said or not done.stdout.startswith(b"{"):
        raise BuildFailed(
            f"gcov makes nothing of {note.stem}'s counters: {said or 'not a word'}",
            next_step="rig cache clear builds, then run again: the kernel's notes are of another build",
        )
    return _read(json.loads(done.stdout), note.stem)


def _read(data: dict[str, Any], unit: str) -> Counts:
    out = Counts()
    for file in data["files"]:
        name = file["file"].removeprefix(_FOLDER)
        if name == file["file"]:
            continue
        seen: Counter[int] = Counter()
        for line in file["lines"]:
            # A function that was cloned has its lines several times.
            number, before = line["line_number"], seen[line["line_number"]]
            out.lines[name, number] += line["count"]
            for index, branch in enumerate(line["branches"], start=before):
                out.branches[name, number, unit, index] += branch["count"]
            seen[number] += len(line["branches"])
    return out
