"""The cases × runs of a page, small: names by file and test, an outcome's letter for each run, each reason once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from ringrig.report.folder import Folder

LETTERS = {"passed": ".", "failed": "F", "error": "E", "xfailed": "k", "xpassed": "X", "skipped": "-"}
_ABSENT = " "
_File: TypeAlias = "dict[str, dict[str, str]]"


def grid(folder: Folder, places: dict[tuple[int, str], int]) -> dict[str, Any]:
    """What the page's script reads.

    `files`: {path: {test: {parameters: letters}}}, a letter for each run. `whys`: reasons; `why`: {node id: {run's number:
    reason's number}}. `at`: {node id: {run's number: number of its failure on the page}}, from `places`. `runs`: name and
    arguments of each.
    """
    files: dict[str, _File] = {}
    whys: dict[str, int] = {}
    why: dict[str, dict[int, int]] = {}
    at: dict[str, dict[int, int]] = {}
    for nodeid in folder.nodeids:
        cases = [run.cases.get(nodeid) for run in folder.runs]
        path, _, name = nodeid.partition("::")
        test, _, parameters = name.partition("[")
        letters = "".join(LETTERS[case.outcome] if case else _ABSENT for case in cases)
        files.setdefault(path, {}).setdefault(test, {})[parameters.removesuffix("]")] = letters
        for number, case in enumerate(cases):
            if case and case.why:
                why.setdefault(nodeid, {})[number] = whys.setdefault(case.why, len(whys))
            if (place := places.get((number, nodeid))) is not None:
                at.setdefault(nodeid, {})[number] = place
    return {
        "runs": [{"name": run.name, "arguments": _shown(run.arguments)} for run in folder.runs],
        "files": files,
        "whys": list(whys),
        "why": why,
        "at": at,
    }


def _shown(arguments: Sequence[str]) -> list[str]:
    return [word.replace("=", " ", 1) for word in arguments]
