"""Cases that were asked for: those there are, or which name exists nowhere."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from ringrig.campaign.mutate import collect
from ringrig.errors import BadSpec
from ringrig.plugin.nearest import place, tops, unknown


def known(names: Sequence[str], *, root: Path) -> list[str]:
    """The node ids of the cases named: files, folders and node ids as runs.from_here() leaves them; -k and -m with their words.

    BadSpec: one of them is no case's name (the nearest are in the message), or pytest cannot collect it.
    """
    try:
        return collect(names, root)
    except BadSpec as refused:
        places = list(_places(names, root))
        every = collect(tops(places, root=root), root)
        if (why := unknown(places, every)) is not None:
            raise why from refused
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
            yield place(name, root=root)
        before = name
