"""The patches of a series, whatever they came as: mail, bare diff, or commit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ringrig.campaign.history import about
from ringrig.kernel.repo import git_bytes

DIFF = ("-p", "--binary", "--full-index", "--no-ext-diff", "--no-textconv")
"""Of `git diff-tree`, which beside these heeds no setting of the tree's: prefixes, colours and the like are for people."""
_DIFF = re.compile(rb"^(?:diff --git |--- \S)", re.MULTILINE)
_HUNK = re.compile(r"^@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """`content` is what `git apply` takes: a mail that is decoded, or a bare diff. `number` counts from 1."""

    number: int
    subject: str
    content: bytes
    author: str = ""
    message_id: str = ""
    source: str = ""
    """The file, mailbox or commit that it came from."""

    @property
    def file(self) -> str:
        """Its file's name: those of a series sort in their order."""
        words = re.sub(r"[^A-Za-z0-9]+", "-", self.subject).strip("-")
        return f"{self.number:04}-{words[:48].rstrip('-') or 'patch'}.patch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A series as it was handed in.

    `base` is the commit it says it stands on, or ""; `prerequisites` are the patch-ids it says it needs on top of that.
    """

    title: str
    patches: tuple[Patch, ...]
    revision: int = 1
    base: str = ""
    prerequisites: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def of_commit(commit: str, *, tree: Path, number: int = 1) -> Patch:
    """A commit as a mail; of a merge what it brings to its first parent. Raises as repo.git()."""
    told = about(tree, commit)
    mail = ["diff-tree", "--format=email", "--encoding=UTF-8", "--diff-merges=first-parent", *DIFF, commit]
    return Patch(
        number=number,
        subject=told.subject,
        author=f"{told.author} <{told.mail}>",
        source=f"commit {told.short}",
        content=git_bytes(mail, where=tree),
    )


def has_diff(content: bytes) -> bool:
    return bool(_DIFF.search(content))


def changed(diff: str) -> dict[str, list[int]]:
    """The lines that a diff adds, by file, as they are numbered afterwards; where it only removes, the line that follows."""
    found: dict[str, list[int]] = {}
    for part in re.split(r"^(?=diff --git )", diff, flags=re.MULTILINE):
        name = re.search(r"^\+\+\+ b/(.+?)\t?$", part, re.MULTILINE)
        if name is None:
            continue
        lines = found.setdefault(name[1], [])
        for hunk in re.split(r"^(?=@@ )", part, flags=re.MULTILINE)[1:]:
            head = _HUNK.match(hunk)
            assert head is not None
            lines += _of_hunk(hunk.split("\n")[1:], int(head[1]))
    return {name: sorted(set(lines)) for name, lines in found.items()}


def _of_hunk(rows: Sequence[str], number: int) -> list[int]:
    added: list[int] = []
    pending = 0
    for row in rows:
        if row.startswith("+"):
            added.append(number)
            pending, number = 0, number + 1
        elif row.startswith("-"):
            # What takes its place stands either in this block or, with nothing in it, right below.
            pending = 0 if added and added[-1] == number - 1 else number
        elif row.startswith(" ") or not row:
            if pending == number and row:
                added.append(number)
            pending, number = 0, number + 1
    return added


def patch_id(content: bytes) -> str:
    """git's id of what a patch changes, whatever its line numbers; "" where git knows none (a diff without its head)."""
    return git_bytes(["patch-id", "--stable"], given=content).decode().partition(" ")[0]


def write(patches: Sequence[Patch], folder: Path) -> None:
    """Each into a file of the folder. OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in patches:
        (folder / one.file).write_bytes(one.content)
