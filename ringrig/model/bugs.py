"""Bugs that provided buffers really had, each with its fix and with the cases that show it: suites/regressions/bugs.toml.

A case that shows one is marked when it is collected (suites/conftest.py): `-m regression`, `-m 'regression(bug="ID")'`.
`python -m ringrig.model.bugs` prints docs/regressions.md.
"""

from __future__ import annotations

import fnmatch
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

REGISTRY = Path(__file__).parents[2] / "suites/regressions/bugs.toml"

_HEAD = """\
# Bugs that were, and the cases that show them

Made from `suites/regressions/bugs.toml` by `python -m ringrig.model.bugs`; edit that file.

    ./rig run -m regression                                    # which of these bugs does the kernel have?
    ./rig run -m 'regression(bug="own-entry-loops")'           # one of them
    ./rig run suites/regressions                               # those that no other folder has a case for

A case fails where its bug is, or is known with a link (`suites/known-issues.toml`). *With* names the fragments of kconfigs/ (`--config`)
that a kernel must be built with for it to show. A name in the mutants column puts the bug back into 6.12:
`./rig mutate --only NAME`. Folders and files are below `suites/`.

| bug | what broke | fix | first fixed | shown by | with | mutants |
| --- | --- | --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """`fix`: the fixing commit, or its subject, or what it is about, or "open". `cases`: node ids, wildcards outside brackets.

    `live`: where it is still, or was. `config`: only such a kernel shows it. `mutants`: put it back. `why`: what there is to say about
    cases that are missing, or do not show all.
    """

    id: str
    broke: str
    fix: str
    cve: str = ""
    fixed: tuple[str, ...] = ()
    live: str = ""
    link: str = ""
    cases: tuple[str, ...] = ()
    mutants: tuple[str, ...] = ()
    config: str = ""
    why: str = ""

    def fate(self) -> str:
        """What became of it: the sentence that is in the docstring of each of its cases."""
        if self.fix == "open":
            return f"Open in {self.live}." if self.live else "Open."
        known = "; ".join(filter(None, (self.cve, ", ".join(self.fixed))))
        name = f'"{self.fix}"' if ": " in self.fix or self.fix.startswith("fix ") else self.fix
        fixed = f"Fixed by {name} ({known})." if known else f"Fixed by {name}."
        if not self.fix:
            fixed = f"Fixed in {known}."
        return f"{fixed} Live in {self.live}." if self.live else fixed

    def shown_by(self, nodeid: str) -> bool:
        """Is that case among those that show it?"""
        return any(fnmatch.fnmatchcase(nodeid, case.replace("[", "[[]")) for case in self.cases)


@cache
def bugs() -> tuple[Bug, ...]:
    """The registry, in its order. TypeError, ValueError for an entry that says what is not to be said."""
    tables: list[dict[str, Any]] = tomllib.loads(REGISTRY.read_text(encoding="utf-8"))["bug"]
    found = tuple(_bug(table) for table in tables)
    for one in found:
        if not one.cases and not one.why:
            raise ValueError(f"{one.id}: neither cases nor a reason why there is none")
    return found


def _bug(table: dict[str, Any]) -> Bug:
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
    }
    return Bug(**fields)


def shown_by(nodeid: str) -> list[Bug]:
    """The bugs that a case shows; quick, as it is asked of each case of every session."""
    return [bug for bug in _by_file().get(nodeid.partition("::")[0], ()) if bug.shown_by(nodeid)]


@cache
def _by_file() -> dict[str, list[Bug]]:
    found: dict[str, list[Bug]] = {}
    for bug in bugs():
        for file in {case.partition("::")[0] for case in bug.cases}:
            found.setdefault(file, []).append(bug)
    return found


def document() -> str:
    """docs/regressions.md."""
    return _HEAD + "".join(_row(one) for one in bugs())


def _row(bug: Bug) -> str:
    live = f"live in {bug.live}" if bug.live else ""
    fix = ", ".join(filter(None, (bug.fix, bug.cve, live, f"[report]({bug.link})" if bug.link else "")))
    shown = "<br>".join(f"`{case.removeprefix('suites/')}`" for case in bug.cases)
    shown = "<br>".join(filter(None, (shown, bug.why)))
    cells = (bug.id, bug.broke, fix, ", ".join(bug.fixed), shown, bug.config, ", ".join(bug.mutants))
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    print(document(), end="")
