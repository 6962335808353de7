"""What a `rig mutate` is asked: its options, and how its folder keeps them for --resume."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringrig.cache import Say, writing
from ringrig.campaign import kept
from ringrig.campaign.result import VERDICTS
from ringrig.errors import BadSpec, RigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A command line and the folder it was typed in; `folder`: where to go on, which was of that `trial`."""

    arguments: list[str]
    where: Path
    chosen: argparse.Namespace
    folder: Path | None = None
    trial: str = ""


def ask(arguments: Sequence[str]) -> Asked:
    """What the command line says, or for --resume the one that its folder keeps. BadSpec: it keeps none."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    asked = Asked(arguments=list(arguments), where=Path.cwd(), chosen=chosen)
    if chosen.resume:
        others = {name: value for name, value in vars(chosen).items() if name not in {"resume", "guests"}}
        if any(value != parser.get_default(name) for name, value in others.items()):
            parser.error("--resume goes on with what was asked: it takes only -n")
        asked = _stored(chosen.resume.absolute(), parser, arguments)
    if asked.chosen.guests < 1 or asked.chosen.alone < 0:
        parser.error("-n takes at least 1, and --alone no less than 0")
    if asked.chosen.command and asked.chosen.alone:
        parser.error(
            "--alone is for the suite: a kernel of its own is judged by rig run, which knows no --command"
        )
    return asked


def store(asked: Asked, folder: Path, trial: str) -> None:
    """Into the campaign's folder, with what its verdicts are of: kernel, suite and cases; those of another are gone. NoSpace."""
    told = {"arguments": asked.arguments, "where": str(asked.where), "trial": trial}
    with writing("the campaign's folder", folder):
        if asked.trial != trial:
            (folder / VERDICTS).unlink(missing_ok=True)
    kept.keep(told, folder, where="the campaign's folder")


def _stored(folder: Path, parser: argparse.ArgumentParser, more: Sequence[str]) -> Asked:

    def read(told: dict[str, Any]) -> tuple[list[str], Path, str]:
        return told["arguments"], Path(told["where"]), told["trial"]

    arguments, where, trial = kept.kept(folder, read, what="mutants", look="ls runs")
    if not where.is_dir():
        raise BadSpec(f"{where} is gone, where {folder.name} was begun.", next_step="begin anew")
    chosen = parser.parse_args([*arguments, *more])
    return Asked(arguments=arguments, where=where, chosen=chosen, folder=folder, trial=trial)


@contextmanager
def resumable(folder: Path, say: Say) -> Iterator[None]:
    """Says how to go on where what is inside does not come to its end."""
    try:
        yield
    except (RigError, KeyboardInterrupt):
        say(f"stopped; what is judged is kept, go on with: rig mutate --resume {folder}")
        raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rig mutate",
        usage="rig mutate [OPTIONS] [CASE]…\n       rig mutate --resume FOLDER [-n N]",
        description="Build a kernel with mutants of io_uring in it, and see which ones the suite notices.",
    )
    add = parser.add_argument
    add("paths", nargs="*", default=["suites"], help="cases, as pytest takes them (default: suites)")
    add(
        "--kernel",
        default="source:6.12",
        metavar="K",
        help="source:X.Y or tree:PATH[@REV] (default: source:6.12)",
    )
    add("--guest", choices=["auto", "qemu", "uml"], default="auto")
    add("--config", action="append", default=[], metavar="NAME|FILE[,…]", help="configuration fragments")
    add("--patch", action="append", default=[], metavar="FILE|DIR", help="patches below the mutants")
    add("--catalogue", action="append", default=[], metavar="FILE", help="mutants (default: mutants/X.Y/)")
    add(
        "--generate",
        action="store_true",
        help="also mutants made mechanically, over all provided-buffer code",
    )
    add(
        "--only",
        action="append",
        default=[],
        metavar="GLOB|TOOL",
        help="try only mutants whose id matches, or that need this tool",
    )
    add(
        "--command",
        action="append",
        default=[],
        metavar="CMD",
        help="judge this program by its exit status, instead of the suite",
    )
    add("--full", action="store_true", help="name all cases that notice a mutant; try equivalent ones too")
    add(
        "--alone",
        type=int,
        default=0,
        metavar="N",
        help="then build N mutants as kernels of their own, and compare",
    )
    add(
        "-n",
        type=int,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        dest="guests",
        help="guests at a time",
    )
    add(
        "--resume",
        metavar="FOLDER",
        type=Path,
        help="go on in that folder with what was asked: what is judged there is not judged again",
    )
    return parser
