"""`rig matrix`: the same cases on many kernels, in one table."""

from __future__ import annotations

import argparse
import re
import shlex
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringrig import runs
from ringrig.cache import Say
from ringrig.campaign import crew
from ringrig.campaign.job import Job, Result, interrupted, job
from ringrig.errors import BadSpec, RigError
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
    chosen = _parser().parse_intermixed_args(arguments)
    jobs = _jobs(chosen, root)
    if chosen.resume:
        folder = Path(chosen.resume).absolute()
        if not folder.is_dir():
            raise BadSpec(f"There is no {folder} to go on with.", next_step="`ls runs` shows what was begun")
    else:
        folder = runs.new_folder(root, "matrix")
    matrix = Matrix(folder=folder, suite=suite_version(root), left=jobs)
    places = [(one, folder / _fit(one.name)) for one in jobs]
    found: dict[str, Result] = {}
    again = f"go on with: rig matrix {_again(arguments)} --resume {folder}"
    try:
        with suppress(KeyboardInterrupt), crew.crew(chosen, root=root, suite=matrix.suite, say=say) as hands:
            for one in hands.results(places):
                if not interrupted(one.folder, one.exit_code):
                    found[one.job.name] = one
                    say(f"{len(found)} of {len(jobs)}: {one.job.name}: {one.verdict} ({one.seconds:.0f} s)")
    except RigError:
        if any(folder.iterdir()):
            say(again)
        else:
            folder.rmdir()
        raise
    matrix.results = [found[each.name] for each in jobs if each.name in found]
    matrix.left = [each for each in jobs if each.name not in found]
    if matrix.left:
        say(f"interrupted; {again}")
    return matrix


def _again(arguments: Sequence[str]) -> str:
    """The command line without --resume."""
    rest = iter(arguments)
    kept = [word for word in rest if not (word == "--resume" and next(rest, True))]
    return shlex.join(word for word in kept if not word.startswith("--resume="))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rig matrix",
        usage="rig matrix FILE [--resume FOLDER] [-n N] [--jobs K | --cluster ADDRESS] [CASE]…",
        description="Run the same cases on many kernels.",
    )
    add = parser.add_argument
    add(
        "given",
        nargs="+",
        metavar="FILE",
        help="a TOML file that lists kernels (docs/matrix.md), then cases, if not its own",
    )
    add("--resume", metavar="FOLDER", help="go on in that folder: what is done there is not done again")
    crew.options(parser)
    return parser


def _jobs(chosen: argparse.Namespace, root: Path) -> list[Job]:
    path = Path(chosen.given[0])
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSpec(f"{path} cannot be read: {error.strerror}.", next_step="name a TOML file") from error
    except ValueError as error:
        raise BadSpec(f"{path} is not TOML: {error}.", next_step="docs/matrix.md has an example") from error
    tables: list[dict[str, Any]] = told.get("kernel", [])
    if wrong := sorted(set(told) - {"cases", "kernel"}):
        raise BadSpec(f"{path} has no use for {', '.join(wrong)}.", next_step="docs/matrix.md has an example")
    if not tables:
        raise BadSpec(f"{path} lists no kernel.", next_step='add one: [[kernel]] with kernel = "debian:6.12"')
    cases = runs.from_here(chosen.given[1:]) or told.get("cases", ["suites"])
    jobs = [job(table, cases=cases, base=path.absolute().parent) for table in tables]
    names = [_fit(one.name) for one in jobs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadSpec(f"{path}: {', '.join(twice)} is there twice.", next_step='give each a name = "…"')
    return jobs


def _fit(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", name)
