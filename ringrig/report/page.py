"""One self-contained page for a run or a campaign: no file, script or font from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ringrig.plugin.record import OUTCOMES
from ringrig.report.folder import Folder
from ringrig.report.page_failures import bugs, failures, left_out
from ringrig.report.page_grid import LETTERS, grid

_COLUMN = {"matrix": "kernel", "series": "kernel", "bisect": "commit"}
_NAMES = {"matrix": "Matrix", "series": "Series", "bisect": "Bisection"}
WORDS = {
    "passed": "passed",
    "failed": "failed",
    "error": "error",
    "xfailed": "known bug",
    "xpassed": "bug absent",
    "skipped": "left out",
}
"""What a reader is told instead of pytest's words."""


def text(folder: Folder) -> str:
    """The whole page."""
    wrong, places = failures(folder)
    own = f"{folder.kind}.html"
    return render(
        own if folder.told and own in _environment().list_templates() else "page.html",
        title=_title(folder),
        folder=folder,
        runs=folder.runs,
        column=_COLUMN.get(folder.kind, "kernel"),
        outcomes=[(name, WORDS[name], LETTERS[name]) for name in OUTCOMES],
        failures=wrong,
        bugs=bugs(folder),
        left_out=left_out(folder),
        expired=_expired(folder),
        grid=_data(grid(folder, places)),
    )


def render(template: str, **values: object) -> str:
    """A template of ringrig/report/templates with its values, which are escaped unless they are Markup."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ringrig.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["verdict"] = _word
    environment.filters["ranges"] = ranges
    return environment


def ranges(numbers: Sequence[int]) -> str:
    """12-15, 18"""
    groups = [
        [n for _, n in group] for _, group in groupby(enumerate(sorted(numbers)), lambda one: one[1] - one[0])
    ]
    return ", ".join(str(g[0]) if len(g) == 1 else f"{g[0]}-{g[-1]}" for g in groups)


def _title(folder: Folder) -> str:
    if folder.kind == "run":
        return folder.runs[0].label
    if folder.kind == "bisect" and folder.told:
        return "Bisection"
    if folder.told.get("title"):
        return f"Series: {folder.told['title']}"
    number, what = len(folder.runs), _COLUMN[folder.kind]
    unfinished = "" if folder.told else ", without a result of its own so far"
    return f"{_NAMES[folder.kind]}: {number} {what}{'s'[: number != 1]}{unfinished}"


def _expired(folder: Folder) -> dict[str, dict[str, str]]:
    return {one["id"]: one for run in folder.runs for one in run.about.get("expired", [])}


def _word(verdict: str) -> str:
    """PASS, PARTIAL PASS, FAIL or NO VERDICT."""
    found = re.match(r"PARTIAL PASS|PASS|FAIL|NO VERDICT", verdict)
    return found[0] if found else verdict[:20]


def _data(value: object) -> Markup:
    """JSON that may stand in a script element: nothing in it ends the element or begins a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
