"""Mutants as data: mutants/X.Y/*.toml, or somebody else's catalogue (mutants/README.md has the format)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringrig.errors import BadCatalogue

ORIGINS = ("chosen", "generated", "reverted", "thawed", "frozen")
TOOLS = ("kasan", "kmemleak", "kcsan", "lockdep", "faults", "memcg", "disks", "preempt", "compat32", "x86")
_KINDS = ("expr", "stmt")
_NEEDED = ("file", "function", "kind", "original", "mutated")
_ID = re.compile(r"[\w.+-]{1,120}")
"""It becomes a file's name: patches/ID.patch."""
_KNOWN = {"id", "note", "equivalent", "needs", "also", "within", *_NEEDED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One place of a mutant: `original`, once in `function` (or once in `within`, once there), becomes `mutated`.

    `at` is where generated ones are found: an offset into the unchanged file, which decides instead.
    """

    file: str
    function: str
    kind: str
    original: str
    mutated: str
    within: str = ""
    at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """`equivalent`: why nobody can see it; `needs`: the tool without which nobody can."""

    id: str
    origin: str
    edits: tuple[Edit, ...]
    note: str = ""
    equivalent: str = ""
    needs: str = ""


def load(paths: Sequence[Path]) -> list[Mutant]:
    """The mutants of files and of directories' *.toml, in their order. Raises BadCatalogue, naming file and mutant."""
    files = [file for path in paths for file in (sorted(path.glob("*.toml")) if path.is_dir() else [path])]
    if not files:
        raise BadCatalogue(
            f"There are no mutants in {', '.join(map(str, paths))}.",
            next_step="mutants/README.md says how one is written; mutants/6.12 has examples",
        )
    found: dict[str, tuple[Mutant, Path]] = {}
    for file in files:
        for mutant in _read(file):
            if mutant.id in found:
                other = found[mutant.id][1]
                raise _bad(file, mutant.id, f"{other.name} has a mutant of that id already", "rename one")
            found[mutant.id] = (mutant, file)
    return [mutant for mutant, _ in found.values()]


def _read(file: Path) -> list[Mutant]:
    try:
        data = tomllib.loads(file.read_text())
    except OSError as error:
        raise BadCatalogue(f"{file} cannot be read: {error.strerror}.", next_step="check the path") from error
    except ValueError as error:
        raise BadCatalogue(f"{file} is no TOML: {error}.", next_step="see mutants/README.md") from error
    origin = data.get("origin", "chosen")
    if origin not in ORIGINS:
        raise _bad(file, "", f"origin is {origin!r}", f"take one of: {', '.join(ORIGINS)}")
    tables = data.get("mutant")
    if not isinstance(tables, list) or not tables or not all(isinstance(one, dict) for one in tables):
        raise _bad(file, "", "it has no [[mutant]]", "see mutants/README.md")
    return [_mutant(file, number, table, origin) for number, table in enumerate(tables, start=1)]


def _mutant(file: Path, number: int, table: dict[str, Any], origin: str) -> Mutant:
    name = table.get("id", f"[[mutant]] number {number}")
    if "id" not in table:
        raise _bad(file, name, "it has no id", "give it one, in words that stay")
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise _bad(file, str(name), f"its id is {name!r}", "take words of letters and digits, joined by -")
    for part in (table, *table.get("also", [])):
        if unknown := sorted(set(part) - _KNOWN):
            raise _bad(file, name, f"nobody knows {', '.join(unknown)}", f"take {', '.join(sorted(_KNOWN))}")
        if missing := [key for key in _NEEDED if not isinstance(part.get(key), str)]:
            raise _bad(file, name, f"it has no {', '.join(missing)} (a text)", "add what is missing")
        if part["kind"] not in _KINDS:
            raise _bad(file, name, f"kind is {part['kind']!r}", "take expr or stmt")
        if Path(part["file"]).name != part["file"]:
            raise _bad(file, name, f"file is {part['file']!r}", "name a file of io_uring/, like kbuf.c")
    if table.get("needs", TOOLS[0]) not in TOOLS:
        raise _bad(file, name, f"it needs {table['needs']!r}", f"take one of: {', '.join(TOOLS)}")
    edits = [
        Edit(within=part.get("within", ""), **{key: part[key] for key in _NEEDED})
        for part in (table, *table.get("also", []))
    ]
    words = {key: str(table.get(key, "")) for key in ("id", "note", "equivalent", "needs")}
    return Mutant(origin=origin, edits=tuple(edits), **words)


def _bad(file: Path, mutant: str, why: str, step: str) -> BadCatalogue:
    return BadCatalogue(f"{file}{f', mutant {mutant}' if mutant else ''}: {why}.", next_step=step)
