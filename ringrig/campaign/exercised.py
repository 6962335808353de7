"""Which of the lines that a patch changes a run executed, which it did not, and which are not in that kernel at all."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tree_sitter

from ringrig.campaign import gcda
from ringrig.campaign.coverage_counts import count, nothing
from ringrig.campaign.csource import Source, walk
from ringrig.campaign.lines_session import FOLDER, NOTES
from ringrig.kernel import fragments

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_MEASURED = "io_uring/"
"""The folder whose files can be measured."""
_PARTS = ("preproc_if", "preproc_ifdef", "preproc_else", "preproc_elif")
_STATEMENTS = (
    *(
        f"{kind}_statement"
        for kind in ("expression", "if", "return", "for", "while", "do", "switch", "case", "goto")
    ),
    "declaration",
)


@dataclass(slots=True, kw_only=True)
class Lines:
    """Changed lines by file, as the patched file numbers them. Lines without code of their own are in none of these.

    `uncompiled`: this configuration leaves them out. `unmeasured`: files that the counters do not reach.
    """

    ran: dict[str, list[int]] = field(default_factory=dict)
    idle: dict[str, list[int]] = field(default_factory=dict)
    uncompiled: dict[str, list[int]] = field(default_factory=dict)
    unmeasured: list[str] = field(default_factory=list)

    @property
    def word(self) -> str:
        """What they come to: exercised, not exercised, not measured, or no code."""
        if self.ran:
            return "exercised"
        if self.idle or self.uncompiled:
            return "not exercised"
        return "not measured" if self.unmeasured else "no code"


def of(folder: Path, changed: Mapping[str, Sequence[int]]) -> Lines:
    """Of the run in `folder`, which lines_session watched. BuildFailed, HostLacks: gcov's; ValueError: gcda's."""
    notes = folder / FOLDER / NOTES
    mine = {
        name.removeprefix(_MEASURED): lines for name, lines in changed.items() if name.startswith(_MEASURED)
    }
    others = [
        name for name in changed if not name.startswith(_MEASURED) and name.endswith((".c", ".h", ".S"))
    ]
    found = Lines(unmeasured=others)
    executed = _executed(folder, notes) if mine else Counter()
    measured = {note.stem for note in notes.glob("*.gcno")}
    for name, lines in sorted(mine.items()):
        text = (notes / name).read_text(encoding="latin-1") if (notes / name).is_file() else ""
        counts = {number: times for (file, number), times in executed.items() if file == name}
        if not counts and name.endswith(".c") and Path(name).stem not in measured:
            # make was told to measure it, so it made no object of it.
            _put(found.uncompiled, name, [number for number in lines if number in _code(text)])
            continue
        for number, kind in _kinds(text, lines, counts).items():
            _put({"ran": found.ran, "idle": found.idle, "uncompiled": found.uncompiled}[kind], name, [number])
    return found


def fragment(files: Sequence[str]) -> str:
    """What make must be told beside the fragment gcov, so that these files are measured; "" where that is nothing."""
    known = set(re.findall(r"GCOV_PROFILE_(\w+)\.o", (fragments.FOLDER / "gcov").read_text()))
    units = {Path(name).stem for name in files if name.startswith(_MEASURED) and name.endswith(".c")}
    more = "".join(f"# make GCOV_PROFILE_{unit}.o=y\n" for unit in sorted(units - known))
    return f"# Counters for the files of a series.\n{more}" if more else ""


def _put(into: dict[str, list[int]], name: str, numbers: Sequence[int]) -> None:
    if numbers:
        into.setdefault(name, []).extend(numbers)


def _executed(folder: Path, notes: Path) -> Counter[tuple[str, int]]:
    """How often each line that has code was executed, by all cases and guests."""
    files: dict[str, list[bytes]] = {}
    for told in sorted((folder / FOLDER).glob("totals-*.json")):
        for unit, packed in json.loads(told.read_text()).items():
            files.setdefault(unit, []).append(zlib.decompress(base64.b64decode(packed)))
    summed = {unit: base64.b64encode(zlib.compress(gcda.add(each))).decode() for unit, each in files.items()}
    total = nothing(notes)
    for one in count([summed], notes):
        total.add(one)
    return total.lines


def _kinds(text: str, lines: Sequence[int], counts: Mapping[int, int]) -> dict[int, str]:
    """ran, idle or uncompiled for each line that has code; one within a statement goes with where the statement begins."""
    root, code = Source(text).root, _code(text)
    out = {}
    for number in lines:
        if number not in code:
            continue
        own, region = _places(root, number - 1)
        at = next((line for line in (number, *own) if line in counts), None)
        if at is not None:
            out[number] = "ran" if counts[at] else "idle"
        elif region is not None and not any(line in counts for line in region):
            out[number] = "uncompiled"
    return out


def _places(root: tree_sitter.Node, row: int) -> tuple[list[int], range | None]:
    """Where the statements around a row begin, the innermost first; and the lines of the function, or of the innermost #if in it."""
    own: list[int] = []
    region: range | None = None
    for node in walk(root):
        if not node.start_point[0] <= row <= node.end_point[0]:
            continue
        lines = range(node.start_point[0] + 1, node.end_point[0] + 2)
        if node.type == "function_definition" or (region is not None and node.type in _PARTS):
            own, region = [], lines
        elif node.type in _STATEMENTS:
            own.insert(0, lines.start)
    return own, region


def _code(text: str) -> set[int]:
    """The lines with something that could be code: neither comment, nor blank, nor brackets alone, nor for the preprocessor."""
    bare = _COMMENT.sub(lambda found: "\n" * found[0].count("\n"), text)
    rows = enumerate(bare.split("\n"), start=1)
    return {number for number, row in rows if re.search(r"\w", row) and not row.lstrip().startswith("#")}
