"""Names of cases: what a case can be asked for by, and for a name that exists nowhere those nearest to it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ringrig.errors import BadSpec

_SHOWN = 4
_LIKE = 0.5


def refusal(session: pytest.Session) -> BadSpec | None:
    """Which of the names that this session was given is none; None: they all are, so that it is something else."""
    root = session.config.rootpath
    session.config.option.keyword = session.config.option.markexpr = ""  # they would leave out what is near
    places = [place(argument, root=root) for argument in session.config.args]
    nodes = session.perform_collect(tops(places, root=root), genitems=False)
    every = [item.nodeid for node in nodes for item in session.genitems(node)]
    return unknown(places, every)


def tops(places: Sequence[str], *, root: Path) -> list[str]:
    """The uppermost folders, in which whatever was meant by `places` may be."""
    named = {one.partition("::")[0].split("/")[0] for one in places}
    inside = {top for top in named - {"", ".."} if (root / top).is_dir()}
    return sorted(str(root / top) for top in inside | {"suites"})


def unknown(places: Sequence[str], every: Sequence[str]) -> BadSpec | None:
    """The first of `places` that is no name of any case of `every`, with the nearest; None: each is one."""
    there = {name for nodeid in every for name in _names(nodeid)}
    missing = next((one for one in places if one not in there), None)
    if missing is None:
        return None
    return BadSpec(f"There is no case {missing!r}.", next_step=_advice(missing, there, every))


def place(argument: str, *, root: Path) -> str:
    """A path or node id as node ids have it, relative to `root`."""
    path, colons, rest = argument.partition("::")
    whole = Path(path).relative_to(root) if Path(path).is_relative_to(root) else Path(path)
    return f"{whole.as_posix()}{colons}{rest}"


def _names(nodeid: str) -> Iterator[str]:
    """By what a case can be asked for: its id, that of its test, class, file and folders."""
    yield nodeid
    test = nodeid.partition("[")[0]
    path, *inner = test.split("::")
    yield from ("::".join([path, *inner[:n]]) for n in range(len(inner) + 1))
    yield from (str(folder) for folder in Path(path).parents if folder != Path())


def _advice(missing: str, there: set[str], every: Sequence[str]) -> str:
    # Of 20 000 ids only those of the nearest test are worth comparing in full.
    test = missing.partition("[")[0]
    kind = [name for name in there if "[" not in name]
    found = difflib.get_close_matches(test, kind, n=_SHOWN, cutoff=_LIKE)
    if test in there:
        found = difflib.get_close_matches(
            missing, [name for name in every if name.startswith(f"{test}[")], n=_SHOWN, cutoff=0
        )
    if not found and (word := test.rpartition("::")[2].rpartition("/")[2]):
        by_end = {name.rpartition("::")[2].rpartition("/")[2]: name for name in kind}
        found = [by_end[end] for end in difflib.get_close_matches(word, by_end, n=_SHOWN, cutoff=_LIKE)]
    listing = "\n".join(f"    {name}" for name in found)
    return f"the nearest are\n{listing}" if found else "`rig run --collect-only -q` lists every case"
