"""The cases × runs of a page, small: names by file and test, an outcome's letter for each run, each reason once."""

from __future__ import annotations

from typing import Any, TypeAlias

from ringrig.report.folder import Folder
from ringrig.report.page_failures import of_kernel

LETTERS = {"passed": ".", "failed": "F", "error": "E", "xfailed": "k", "xpassed": "X", "skipped": "-"}
_ABSENT = " "
_File: TypeAlias = "dict[str, dict[str, str | list[Any]]]"


def grid(folder: Folder, places: dict[tuple[int, str], int]) -> dict[str, Any]:
    """What the page's script reads.

    `files`: {path: {test: {parameters: case}}}. A case is its letters, one for each run; or [letters, {run: reason}, {run:
    failure}] with numbers of runs, of `whys` and, from `places`, of failures on the page. `runs`: name and arguments of each.
    """
    files: dict[str, _File] = {}
    whys: dict[str, int] = {}
    for nodeid in folder.nodeids:
        cases = [run.cases.get(nodeid) for run in folder.runs]
        path, _, name = nodeid.partition("::")
        test, _, parameters = name.partition("[")
        letters = "".join(LETTERS[case.outcome] if case else _ABSENT for case in cases)
        why = {
            number: whys.setdefault(case.why, len(whys))
            for number, case in enumerate(cases)
            if case and case.why
        }
        at = {number: places[number, nodeid] for number in range(len(cases)) if (number, nodeid) in places}
        entry = [letters, why, at] if at else [letters, why] if why else letters
        files.setdefault(path, {}).setdefault(test, {})[parameters.removesuffix("]")] = entry
    return {
        "runs": [
            {"name": run.name, "run": run.arguments, "reproduce": of_kernel(run)} for run in folder.runs
        ],
        "files": files,
        "whys": list(whys),
    }
