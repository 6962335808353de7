"""`rig series`: each patch of a series is built, booted and tested, and compared with what the series stands on."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ringrig import runs
from ringrig.cache import Say, writing
from ringrig.campaign import asked as asking
from ringrig.campaign import base as bases
from ringrig.campaign import crew
from ringrig.campaign.asked import Asked
from ringrig.campaign.base import Applied
from ringrig.campaign.rows import Series
from ringrig.campaign.tester import Tester
from ringrig.errors import BadSpec, RigError
from ringrig.plugin.record import suite_version


def run(arguments: Sequence[str], *, root: Path, say: Say) -> Series:
    """The series of the command line, as far as it gets. Raises RigErrors."""
    chosen = asking.parser().parse_intermixed_args(arguments)
    if chosen.resume:
        if chosen.given or chosen.tree or chosen.base or chosen.kernel:
            raise BadSpec(
                "--resume goes on with what was asked: it takes no series, case, tree, base or kernel.",
                next_step=f"rig series --resume {chosen.resume}, or begin anew without --resume",
            )
        folder = chosen.resume.absolute()
        asked, trees = asking.stored(folder)
        applied = bases.apply(asked.given, asked.base, folder / "patches", say=say)
        if list(applied.trees) != trees:
            raise BadSpec(
                f"{asked.base.spec} has changed since {folder.name} was begun.",
                next_step="begin anew, without --resume",
            )
    else:
        given, cases = asking.taken(chosen)
        asked = asking.ask(chosen, given, cases, root=root, say=say)
        folder = runs.new_folder(root, "series")
        applied = begin(asked, folder, say=say)
    return carry_out(asked, applied, folder, chosen=chosen, root=root, say=say)


def begin(asked: Asked, folder: Path, *, say: Say) -> Applied:
    """Applies the series, and keeps in its folder what is asked. BadPatch: it does not apply; then a new folder is gone again."""
    new = not any(folder.iterdir())
    try:
        with writing("the series' folder"):
            applied = bases.apply(asked.given, asked.base, folder / "patches", say=say)
            asking.store(asked, folder, applied.trees)
    except RigError:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return applied


def carry_out(
    asked: Asked, applied: Applied, folder: Path, *, chosen: argparse.Namespace, root: Path, say: Say
) -> Series:
    """Base and patches; what `folder` holds already is not done again. `chosen`: the options of crew. Raises RigErrors."""
    series = Series(
        folder=folder,
        given=asked.given,
        base=asked.base.spec,
        why=asked.base.why,
        suite=suite_version(root),
        cases=asked.cases,
        only_tip=asked.only_tip,
        left=asked.numbers,
    )
    try:
        with crew.crew(chosen, root=root, suite=series.suite, say=say) as hands:
            Tester(series, asked, applied, hands=hands, keep=lambda: _keep(series), say=say).follow()
    except KeyboardInterrupt:
        say(f"interrupted; go on with: rig series --resume {folder}")
    except RigError:
        say(f"when that is mended, go on with: rig series --resume {folder}")
        raise
    return series


def _keep(series: Series) -> None:
    with writing("the series' folder"):
        (series.folder / "series.json").write_text(json.dumps(told(series), indent=1) + "\n")


def told(series: Series) -> dict[str, object]:
    """What series.json holds (docs/series.md)."""
    return {
        "title": series.given.title,
        "revision": series.given.revision,
        "base": series.base,
        "why": series.why,
        "label": series.label,
        "suite": series.suite,
        "cases": series.cases,
        "only_tip": series.only_tip,
        "exit_code": series.exit_code,
        "not run": series.left,
        "seconds": series.seconds,
        "base failing": series.base_failing,
        "base flaky": series.base_flaky,
        "rows": [asdict(row) for row in series.rows],
    }
