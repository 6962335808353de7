"""Cases that were asked for: those there are, and for a name that exists nowhere the names nearest to it."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from ringrig.campaign.mutate import collect
from ringrig.errors import BadSpec

_SHOWN = 4
_LIKE = 0.5


def known(names: Sequence[str], *, root: Path) -> list[str]:
    """The node ids of the cases named: files, folders and node ids as runs.from_here() leaves them; -k and -m with their words.

    BadSpec: one of them is no case's name (the nearest are in the message), or pytest cannot collect it.
    """
    try:
        return collect(names, root)
    except BadSpec as refused:
        places = list(_places(names, root))
        every = collect(
            sorted({place.split("/")[0] for place in places if (root / place).exists()} | {"suites"}), root
        )
        there = {name for nodeid in every for name in _names(nodeid)}
        for place in places:
            if place not in there:
                raise BadSpec(
                    f"There is no case {place!r}.", next_step=_advice(place, there, every)
                ) from refused
        if {"-k", "-m"} & set(names):
            raise BadSpec(
                f"No case fits {shlex.join(names)}.", next_step="`rig run --collect-only -q` lists every case"
            ) from refused
        raise


def _places(names: Sequence[str], root: Path) -> Iterator[str]:
    """What of the arguments names a place, relative to the root."""
    before = ""
    for name in names:
        if not name.startswith("-") and before not in {"-k", "-m"}:
            path, colons, rest = name.partition("::")
            whole = Path(path).relative_to(root) if Path(path).is_relative_to(root) else Path(path)
            yield f"{whole.as_posix()}{colons}{rest}"
        before = name


def _names(nodeid: str) -> Iterator[str]:
    """By what a case can be asked for: its id, that of its test, class, file and folders."""
    yield nodeid
    test = nodeid.partition("[")[0]
    path, *inner = test.split("::")
    yield from ("::".join([path, *inner[:n]]) for n in range(len(inner) + 1))
    yield from (str(folder) for folder in Path(path).parents if folder != Path())


def _advice(place: str, there: set[str], every: Sequence[str]) -> str:
    # Of 20 000 ids only those of the nearest test are worth comparing in full.
    test = place.partition("[")[0]
    kind = [name for name in there if "[" not in name]
    found = difflib.get_close_matches(test, kind, n=_SHOWN, cutoff=_LIKE)
    if test in there:
        found = difflib.get_close_matches(
            place, [name for name in every if name.startswith(f"{test}[")], n=_SHOWN, cutoff=0
        )
    if not found and (word := test.rpartition("::")[2].rpartition("/")[2]):
        by_end = {name.rpartition("::")[2].rpartition("/")[2]: name for name in kind}
        found = [by_end[end] for end in difflib.get_close_matches(word, by_end, n=_SHOWN, cutoff=_LIKE)]
    listing = "\n".join(f"    {name}" for name in found)
    return f"the nearest are\n{listing}" if found else "`rig run --collect-only -q` lists every case"
