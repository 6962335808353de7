"""What a matrix says: cases and outcomes, kernels × folders, on the terminal and in matrix.json."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from ringrig.cache import writing
from ringrig.campaign.job import Result, folder_of
from ringrig.campaign.matrix import Matrix
from ringrig.plugin.record import OUTCOMES
from ringrig.report import command, folder, terminal

_MARKS = {"failed": "F", "error": "E", "xfailed": "k", "xpassed": "X", "skipped": "-"}
LEGEND = "cells: cases passed, then F failed, E error, k known bug of that kernel, X known bug that did not show (xpass), - left out"


def report(matrix: Matrix) -> int:
    """Writes matrix.json and report.html, prints the tables; returns the exit code."""
    with writing("the report", matrix.folder):
        (matrix.folder / "matrix.json").write_text(json.dumps(_data(matrix), indent=1) + "\n")
    page = command.write_page(folder.read(matrix.folder))
    console = terminal.console()
    console.print(_totals(matrix))
    for result in matrix.results:
        console.print(_folders(result), markup=False)
    console.print(LEGEND)
    for one in matrix.left:
        console.print(f"not run: {one.name}", markup=False)
    console.print(f"{page}, matrix.json; beside them each kernel's run folder", markup=False)
    return matrix.exit_code


def _totals(matrix: Matrix) -> Table:
    table = Table(box=SIMPLE)
    table.add_column("kernel", overflow="fold")
    for name in ("pass", "fail", "error", "known", "xpass", "out", "s", "exit"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in matrix.results:
        count = one.count()
        cells = [count[name] for name in OUTCOMES]
        table.add_row(
            escape(one.job.name),
            *(str(cell or "") for cell in cells),
            f"{one.seconds:.0f}",
            str(one.exit_code),
        )
    return table


def _folders(result: Result) -> str:
    tops = sorted({folder_of(name) for name in result.cases})
    return f"{result.job.name}: " + ", ".join(f"{top} {cell(result.count(top))}" for top in tops)


def cell(count: Counter[str]) -> str:
    """Cases of one folder on one kernel in few characters: "212 3k 8-"."""
    return " ".join(
        [str(count["passed"]), *(f"{count[name]}{mark}" for name, mark in _MARKS.items() if count[name])]
    )


def _data(matrix: Matrix) -> dict[str, object]:
    return {
        "suite": matrix.suite,
        "not run": [one.name for one in matrix.left],
        "kernels": [
            {
                "name": one.job.name,
                "arguments": one.job.arguments,
                "folder": one.folder.name,
                "exit_code": one.exit_code,
                "seconds": one.seconds,
                "verdict": one.verdict,
                "folders": {top: one.count(top) for top in sorted({folder_of(name) for name in one.cases})},
                "not passed": {
                    name: asdict(case) for name, case in one.cases.items() if case.outcome != "passed"
                },
            }
            for one in matrix.results
        ],
    }
