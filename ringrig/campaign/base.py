"""What a series stands on: which kernel, which prerequisites; and whether every patch applies, before anything is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ringrig.cache import Say
from ringrig.campaign.patches import DIFF, Given, Patch, of_commit, patch_id, write
from ringrig.errors import BadPatch, BadSpec
from ringrig.kernel import source
from ringrig.kernel.repo import Repo, commit_of, git, git_bytes, resolved
from ringrig.kernel.source import Origin
from ringrig.kernel.spec import FORMS, debian_series

_SEARCHED = 3000
"""So many commits that the base lacks are looked through for a prerequisite, the newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """`spec` as --kernel takes it; `why` it is that one; `prerequisites` go on top of it, before the series."""

    spec: str
    why: str
    prerequisites: tuple[Patch, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The series in git's objects: `trees[0]` is the base with its prerequisites, `trees[n]` has the first n patches."""

    repo: Repo
    source: str
    """The tree of what --kernel names, without prerequisites."""
    trees: tuple[str, ...]

    def changes(self, first: int, last: int) -> str:
        """The diff that patches make, from the one numbered `first` to `last`."""
        return self.repo.difference(self.trees[first - 1], self.trees[last]).decode(errors="replace")

    def whole(self, last: int) -> bytes:
        """The diff from what --kernel names to the tree with the first `last` patches."""
        return self.repo.difference(self.source, self.trees[last])


def choose(given: Given, *, kernel: str | None, tree: Path | None, revision: str | None) -> Base:
    """--kernel, or --base of --tree; without a --base what the series says (base-commit), else HEAD.

    BadSpec: a kernel that is not built here, an unknown revision. BadPatch: a prerequisite that is nowhere to be had.
    """
    if kernel is not None:
        if tree is not None or revision is not None:
            raise BadSpec(
                "--kernel names the base already.", next_step="leave out --tree and --base, or --kernel"
            )
        return _of_kernel(kernel, given)
    if tree is None:
        raise BadSpec(
            "No kernel is named for the series.", next_step="add --tree PATH or --kernel source:6.12"
        )
    if revision is not None:
        return Base(spec=f"tree:{tree}@{resolved(revision, where=tree)}", why=f"--base {revision}")
    if given.base:
        if (base := commit_of(given.base, where=tree)) is None:
            raise BadSpec(
                f"The series says it stands on base-commit {given.base}, which {tree} does not have.",
                next_step=f"git -C {tree} fetch the branch that has it, or name another with --base REV",
            )
        first = tuple(_prerequisites(given, tree, base))
        more = f" and {len(first)} prerequisites" if first else ""
        return Base(
            spec=f"tree:{tree}@{base}",
            why=f"{base[:12]}, which the series names{more}",
            prerequisites=first,
        )
    return Base(
        spec=f"tree:{tree}@{resolved('HEAD', where=tree)}", why="HEAD, as the series names no base-commit"
    )


def _of_kernel(kernel: str, given: Given) -> Base:
    if (debian_series(kernel) or ("", ""))[0] != "source" and not kernel.startswith("tree:"):
        forms = "\n".join(
            f"    {form:24}{meaning}" for form, meaning in FORMS if form.startswith(("source", "tree"))
        )
        raise BadSpec(
            f"--kernel {kernel} is not built here, so no patch can be put into it.",
            next_step=f"take one of\n{forms}",
        )
    left = _unmet(given)
    if left:
        raise _missing(left, f"{kernel} has no history to look for it in")
    about = f"; its base-commit {given.base[:12]} says nothing there" if given.base else ""
    return Base(spec=kernel, why=f"--kernel {kernel}{about}")


def _unmet(given: Given) -> list[str]:
    """Prerequisites that the series does not bring itself."""
    if not given.prerequisites:
        return []
    own = {patch_id(one.content) for one in given.patches}
    return [wanted for wanted in given.prerequisites if wanted not in own]


def _missing(wanted: Sequence[str], where: str) -> BadPatch:
    return BadPatch(
        f"The series needs a patch first that is not to be had: prerequisite-patch-id {', '.join(wanted)}; {where}.",
        next_step="fetch the branch that has it, or name a --base REV that has it already; "
        "or put its patch before the others into one folder",
    )


def _prerequisites(given: Given, tree: Path, commit: str) -> Iterator[Patch]:
    """The patches it wants on top of its base-commit, from the tree's branches, in the order that it names them."""
    wanted = _unmet(given)
    if not wanted:
        return
    listed = ["rev-list", f"-n{_SEARCHED}", "--no-merges", "--all", "HEAD", "--not", commit]
    commits = git(listed, where=tree).split()
    ids = dict(_ids(tree, commits))
    if left := [one for one in wanted if one not in ids]:
        raise _missing(left, f"it is none of the {len(commits)} commits of {tree} that {commit[:12]} lacks")
    for number, one in enumerate(wanted, start=1):
        yield of_commit(ids[one], tree=tree, number=number)


def _ids(tree: Path, commits: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The patch-id of each commit, and the commit."""
    told = "".join(f"{commit}\n" for commit in commits).encode()
    diffs = git_bytes(["diff-tree", "--stdin", *DIFF], where=tree, given=told)
    for line in git_bytes(["patch-id", "--stable"], given=diffs).decode().splitlines():
        found, commit = line.split()
        yield found, commit


def apply(given: Given, base: Base, folder: Path, *, say: Say) -> Applied:
    """Every patch on top of the one before, in git's objects; `folder` gets their files.

    BadPatch: one does not apply, with its number, what it came from, file and hunk; and RigErrors of the base's source.
    """
    origin = source.named(base.spec, say=say)
    assert origin is not None
    first = _stack(origin, origin.tree, base.prerequisites, folder / "prerequisites", noun="Prerequisite")
    trees = _stack(origin, first[-1], given.patches, folder, noun="Patch")
    return Applied(repo=origin.repo, source=origin.tree, trees=trees)


def _stack(
    origin: Origin, tree: str, patches: Sequence[Patch], folder: Path, *, noun: str
) -> tuple[str, ...]:
    """The tree, and that with each patch on top of those before it."""
    write(patches, folder)
    trees = [tree]
    for one in patches:
        before = f" with the {one.number - 1} patches before it" if one.number > 1 else ""
        try:
            trees.append(
                origin.repo.apply(trees[-1], folder / one.file, to=f"{origin.label}{before}", called="it")
            )
        except BadPatch as error:
            source = f" ({one.source})" if one.source else ""
            raise BadPatch(
                f"{noun} {one.number} of {len(patches)}, {one.subject!r}{source}: {error.what}",
                next_step="name the base it was made for (--base, --kernel), or rebase it; nothing was changed",
            ) from error
    return tuple(trees)
