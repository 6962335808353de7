"""What `rig bisect` is asked: its options, checked, and kept in the campaign's folder for --resume."""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ringrig import runs
from ringrig.campaign import crew, kept, nearest
from ringrig.campaign.history import history, release, repository
from ringrig.kernel.repo import resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a bisection is to do. Revisions are commits by now; `passes` 0: as many as the confidence needs."""

    tree: str
    good: str
    bad: str
    words: tuple[str, ...]
    guest: str
    configs: tuple[str, ...]
    confidence: float
    passes: int


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="rig bisect",
        usage="rig bisect --tree PATH --good REV --bad REV NODEID|-k EXPR [OPTIONS]\n"
        "       rig bisect --resume FOLDER\n"
        "       git bisect run rig bisect --step [--tree PATH] NODEID|-k EXPR [OPTIONS]",
        description="Find the commit that broke a case. docs/bisect.md says how.",
    )
    add = made.add_argument
    add(
        "case",
        nargs="?",
        metavar="NODEID",
        help="the case that fails; of a file's or folder's cases one that does",
    )
    add(
        "-k",
        metavar="EXPR",
        dest="expression",
        help="instead of a node id: of the cases that match, one that fails",
    )
    add("--tree", metavar="PATH", help="the kernel's git repository; nothing in it is changed")
    add("--good", metavar="REV", help="a commit on which the case passes")
    add("--bad", metavar="REV", help="a later one on which it fails")
    add(
        "--confidence",
        type=_share,
        default=0.99,
        metavar="P",
        help="that the answer is right (default: 0.99)",
    )
    add(
        "-n",
        type=crew.count,
        default=0,
        metavar="N",
        dest="passes",
        help="N passes make a commit good (default: as many as the confidence needs)",
    )
    add("--guest", choices=["auto", "qemu", "uml"], default="auto")
    add("--config", action="append", default=[], metavar="NAME|FILE[,…]", help="configuration fragments")
    add(
        "--jobs", type=crew.count, default=1, metavar="K", help="commits at a time: fewer rounds (default: 1)"
    )
    add("--cluster", metavar="ADDRESS", help="send them to that scheduler's workers (docs/scale.md)")
    add("--resume", metavar="FOLDER", help="go on in that folder: what is done there is not done again")
    add(
        "--step",
        action="store_true",
        help="the script of `git bisect run`: only say what the tree is as it stands now",
    )
    made.set_defaults(workers=1)
    return made


def _share(text: str) -> float:
    with suppress(ValueError):
        if 0.5 <= (value := float(text)) < 1:
            return value
    raise argparse.ArgumentTypeError(f"{text} is no probability from 0.5 to below 1")


def new(chosen: argparse.Namespace, refuse: argparse.ArgumentParser, root: Path) -> tuple[Asked, Path]:
    if not (chosen.tree and chosen.good and chosen.bad):
        refuse.error("--tree, --good and --bad are needed")
    tree = repository(chosen.tree)
    good, bad = resolved(chosen.good, where=tree), resolved(chosen.bad, where=tree)
    asked = Asked(
        tree=str(tree),
        good=good,
        bad=bad,
        words=words(chosen, refuse, root),
        guest=chosen.guest,
        configs=runs.configs_from_here(chosen.config),
        confidence=chosen.confidence,
        passes=chosen.passes,
    )
    release(tree, good)
    history(tree, good, bad)  # these refuse before anything is left in a folder
    folder = runs.new_folder(root, "bisect")
    kept.keep(asdict(asked), folder, where="the bisection's folder")
    return asked, folder


def words(chosen: argparse.Namespace, refuse: argparse.ArgumentParser, root: Path) -> tuple[str, ...]:
    """The cases that are asked for, as pytest is told. BadSpec: there are none of that name."""
    if bool(chosen.case) == bool(chosen.expression):
        refuse.error("name the case that fails, or several with -k")
    given = runs.from_here([chosen.case]) if chosen.case else ["suites", "-k", chosen.expression]
    found = nearest.known(given, root=root)
    return tuple(found if len(found) == 1 else given)


def again(chosen: argparse.Namespace, refuse: argparse.ArgumentParser) -> tuple[Asked, Path]:
    """What `--resume` goes on with. BadSpec: its folder holds no bisection."""
    fixed = ("case", "expression", "tree", "good", "bad", "guest", "config", "confidence", "passes")
    if any(getattr(chosen, name) != refuse.get_default(name) for name in fixed):
        refuse.error("--resume goes on with what was asked: it takes only --jobs and --cluster")
    folder = Path(chosen.resume).absolute()

    def read(told: dict[str, Any]) -> Asked:
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in told.items()
        }
        return Asked(**fields)

    return kept.kept(folder, read, what="bisection", look="ls -d runs/*_bisect"), folder
