"""What a `rig series` is asked to do, and how its folder keeps that for --resume."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ringrig import runs
from ringrig.cache import Say
from ringrig.campaign import base as bases
from ringrig.campaign import crew, intake, kept, nearest
from ringrig.campaign.base import Base
from ringrig.campaign.history import repository
from ringrig.campaign.patches import Given, Patch
from ringrig.errors import BadSpec
from ringrig.kernel.repo import asks

_WITH_RESUME = {"resume", "workers", "jobs", "cluster", "b4_check", "b4_prep_check"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A series and how it is to be tested. `cases` are absolute or node ids, as runs.from_here() leaves them."""

    given: Given
    base: Base
    guest: str
    configs: tuple[str, ...]
    cases: tuple[str, ...]
    only_tip: bool
    allow_skips: bool
    lines: bool

    @property
    def numbers(self) -> list[int]:
        """Of the patches to be tested: each with those before it."""
        last = len(self.given.patches)
        return [last] if self.only_tip else list(range(1, last + 1))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="rig series",
        usage="rig series [--tree PATH [--base REV] | --kernel K] [--jobs K | --cluster ADDRESS] [options] MBOX|DIR|RANGE [CASE]…",
        description="Build, boot and test each patch of a series, and say which one breaks what.",
    )
    add = made.add_argument
    add(
        "given",
        nargs="*",
        metavar="MBOX|DIR|RANGE",
        help="a thread, a folder of patches, a patch, - or A..B; then cases",
    )
    add(
        "--tree",
        metavar="PATH",
        help="the git tree that the series is for (default: the one you stand in)",
    )
    add("--base", metavar="REV", help="what it is applied to (default: its base-commit, else HEAD)")
    add("--kernel", metavar="K", help="in place of --tree: source[:X.Y], tree:PATH[@REV]")
    add("--guest", choices=["auto", "qemu", "uml"], default="auto")
    add("--config", action="append", default=[], metavar="NAME|FILE[,…]", help="configuration fragments")
    add("--revision", type=int, metavar="N", help="of a thread with several (default: the newest)")
    add("--only-tip", action="store_true", help="test the whole series at once, not each patch")
    add(
        "--allow-skips",
        action="store_true",
        help="a case that is left out with the series only is no regression",
    )
    add(
        "--no-lines",
        action="store_true",
        help="do not look which of the changed lines ran (builds without gcov)",
    )
    add("--resume", metavar="FOLDER", type=Path, help="go on in that folder; nothing else needs to be named")
    add(
        "--b4-check",
        action="store_true",
        help="print b4's JSON (b4.review-series-check-cmd, …-perpatch-check-cmd)",
    )
    add("--b4-prep-check", action="store_true", help="print complaints only (b4.prep-perpatch-check-cmd)")
    crew.options(made)
    return made


def ask(chosen: argparse.Namespace, given: Given, cases: Sequence[str], *, root: Path, say: Say) -> Asked:
    """What is to be done. BadSpec: no such case, kernel or base; BadPatch: a prerequisite is missing."""
    for note in given.notes:
        say(note)
    tree = tree_of(chosen)
    base = bases.choose(given, kernel=chosen.kernel, tree=tree, revision=chosen.base)
    if base.spec.startswith("tree:") and chosen.kernel:
        base = replace(base, spec=runs.kernel_from_here(base.spec))
    wanted = tuple(runs.from_here(list(cases))) or ("suites",)
    nearest.known(wanted, root=root)
    return Asked(
        given=given,
        base=base,
        guest=chosen.guest,
        configs=runs.configs_from_here(chosen.config),
        cases=wanted,
        only_tip=chosen.only_tip,
        allow_skips=chosen.allow_skips,
        lines=not chosen.no_lines,
    )


def taken(chosen: argparse.Namespace) -> tuple[Given, list[str]]:
    """The series that is named, and the cases behind it. BadSpec: none is named, or it is none; BadPatch."""
    if not chosen.given:
        raise BadSpec(
            "No series is named.", next_step="name a mailbox, a folder of patches, or a range (rig series -h)"
        )
    first, *cases = chosen.given
    return intake.take(first, tree=tree_of(chosen), revision=chosen.revision), cases


def tree_of(chosen: argparse.Namespace) -> Path | None:
    """--tree, or without --kernel the git tree that the user stands in. BadSpec: the one that is named is none."""
    if chosen.tree is not None:
        return repository(chosen.tree)
    top = asks(["rev-parse", "--show-toplevel"], where=Path.cwd()) if not chosen.kernel else None
    return Path(top) if top is not None and Path(top, "io_uring").is_dir() else None


def refuse_others(chosen: argparse.Namespace) -> None:
    """BadSpec: something is named that --resume would not heed."""
    unnamed = vars(parser().parse_intermixed_args([]))
    if any(value != unnamed[name] for name, value in vars(chosen).items() if name not in _WITH_RESUME):
        raise BadSpec(
            "--resume goes on with what was asked: it takes only -n, --jobs and --cluster.",
            next_step=f"rig series --resume {chosen.resume}, or begin anew without --resume",
        )


def again(chosen: argparse.Namespace, folder: Path) -> str:
    """The command that goes on in the folder, with the same crew."""
    return shlex.join(["rig", "series", "--resume", str(folder), *crew.repeated(chosen, parser())])


def store(asked: Asked, folder: Path, trees: Sequence[str] = ()) -> None:
    """Into the folder of the series, beside the patches' own files; `trees`: what it comes to, once it is applied. NoSpace."""
    told = asdict(asked)
    for patch in (*told["given"]["patches"], *told["base"]["prerequisites"]):
        patch["content"] = patch["content"].decode("latin-1")
    kept.keep({"asked": told, "trees": list(trees)}, folder, where="the series' folder")


def stored(folder: Path) -> tuple[Asked, tuple[str, ...]]:
    """What store() kept, and the trees it came to: () before it was applied. BadSpec: the folder holds no series."""

    def read(told: dict[str, Any]) -> tuple[Asked, tuple[str, ...]]:
        return _asked(told["asked"]), tuple(told["trees"])

    return kept.kept(folder, read, what="series", look="ls -d runs/*_series")


def _asked(told: dict[str, Any]) -> Asked:
    given, base = told["given"], told["base"]
    for part, name in ((given, "patches"), (base, "prerequisites")):
        part[name] = [Patch(**{**one, "content": one["content"].encode("latin-1")}) for one in part[name]]
    return Asked(**_tuples({**told, "given": Given(**_tuples(given)), "base": Base(**_tuples(base))}))


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
