"""`rig history`: what became of a case in the runs of this clone, by kernel and by time, and where it wavers."""

from __future__ import annotations

import argparse
import difflib
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from ringrig import runs
from ringrig.campaign.crew import count
from ringrig.errors import BadSpec, RigError
from ringrig.plugin import history
from ringrig.plugin.history import Past
from ringrig.plugin.record import OUTCOMES
from ringrig.report import terminal

_GOOD, _BAD = {"passed", "xfailed"}, {"failed", "error", "xpassed"}


def main(arguments: Sequence[str], *, root: Path) -> int:
    """Prints a case's history, or which cases waver. BadSpec: no run has had such a case; RigError: the history cannot be read."""
    chosen = _parser().parse_args(arguments)
    case = runs.from_here([chosen.case])[0].removeprefix(f"{root}/") if chosen.case else ""
    try:
        if not case:
            return _flaky(root)
        past = history.of(case, root=root)
        if not past:
            near = difflib.get_close_matches(case, history.names(root=root), n=3)
    except sqlite3.Error as error:
        raise RigError(
            f"{history.PLACE} cannot be read: {error}.", next_step=history.remedy(error)
        ) from error
    if not past:
        nearest = f"the nearest: {', '.join(near)}" if near else "`rig run` keeps what it ran"
        raise BadSpec(f"No run here has had a case {case}.", next_step=nearest)
    console = terminal.console()
    console.print(f"{case}: {len(past)} runs", markup=False)
    console.print(_by_kernel(past))
    for line in wavering(past):
        console.print(line, markup=False)
    shown = past[-chosen.last :]
    if len(shown) < len(past):
        console.print(f"the last {len(shown)}:")
    for one in reversed(shown):
        console.print(
            f"  {one.began[:19]}  {one.outcome:7} {one.seconds:7.2f} s  {one.kernel}  {one.folder}",
            markup=False,
        )
    return 0


def _flaky(root: Path) -> int:
    """Prints every case that wavers."""
    found = history.mixed(_GOOD, _BAD, root=root)
    for case in found:
        print(case, *wavering(history.of(case, root=root)), sep="\n  ")
    print(
        f"{len(found)} of {len(history.names(root=root))} cases came out differently on the same kernel with the same suite"
    )
    return 0


def wavering(past: Sequence[Past]) -> list[str]:
    """Where the same build of a kernel and the same suite showed both what is wanted and what is not, in a line each."""
    same: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for one in past:
        same[one.kernel, one.build, one.suite][one.outcome] += 1
    return [
        f"FLAKY on {kernel} (build-id {build[:12] or 'unknown'}, suite {suite}): "
        + ", ".join(f"{count[word]} {word}" for word in OUTCOMES if count[word])
        for (kernel, build, suite), count in same.items()
        if _GOOD & set(count) and _BAD & set(count)
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rig history",
        description="What became of a case in the runs of this clone (runs/history.sqlite), by kernel and by time.",
    )
    parser.add_argument(
        "case",
        nargs="?",
        metavar="NODEID",
        help="one case, as rig run names it (default: list those that waver)",
    )
    parser.add_argument(
        "--last", type=count, default=20, metavar="N", help="runs that are listed (default: 20)"
    )
    return parser


def _by_kernel(past: Sequence[Past]) -> Table:
    kernels: dict[str, list[Past]] = defaultdict(list)
    for one in past:
        kernels[one.kernel].append(one)
    words = [word for word in OUTCOMES if any(one.outcome == word for one in past)]
    table = Table(box=SIMPLE)
    table.add_column("kernel", overflow="fold")
    for word in words:
        table.add_column(word, justify="right", no_wrap=True)
    table.add_column("last")
    for kernel, those in sorted(kernels.items()):
        count = Counter(one.outcome for one in those)
        last = those[-1]
        table.add_row(
            escape(kernel), *(str(count[word] or "") for word in words), f"{last.outcome}, {last.began[:10]}"
        )
    return table
