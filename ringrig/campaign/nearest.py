"""Cases that were asked for: those there are, or which name exists nowhere."""

from __future__ import annotations

import contextlib
import io
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

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
        if {"-k", "-m"} & set(names) and "Wrong expression" not in refused.what:
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


def collect(paths: Sequence[str], root: Path) -> list[str]:
    """The node ids of the cases there. Raises BadSpec with pytest's words."""
    found: list[str] = []

    class Collected:
        def pytest_collection_finish(self, session: pytest.Session) -> None:
            found.extend(item.nodeid for item in session.items)

    said = io.StringIO()
    words = [
        "--collect-only",
        "-qq",
        "-pno:cacheprovider",
        f"--rootdir={root}",
        "-c",
        str(root / "pyproject.toml"),
    ]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), contextlib.chdir(root):
        code = pytest.main([*words, *paths], plugins=[Collected()])
    if code != pytest.ExitCode.OK:
        raise BadSpec(
            f"There are no such cases: {said.getvalue()[-600:].strip()}",
            next_step="check the paths, and the words of -k",
        )
    return found
