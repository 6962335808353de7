"""A repository with histories to bisect: Debian's 6.12 and 27 commits to io_uring, of which one breaks a case.

    python tests/long/bisect_history.py FOLDER

makes FOLDER with the tags `good`, `bad-sure`, `bad-flaky` and `bad-within`, and prints what is to be found. Three or more commits do
not build, one panics at boot, two warn in code that every case of a ring runs, the others change nothing that can be seen.
`sure`: the culprit is on the main line and the case fails each time; `flaky`: on a branch that was merged, 1 time in 3;
`within`: on the main line among commits that do not build.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ringrig.kernel import source
from ringrig.kernel.repo import Repo, git

CASE = "suites/status/test_head.py::test_publishing_moves_the_tail_only"
_KBUF, _CORE = "io_uring/kbuf.c", "io_uring/io_uring.c"
_HEAD = "\tbuf_status.head = bl->head;\n"
_FAULTS = {
    "sure": "\tbuf_status.head = bl->head + 1;\n",
    "flaky": "\tbuf_status.head = bl->head + !get_random_u32_below(3);\n",
}
_REGISTER = "int io_register_pbuf_ring(struct io_ring_ctx *ctx, void __user *arg)\n{\n"
_INIT = "static int __init io_uring_init(void)\n{\n"
_PANIC = '\tpanic("ringrig: no rings today");\n\n'
_WARN = "\tWARN_ON(!arg || current->mm);\n"
_FAULTY = "static int helper(struct nowhere there) { return there.x; }\n\n"
_NOTES = ("io_uring/nop.c", "io_uring/notif.c", "io_uring/splice.c")
_PART = "\n\nint ringrig_note_"


@dataclass(slots=True)
class Line:
    """A line of development: its tip, and its files where they differ from the base."""

    repo: Repo
    clock: Iterator[int]
    tip: str
    tree: str
    files: dict[str, str] = field(default_factory=dict)

    def commit(self, subject: str, path: str, old: str, new: str, *also: str) -> str:
        """One more commit, which puts `new` where `old` is; `also` are more parents."""
        text = self.files.get(path) or self.repo.show(self.tree, path)
        assert text.count(old) == 1, (subject, text.count(old))
        self.files[path] = text.replace(old, new)
        return self.record(subject, *also)

    def record(self, subject: str, *also: str) -> str:
        self.tree = self.repo.replace(self.tree, self.files)
        self.tip = commit(self.repo, self.clock, self.tree, subject, self.tip, *also)
        return self.tip

    def note(self, number: int) -> str:
        """A commit that changes an image, and nothing that can be seen."""
        path = _NOTES[number % 3]
        text = self.files.get(path) or self.repo.show(self.tree, path)
        name = f"ringrig_note_{number}"
        self.files[path] = f"{text.rstrip()}\n\nint {name}(void);\nint {name}(void) {{ return {number}; }}\n"
        return self.record(f"io_uring: note {number}")


def make(folder: Path) -> dict[str, str]:
    """The repository, and which commit broke the case in each kind of history."""
    origin = source.package("6.12", say=lambda line: print(line, file=sys.stderr))
    git(["init", "-q", "-b", "main", str(folder)])
    repo = Repo(path=folder / ".git")
    (repo.path / "objects/info/alternates").write_text(f"{origin.repo.path}/objects\n")
    culprits = {kind: _history(repo, origin.tree, kind) for kind in ("within", "flaky", "sure")}
    git(["update-ref", "refs/heads/main", "bad-sure"], where=folder)
    return culprits


def _history(repo: Repo, tree: str, kind: str) -> str:
    clock = itertools.count(1_700_000_000, 3600)
    main = Line(repo, clock, commit(repo, clock, tree, "Linux 6.12"), tree)
    tag(repo, "good", main.tip)
    fault = _FAULTS["flaky" if kind == "flaky" else "sure"]

    broken = ("io_uring/kbuf: tell the head of a ring faster", _KBUF, _HEAD, fault)
    main.note(1)
    main.note(2)
    main.note(3)
    main.commit("io_uring: look at what starts", _CORE, _INIT, _INIT + _PANIC)
    main.commit("io_uring: look again", _CORE, _PANIC, "")
    side = Line(repo, clock, main.tip, main.tree, dict(main.files))
    main.note(4)
    main.commit("io_uring/kbuf: count registrations", _KBUF, _REGISTER, _REGISTER + _WARN)
    main.note(5)
    main.commit("io_uring/kbuf: count no more", _KBUF, _WARN, "")
    for number in range(6, 9):
        side.note(number)
    culprit = side.commit(*broken) if kind == "flaky" else side.note(9)
    side.note(10)
    if kind == "flaky":
        main.files[_KBUF] = side.files[_KBUF]
    main.files |= {path: _merged(main, side, path) for path in _NOTES}
    main.record("Merge branch 'notes'", side.tip)
    main.note(11)
    if kind == "sure":
        culprit = main.commit(*broken)
    main.note(12)
    main.commit("io_uring/kbuf: a helper for later", _KBUF, _REGISTER, _FAULTY + _REGISTER)
    main.note(13)
    if kind == "within":
        culprit = main.commit(*broken)
    main.note(14)
    main.commit("io_uring/kbuf: the helper is not needed", _KBUF, _FAULTY, "")
    for number in range(15, 20):
        main.note(number)
    tag(repo, f"bad-{kind}", main.tip)
    return culprit


def _merged(main: Line, side: Line, path: str) -> str:
    """What both lines have added to a file."""
    ours, theirs = (line.files.get(path) or line.repo.show(line.tree, path) for line in (main, side))
    known = {part.rstrip() for part in ours.split(_PART)}
    fresh = [part.rstrip() for part in theirs.split(_PART)[1:]]
    return _PART.join([ours.rstrip(), *(part for part in fresh if part not in known)]) + "\n"


def tag(repo: Repo, name: str, made: str) -> None:
    git([f"--git-dir={repo.path}", "update-ref", f"refs/tags/{name}", made])


def commit(repo: Repo, clock: Iterator[int], tree: str, subject: str, *parents: str) -> str:
    who = {"NAME": "A Developer", "EMAIL": "developer@example.org", "DATE": f"{next(clock)} +0000"}
    roles = {f"GIT_{role}_{name}": value for role in ("AUTHOR", "COMMITTER") for name, value in who.items()}
    words = [word for parent in parents for word in ("-p", parent)]
    return subprocess.run(
        ["git", f"--git-dir={repo.path}", "commit-tree", tree, "-m", subject, *words],
        env={**os.environ, **roles},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.strip()


if __name__ == "__main__":
    for kind, culprit in make(Path(sys.argv[1]).absolute()).items():
        print(kind, culprit)
