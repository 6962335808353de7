"""Many mutants → one source: every mutated place asks at run time whether its mutant is on (mutants/kernel/mutants.h).

Line numbers stay those of the unchanged file, so that splats and compilers name lines that a person can look up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ringrig.campaign.csource import Source
from ringrig.campaign.mutants import Edit, Mutant
from ringrig.errors import BadCatalogue

_INCLUDE = '#include "mutants.h" '
_TAB = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Where a mutant's edit lies in its unchanged file: text[start:end]."""

    number: int
    start: int
    end: int
    edit: Edit


@dataclass(slots=True, kw_only=True)
class Placed:
    """What became of a catalogue: mutants by number (from 1), their spots by file, and those that found no place."""

    mutants: dict[int, Mutant] = field(default_factory=dict)
    spots: dict[str, list[Spot]] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)
    """Ids, and what is gone: the source is another one than the mutant was written for."""
    clashing: dict[str, str] = field(default_factory=dict)
    """Ids of generated mutants that half overlap others, which have no place beside them."""


def place(mutants: Sequence[Mutant], sources: Mapping[str, Source]) -> Placed:
    """Finds every mutant's places. Raises BadCatalogue: a text that is there twice, places that half overlap."""
    placed = Placed()
    for number, mutant in enumerate(mutants, start=1):
        spots = []
        for edit in mutant.edits:
            found = _find(mutant, edit, sources.get(edit.file))
            if isinstance(found, str):
                placed.stale[mutant.id] = found
                break
            spots.append((edit.file, Spot(number=number, start=found[0], end=found[1], edit=edit)))
        else:
            placed.mutants[number] = mutant
            for file, spot in spots:
                placed.spots.setdefault(file, []).append(spot)
    for file, those in placed.spots.items():
        those.sort(key=lambda spot: (spot.start, -spot.end))
        _settle_overlaps(placed, file, those)
    gone = {number for number, one in placed.mutants.items() if one.id in placed.clashing}
    return without(placed, gone) if gone else placed


def _find(mutant: Mutant, edit: Edit, source: Source | None) -> tuple[int, int] | str:
    """Start and end of the edit's text, or what is missing."""
    if source is None:
        return f"there is no io_uring/{edit.file}"
    if edit.at is not None:
        return edit.at, edit.at + len(edit.original)
    spans = [(node.start_byte, node.end_byte) for node in source.functions.get(edit.function, [])]
    if not spans:
        return f"io_uring/{edit.file} has no function {edit.function}"
    if edit.within:
        spans = [hit for span in spans for hit in _hits(source.text, edit.within, *span)]
        if not spans:
            return f"the text of `within` is not in {edit.function}: {edit.within.strip()!r}"
        _once(mutant, edit, what="the text of `within`", text=edit.within, found=spans, source=source)
    found = [hit for span in spans for hit in _hits(source.text, edit.original, *span)]
    if not found:
        return f"the text is not in {edit.function}: {edit.original.strip()!r}"
    _once(mutant, edit, what="the text", text=edit.original, found=found, source=source)
    return found[0]


def _hits(text: str, wanted: str, start: int, end: int) -> list[tuple[int, int]]:
    """Where `wanted` stands as whole words, any run of white space matching any other."""
    words = [re.escape(word) for word in wanted.split()]
    before = r"(?<!\w)" if re.match(r"\w", wanted.strip()) else ""
    after = r"(?!\w)" if re.search(r"\w$", wanted.strip()) else ""
    pattern = re.compile(before + r"\s+".join(words) + after)
    return [found.span() for found in pattern.finditer(text, start, end)]


def _once(
    mutant: Mutant, edit: Edit, *, what: str, text: str, found: Sequence[tuple[int, int]], source: Source
) -> None:
    if len(found) > 1:
        lines = ", ".join(str(source.line(start)) for start, _ in found)
        raise BadCatalogue(
            f"Mutant {mutant.id}: {what} is {len(found)} times in {edit.function}() of io_uring/{edit.file} "
            f"(lines {lines}): {text.strip()!r}.",
            next_step="say which with `within`: a text around it that is there once",
        )


def _settle_overlaps(placed: Placed, file: str, spots: Sequence[Spot]) -> None:
    """Of two that half overlap, a generated one gives way."""
    around: list[Spot] = []
    for spot in spots:
        while around and around[-1].end <= spot.start:
            around.pop()
        while around and around[-1].end < spot.end:
            one, other = placed.mutants[around[-1].number], placed.mutants[spot.number]
            if other.origin == "generated":
                placed.clashing[other.id] = f"half overlaps {one.id}"
                break
            if one.origin != "generated":
                raise BadCatalogue(
                    f"Mutants {one.id} and {other.id} half overlap in io_uring/{file}.",
                    next_step="let the one's text hold the other's, or keep them apart",
                )
            placed.clashing[one.id] = f"half overlaps {other.id}"
            around.pop()
        else:
            around.append(spot)


@dataclass(frozen=True, slots=True)
class Woven:
    """A file's new text, and where in it each mutant's own text lies: (number, line, columns), as compilers count."""

    text: str
    where: tuple[tuple[int, int, range], ...]

    def blamed(self, line: int, column: int) -> set[int]:
        """The mutants that a complaint about this line and column means: those whose text is there, or on the line."""
        here = [(number, columns) for number, at, columns in self.where if at == line]
        return {number for number, columns in here if column in columns} or {number for number, _ in here}


def weave(text: str, spots: Iterable[Spot]) -> Woven:
    """The file with all spots in it; they nest or keep apart, and come in the order of place()."""
    out = _Weaver(text)
    out.region(0, len(text), list(spots))
    body = "".join(out.parts)
    if body.startswith(("//", "/*")):  # the licence, behind which nothing moves
        return Woven(_INCLUDE + body, tuple(out.lines(body)))
    # gcc counts columns by the tabs of the line that has this number on the disk, which now is another.
    lines = ((number, line, range(len(body))) for number, line, _ in out.lines(body))
    return Woven(f"{_INCLUDE}\n#line 1\n{body}", tuple(lines))


class _Weaver:
    def __init__(self, text: str) -> None:
        self._text = text
        self.parts: list[str] = []
        self._length = 0
        self._marks: list[tuple[int, int, int]] = []

    def region(self, start: int, end: int, spots: Sequence[Spot]) -> None:
        """Emit text[start:end] with the spots that lie in it."""
        at, rest = start, list(spots)
        while rest:
            first = rest[0]
            same = [one for one in rest if (one.start, one.end) == (first.start, first.end)]
            inside = [one for one in rest[len(same) :] if one.start < first.end]
            self._emit(self._text[at : first.start])
            self._spot(same, inside)
            at, rest = first.end, rest[len(same) + len(inside) :]
        self._emit(self._text[at:end])

    def _spot(self, same: Sequence[Spot], inside: Sequence[Spot]) -> None:
        first = same[0]
        statement = first.edit.kind == "stmt"
        self._emit("{ " if statement else "(")
        for spot in same:
            self._emit(
                f"if (ringrig_at({spot.number})) {{ " if statement else f"ringrig_at({spot.number}) ? ("
            )
            began = self._length
            self._emit(" ".join(spot.edit.mutated.split()))
            self._marks.append((spot.number, began, self._length))
            self._emit(" } else " if statement else ") : ")
        self._emit("{ " if statement else "(")
        self.region(first.start, first.end, inside)
        self._emit(" } }" if statement else "))")

    def _emit(self, text: str) -> None:
        self.parts.append(text)
        self._length += len(text)

    def lines(self, body: str) -> Iterable[tuple[int, int, range]]:
        """The marks as lines and columns: from 1, a tab ends at a multiple of eight."""
        for number, start, end in self._marks:
            line_start = body.rfind("\n", 0, start) + 1
            columns = [len(body[line_start:at].expandtabs(_TAB)) + 1 for at in (start, end)]
            yield number, body.count("\n", 0, start) + 1, range(columns[0], columns[1] + 1)


def without(placed: Placed, numbers: Iterable[int]) -> Placed:
    """The same without some mutants; the others keep their numbers."""
    gone = set(numbers)
    return replace(
        placed,
        mutants={number: one for number, one in placed.mutants.items() if number not in gone},
        spots={
            file: [spot for spot in those if spot.number not in gone] for file, those in placed.spots.items()
        },
    )
