"""`rig matrix`: the same cases on many kernels, in one table."""

from __future__ import annotations

import argparse
import shlex
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ringrig import runs
from ringrig.cache import Say
from ringrig.campaign import crew, matrix_asked, nearest
from ringrig.campaign.job import Job, Result, interrupted
from ringrig.errors import RigError
from ringrig.plugin.record import suite_version


@dataclass(slots=True, kw_only=True)
class Matrix:
    """A matrix that has run, as far as it got: `left` are the jobs that did not."""

    folder: Path
    suite: str
    results: list[Result] = field(default_factory=list)
    left: list[Job] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """The first kernel's in order that is not 0; 130 where it was interrupted."""
        if self.left:
            return 130
        return next((one.exit_code for one in self.results if one.exit_code), 0)


def run(arguments: Sequence[str], *, root: Path, say: Say) -> Matrix:
    """Every job of a matrix, in order; what `--resume` names already holds is not done again. Raises RigErrors."""
    chosen = matrix_asked.parser().parse_intermixed_args(arguments)
    if chosen.resume:
        folder = chosen.resume.absolute()
        jobs = matrix_asked.stored(folder)
        if chosen.given:
            matrix_asked.same(jobs, chosen.given, folder)
    else:
        jobs = matrix_asked.jobs(chosen.given)
        for cases in dict.fromkeys(one.cases for one in jobs):
            nearest.known(cases, root=root)
        folder = runs.new_folder(root, "matrix")
    matrix = Matrix(folder=folder, suite=suite_version(root), left=jobs)
    places = [(one, folder / matrix_asked.folder_name(one)) for one in jobs]
    found: dict[str, Result] = {}
    again = f"go on with: rig matrix {_options(arguments, chosen)}--resume {folder}"
    try:
        if not chosen.resume:
            matrix_asked.store(jobs, folder)
        with suppress(KeyboardInterrupt), crew.crew(chosen, root=root, suite=matrix.suite, say=say) as hands:
            for one in hands.results(places):
                if not interrupted(one.folder, one.exit_code):
                    found[one.job.name] = one
                    say(f"{len(found)} of {len(jobs)}: {one.job.name}: {one.verdict} ({one.seconds:.0f} s)")
    except RigError:
        if chosen.resume or any(place.exists() for _, place in places):
            say(again)
        else:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    matrix.results = [found[each.name] for each in jobs if each.name in found]
    matrix.left = [each for each in jobs if each.name not in found]
    if matrix.left:
        say(f"interrupted; {again}")
    return matrix


def _options(arguments: Sequence[str], chosen: argparse.Namespace) -> str:
    """How the jobs were to run, of the command line."""
    rest = iter(arguments)
    kept = [word for word in rest if not (word == "--resume" and next(rest, True))]
    words = [word for word in kept if word not in chosen.given and not word.startswith("--resume=")]
    return f"{shlex.join(words)} " if words else ""
