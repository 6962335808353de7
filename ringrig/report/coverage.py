"""Coverage for people and machines, by gcovr: text for the terminal, HTML with the sources, Cobertura for CI."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from gcovr.data_model.version import FORMAT_VERSION

from ringrig.campaign.coverage_counts import Branch, Counts, Place
from ringrig.errors import RigError

SOURCES = "io_uring"
"""Where the sources lie in the folder that is rendered."""


def render(
    folder: Path, counts: Counts, *, functions: dict[Place, str], excluded: set[Place | Branch], title: str
) -> str:
    """Writes html/, cobertura.xml and coverage.txt into `folder`, and returns what belongs on a terminal.

    `counts` has what is in the scope; what is `excluded` of it shows in the HTML and does not count. RigError: gcovr failed.
    """
    trace = folder / "gcovr.json"
    trace.write_text(json.dumps(_trace(counts, functions, excluded)), encoding="utf-8")
    (folder / "html").mkdir(exist_ok=True)
    lines = _gcovr(
        folder,
        ["--txt", "--html-details", "html/index.html", "--html-title", title, "--cobertura", "cobertura.xml"],
    )
    text = f"{lines.strip()}\n\n{_gcovr(folder, ['--txt', '--txt-metric', 'branch']).strip()}\n"
    (folder / "coverage.txt").write_text(text, encoding="utf-8")
    return text


def _gcovr(folder: Path, options: list[str]) -> str:
    argv = [sys.executable, "-m", "gcovr", "--root", ".", "--add-tracefile", "gcovr.json", *options]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RigError(
            f"gcovr ended with {done.returncode}: {done.stderr.strip()[-800:]}",
            next_step=f"the figures are in {folder}/coverage.json; {folder}/gcovr.json is what gcovr was given",
        )
    return done.stdout


def _trace(counts: Counts, functions: dict[Place, str], excluded: set[Place | Branch]) -> dict[str, Any]:
    """In gcovr's own intermediate format ("JSON output" in its manual)."""
    branches: dict[Place, list[dict[str, Any]]] = defaultdict(list)
    for branch, count in sorted(counts.branches.items()):
        found = branches[branch[:2]]
        found.append({"branchno": len(found), "count": count, "fallthrough": False, "throw": False})
        if branch in excluded or branch[:2] in excluded:
            found[-1]["gcovr/excluded"] = True
    files: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for place, count in sorted(counts.lines.items()):
        line: dict[str, Any] = {"line_number": place[1], "count": count, "branches": branches[place]}
        if place in functions:
            line["function_name"] = functions[place]
        if place in excluded:
            line["gcovr/excluded"] = True
        files[place[0]].append(line)
    return {
        "gcovr/format_version": FORMAT_VERSION,
        "files": [
            {"file": f"{SOURCES}/{name}", "lines": lines, "functions": []} for name, lines in files.items()
        ],
    }
