"""`rig series`: each patch of a series is built, booted and tested, and compared with what the series stands on."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
from ringrig.errors import BadPatch, BadSpec, RigError
from ringrig.plugin.record import suite_version


def run(arguments: Sequence[str], *, root: Path, say: Say) -> Series:
    """The series of the command line, as far as it gets. Raises RigErrors."""
    chosen = asking.parser().parse_intermixed_args(arguments)
    if chosen.resume:
        asking.refuse_others(chosen)
        folder = chosen.resume.absolute()
        asked, trees = asking.stored(folder)
    else:
        given, cases = asking.taken(chosen)
        asked, trees = asking.ask(chosen, given, cases, root=root, say=say), ()
        folder = runs.new_folder(root, "series")
        asking.store(asked, folder)
    applied = begin(asked, folder, trees, chosen=chosen, say=say)
    if trees and applied.trees != trees:
        raise BadSpec(
            f"{asked.base.spec} has changed since {folder.name} was begun.",
            next_step="begin anew, without --resume",
        )
    return carry_out(asked, applied, folder, chosen=chosen, root=root, say=say)


def begin(
    asked: Asked, folder: Path, trees: Sequence[str], *, chosen: argparse.Namespace, say: Say
) -> Applied:
    """Applies what the folder keeps; `trees`: what it came to before, () if it never did.

    BadPatch, BadSpec: it does not apply; then a folder in which it never did is gone again. KeyboardInterrupt, RigErrors.
    """
    with _going_on(chosen, folder, say=say):
        try:
            with writing("the series' folder", folder):
                applied = bases.apply(asked.given, asked.base, folder / "patches", say=say)
        except (BadPatch, BadSpec):
            if not trees:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        if not trees:
            asking.store(asked, folder, applied.trees)
    return applied


@contextmanager
def _going_on(chosen: argparse.Namespace, folder: Path, *, say: Say) -> Iterator[None]:
    """Where something ends it early, says how to go on in the folder, if that is there still."""
    again = f"go on with: {asking.again(chosen, folder)}"
    try:
        yield
    except KeyboardInterrupt:
        say(f"interrupted; {again}")
        raise
    except RigError:
        if folder.exists():
            say(f"when that is mended, {again}")
        raise


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
    with (
        suppress(KeyboardInterrupt),
        _going_on(chosen, folder, say=say),
        crew.crew(chosen, root=root, suite=series.suite, say=say) as hands,
    ):
        Tester(series, asked, applied, hands=hands, keep=lambda: _keep(series), say=say).follow()
    return series


def _keep(series: Series) -> None:
    with writing("the series' folder", series.folder):
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
