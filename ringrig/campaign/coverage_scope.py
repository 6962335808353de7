"""What of io_uring serves provided buffers, and which of its lines and branches cannot be reached: data in coverage/X.Y.toml.

Lines are named by function and text, for numbers change with every update; docs/coverage.md has the format.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringrig.campaign.coverage_counts import Place
from ringrig.campaign.csource import Source
from ringrig.errors import BadCatalogue

FOLDER = Path(__file__).resolve().parents[2] / "coverage"
WHOLE = ("kbuf.c", "kbuf.h")
"""Files that serve nothing else."""
KINDS = ("never", "faults", "race", "case")
UNTAKEN = -1
"""As many branches as are not taken: for a warning, which fails its case anyhow, and has as many as the architecture likes."""
_KEYS = {
    "part": {"file", "function", "from", "to"},
    "line": {"file", "function", "text", "after", "lines", "kind", "why"},
    "branch": {"file", "function", "text", "after", "branches", "kind", "why"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Lines from `place` on, or some branches of it, of which is known why they are hard to reach.

    `kind` is never (no user can), faults (only where an allocation or copy fails), race (only if two come together), or case
    (by a case that there is not yet). `branches`: how many of the line's; 0 for the lines themselves.
    """

    place: Place
    lines: int
    branches: int
    kind: str
    why: str

    @property
    def places(self) -> Iterator[Place]:
        file, first = self.place
        yield from ((file, number) for number in range(first, first + self.lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """`lines` has the numbers that count, by file; `stale` what the data names and this source does not have."""

    lines: Mapping[str, frozenset[int]]
    functions: Mapping[Place, str]
    listed: tuple[Listed, ...]
    stale: tuple[str, ...]

    def __contains__(self, place: object) -> bool:
        match place:
            case (str(file), int(number), *_):
                return number in self.lines.get(file, ())
        return False


class _Missing(LookupError):
    """The source has no such text, or more than one."""


def load(data: Path | None, sources: Mapping[str, str]) -> Scope:
    """The scope for a source's files below io_uring/, by name; without data it is kbuf.c and kbuf.h, and nothing is known of them.

    BadCatalogue: the data is not in order.
    """
    tables = _tables(data) if data is not None else {}
    parsed = {name: Source(text) for name, text in sources.items()}
    lines = {
        name: set(range(1, text.count("\n") + 2)) if name in WHOLE else set()
        for name, text in sources.items()
    }
    listed: list[Listed] = []
    stale: list[str] = []
    for kind in _KEYS:
        for entry in tables.get(kind, []):
            try:
                place = _place(entry, parsed)
                if kind == "part":
                    lines[place[0]] |= _range(entry, parsed)
                else:
                    whole = 1 if "text" in entry else len(_span(entry, parsed))
                    branches = entry.get("branches", 0)
                    listed.append(
                        Listed(
                            place=place,
                            lines=entry.get("lines", whole),
                            branches=UNTAKEN if branches == "untaken" else branches,
                            kind=entry["kind"],
                            why=entry["why"],
                        )
                    )
            except _Missing as missing:
                stale.append(str(missing))
    functions = {
        (name, number): function
        for name, source in parsed.items()
        for function, nodes in source.functions.items()
        for node in nodes
        for number in range(node.start_point[0] + 1, node.end_point[0] + 2)
    }
    kept = {name: frozenset(numbers) for name, numbers in lines.items() if numbers}
    return Scope(lines=kept, functions=functions, listed=tuple(listed), stale=tuple(stale))


def _tables(data: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        tables: dict[str, Any] = tomllib.loads(data.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise BadCatalogue(f"{data} is no TOML: {error}.", next_step="mend it") from error
    for kind, entries in tables.items():
        for entry in entries:
            unknown = entry.keys() - _KEYS.get(kind, set())
            needed = {"file", "function"} | ({"kind", "why"} if kind != "part" else set())
            needed |= {"text", "branches"} if kind == "branch" else set()
            wrong = sorted(unknown | (needed - entry.keys()))
            if wrong or (kind != "part" and entry["kind"] not in KINDS):
                raise BadCatalogue(
                    f"{data}: [[{kind}]] {entry}: {', '.join(wrong) or entry['kind']} is missing or unknown.",
                    next_step="docs/coverage.md has the format",
                )
    return tables


def _place(entry: Mapping[str, Any], parsed: Mapping[str, Source]) -> Place:
    """Where an entry begins. _Missing: not there, or there twice."""
    text = entry.get("text", entry.get("from"))
    span = _span(entry, parsed)
    if text is None:
        return entry["file"], span.start
    rows = parsed[entry["file"]].text.split("\n")
    found = [
        number
        for number in span
        if rows[number - 1].strip() == text
        and ("after" not in entry or rows[number - 2].strip() == entry["after"])
    ]
    if len(found) != 1:
        raise _Missing(f"{entry['file']}, {entry['function']}(): {text!r} is there {len(found)} times")
    return entry["file"], found[0]


def _range(entry: Mapping[str, Any], parsed: Mapping[str, Source]) -> set[int]:
    """The lines of a [[part]]: its function, or what of it lies from `from` to the first `to` after it, both included."""
    span = _span(entry, parsed)
    if "from" not in entry:
        return set(span)
    first = _place(entry, parsed)[1]
    rows = parsed[entry["file"]].text.split("\n")
    wanted = entry.get("to", entry["from"])
    last = next((n for n in range(first, span.stop) if rows[n - 1].strip() == wanted), None)
    if last is None:
        raise _Missing(f"{entry['file']}, {entry['function']}(): no {wanted!r} after {entry['from']!r}")
    return set(range(first, last + 1))


def _span(entry: Mapping[str, Any], parsed: Mapping[str, Source]) -> range:
    source = parsed.get(entry["file"])
    nodes = source.functions.get(entry["function"], []) if source is not None else []
    if not nodes:
        raise _Missing(f"{entry['file']} has no {entry['function']}()")
    # Where the preprocessor chooses, the first is the one with more to it (CONFIG_MMU, CONFIG_BLOCK).
    return range(nodes[0].start_point[0] + 1, nodes[0].end_point[0] + 2)
