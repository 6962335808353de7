"""A range of commits as git tells it. The user's repository is only asked: no ref, index or file of it changes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ringrig.errors import BadSpec, WrongEnds
from ringrig.kernel.repo import asks, git

SHORT = 12
_PLAIN = ("--no-show-signature", "--encoding=UTF-8")
"""Whatever the repository's own settings are."""
_FORMAT = "%H%x00%s%x00%an%x00%ae%x00%as%x00%P"


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """`day` is the author's, as 2024-05-31; ids are 40 hex digits."""

    id: str
    subject: str
    author: str
    mail: str
    day: str
    parents: tuple[str, ...]

    @property
    def short(self) -> str:
        return self.id[:SHORT]

    def __str__(self) -> str:
        return f"{self.short} ({self.subject!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The commits that may have broken the case: those of `bad` that `good` has not, parents first.

    `bases`: merge bases of ends that have parted, which must be good, too; () where good is an ancestor of bad.
    """

    good: str
    bad: str
    parents: Mapping[str, tuple[str, ...]]
    bases: tuple[str, ...] = ()
    facts: Mapping[str, Commit] = field(default_factory=dict)


def repository(given: str) -> Path:
    """The top directory of a kernel's repository. BadSpec."""
    path = Path(given).expanduser().absolute()
    top = asks(["rev-parse", "--show-toplevel"], where=path) if path.is_dir() else None
    if top is None or Path(top).resolve() != path.resolve():
        what = "the top directory of a git repository" if path.is_dir() else "a directory"
        raise BadSpec(
            f"{path} is not {what}.",
            next_step="name a kernel's git tree, one with files, with --tree PATH",
        )
    return path


def history(tree: Path, good: str, bad: str) -> History:
    """What lies between two commits. WrongEnds: nothing does."""
    ends = f"{about(tree, good)} is good and {about(tree, bad)} is bad"
    if good == bad:
        raise WrongEnds(
            f"The range is empty: --good and --bad both name {about(tree, bad)}.",
            next_step="name an older commit with --good",
        )
    bases = tuple((asks(["merge-base", "--all", good, bad], where=tree) or "").split())
    if not bases:
        raise WrongEnds(
            f"{ends}, and they have no common history.",
            next_step="name two of one history; a shallow clone may lack it: git fetch --unshallow",
        )
    if bases == (bad,):
        raise WrongEnds(
            f"The range is empty: {ends}, but bad is an ancestor of good.",
            next_step="swap them, if the case fails on the newer one; rig bisect does not look for what repaired a case",
        )
    told = git(
        ["log", "--topo-order", "--reverse", *_PLAIN, f"--format={_FORMAT}", bad, "--not", good, *bases],
        where=tree,
    )
    facts = {commit.id: commit for commit in map(_commit, told.split("\n"))}
    return History(
        good=good,
        bad=bad,
        parents={name: commit.parents for name, commit in facts.items()},
        bases=() if bases == (good,) else bases,
        facts=facts,
    )


def about(tree: Path, commit: str) -> Commit:
    """A commit's facts."""
    return _commit(git(["log", "-1", *_PLAIN, f"--format={_FORMAT}", commit], where=tree))


def _commit(told: str) -> Commit:
    name, subject, author, mail, day, parents = told.split("\0")
    return Commit(id=name, subject=subject, author=author, mail=mail, day=day, parents=tuple(parents.split()))


def release(tree: Path, commit: str) -> str:
    """The kernel's version at a commit, as its Makefile has it: 6.12.117. BadSpec: it is no kernel."""
    makefile = asks(["show", f"{commit}:Makefile"], where=tree) or ""
    found = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)$", makefile, re.MULTILINE))
    if not {"VERSION", "PATCHLEVEL"} <= set(found):
        raise BadSpec(
            f"{tree} is no kernel tree at {about(tree, commit)}: its Makefile has no version.",
            next_step="name a Linux tree with --tree PATH",
        )
    return ".".join(found.get(name, "0") for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL"))


def log(verdicts: Iterable[tuple[Commit, str]], first: Iterable[Commit]) -> str:
    """What `git bisect replay` takes: (commit, good|bad|skip) in order; `first`: what it may be in the end.

    git would stop where `start` names ends that have parted, so none are named, and the merge base is to come before them.
    """
    lines = ["git bisect start", "# status: waiting for both good and bad commits"]
    for commit, word in verdicts:
        lines += [f"# {word}: [{commit.id}] {commit.subject}", f"git bisect {word} {commit.id}"]
    found = list(first)
    words = "first bad commit" if len(found) == 1 else "possible first bad commit"
    lines += [f"# {words}: [{commit.id}] {commit.subject}" for commit in found]
    return "\n".join(lines) + "\n"
