"""A private git repository for a source: whatever is to be built is a tree object in it.

The user's repository lends its objects (git's alternates) and is only read: no worktree, index, ref or object
of theirs is made or changed. Patches are applied to an index, without any files, so that a patch which does not
apply leaves nothing behind; a checkout touches only files that differ, so that make rebuilds only what must be.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ringrig import cache
from ringrig.children import bound
from ringrig.errors import BadPatch, BadSpec, HostLacks, KernelUnavailable

# Large packs made once are faster than 90 000 files; none of the user's settings (filters, hooks) may act here.
_SETTINGS = (
    "core.bigFileThreshold=1",
    "core.compression=1",
    "core.autocrlf=false",
    "core.hooksPath=/dev/null",
    "core.fsync=none",
    "gc.auto=0",
    "advice.addEmbeddedRepo=false",
    # Read-only questions to a repository of another user's (a rig run as root) are harmless.
    "safe.directory=*",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repo:
    """A bare repository of the rig's at `path`."""

    path: Path

    @classmethod
    def make(cls, path: Path, *, lender: Path | None = None) -> Repo:
        """A new one; `lender` is the objects directory of a repository whose objects it may use."""
        git(["init", "-q", "--bare", str(path)])
        if lender is not None:
            (path / "objects/info/alternates").write_text(f"{lender}\n")
        return cls(path=path)

    def add(self, folder: Path, *, index: Path, ignored: bool) -> str:
        """The tree object of a folder's files as they are now, untracked ones too; `index` speeds the next time up.

        `ignored`: also what a .gitignore in it excludes (a source package has no build products).
        """
        force = ["-f"] if ignored else []
        self._with_files(folder, "add", "-A", *force, ".", index=index)
        return _line(self._git("write-tree", index=index))

    def apply(self, tree: str, patch: Path, *, to: str, called: str = "") -> str:
        """The tree with a patch applied to it. Raises BadPatch, in which `to` names the source, `called` or its path the patch."""
        with self._scratch_index() as index:
            self._git("read-tree", tree, index=index)
            done = self._try("apply", "--cached", "--whitespace=nowarn", str(patch.absolute()), index=index)
            if done.returncode:
                raise _refused(patch, _text(done.stderr), to=to, called=called or str(patch))
            return _line(self._git("write-tree", index=index))

    def checkout(self, tree: str, folder: Path, *, index: Path) -> None:
        """Makes the folder's files those of the tree; files that are right already keep their times."""
        folder.mkdir(exist_ok=True)
        self._with_files(folder, "read-tree", "--reset", "-u", tree, index=index)

    def show(self, tree: str, file: str) -> str:
        """The content of one file of a tree; "" if there is none."""
        done = self._try("cat-file", "blob", f"{tree}:{file}")
        return _text(done.stdout) if done.returncode == 0 else ""

    def replace(self, tree: str, files: Mapping[str, str]) -> str:
        """The tree with these files in it: their paths, and what they hold (latin-1: byte for byte)."""
        with self._scratch_index() as index:
            self._git("read-tree", tree, index=index)
            for path, text in files.items():
                content = index.with_name("content")
                content.write_text(text, encoding="latin-1")
                blob = _line(self._git("hash-object", "-w", "--no-filters", str(content)))
                self._git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", index=index)
            return _line(self._git("write-tree", index=index))

    def difference(self, one: str, other: str) -> bytes:
        """The diff between two trees or commits, of any file as of a text."""
        return self._git("diff-tree", "-r", "-p", "--text", "--full-index", one, other)

    @contextmanager
    def _scratch_index(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self.path) as folder:
            yield Path(folder, "index")

    def _with_files(self, folder: Path, *arguments: str, index: Path) -> None:
        """Of an index that lasts, whose users hold Origin.lock: git's own lock on it is what a git left that was killed."""
        index.with_name(f"{index.name}.lock").unlink(missing_ok=True)
        place = {**self._place(index), "GIT_WORK_TREE": str(folder)}
        _answer(_run(arguments, env=place, cwd=folder, through=bound), arguments)

    def _place(self, index: Path | None) -> dict[str, str]:
        return {"GIT_DIR": str(self.path), **({"GIT_INDEX_FILE": str(index)} if index else {})}

    def _try(self, *arguments: str, index: Path | None = None) -> subprocess.CompletedProcess[bytes]:
        return _run(arguments, env=self._place(index))

    def _git(self, *arguments: str, index: Path | None = None) -> bytes:
        return _answer(self._try(*arguments, index=index), arguments)


def git(arguments: list[str], *, where: Path | None = None) -> str:
    """What git answers, in `where`, as text. Raises KernelUnavailable with git's complaint, NoSpace."""
    return _line(git_bytes(arguments, where=where))


def git_bytes(arguments: list[str], *, where: Path | None = None, given: bytes = b"") -> bytes:
    """As git(), but byte for byte, as a patch must stay; `given` is what git reads."""
    return _answer(_run(arguments, cwd=where, given=given), arguments)


def asks(arguments: list[str], *, where: Path) -> str | None:
    """What git answers to a question that may have no answer: None then."""
    done = _run(arguments, cwd=where)
    return _text(done.stdout).strip() if done.returncode == 0 else None


def commit_of(revision: str, *, where: Path) -> str | None:
    """The commit that a revision names, if it names one."""
    return asks(
        ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"], where=where
    )


def resolved(revision: str, *, where: Path) -> str:
    """The commit that a revision names. BadSpec."""
    if found := commit_of(revision, where=where):
        return found
    raise BadSpec(f"{where} has no revision {revision!r}.", next_step=f"git -C {where} log --oneline -5")


def _text(said: bytes) -> str:
    return said.decode(errors="replace")


def _line(said: bytes) -> str:
    """Text without the last line's end."""
    return _text(said).strip("\n")


def _answer(done: subprocess.CompletedProcess[bytes], arguments: tuple[str, ...] | list[str]) -> bytes:
    if b"No space left" in done.stderr:
        raise cache.full(f"git {arguments[0]} kept the source in the cache")
    if done.returncode:
        raise KernelUnavailable(
            f"git {arguments[0]} failed: {_text(done.stderr).strip()[-600:]}",
            next_step="if the tree was moved or pruned: rig cache clear origins, and run again",
        )
    return done.stdout


def _run(
    arguments: tuple[str, ...] | list[str],
    *,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    given: bytes = b"",
    through: Callable[[list[str]], list[str]] = list,
) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("git")
    if program is None:
        raise HostLacks("There is no git here.", next_step="install it (Debian: apt-get install git)")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    own = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_OPTIONAL_LOCKS": "0"}
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    return subprocess.run(
        through([program, *settings, *arguments]),
        env={**kept, "LC_ALL": "C", **own, **(env or {})},
        cwd=cwd,
        input=given,
        capture_output=True,
        check=False,
    )


def _refused(patch: Path, complaint: str, *, to: str, called: str) -> BadPatch:
    """git's complaint with the hunk it means."""
    said = re.findall(r"^error: (.*)", complaint, re.MULTILINE) or [complaint.strip() or "git gave no reason"]
    lines = []
    for what in said:
        place = re.fullmatch(r"patch failed: (.+):(\d+)", what)
        lines.append(f"{place[1]}, the hunk at line {place[2]}:" if place else what)
        if place:
            lines += [f"  | {line}" for line in _hunk(patch, place[1], int(place[2]))]
    listing = "\n    ".join(lines)
    return BadPatch(
        f"{called} does not apply to {to}:\n    {listing}",
        next_step="rebase it on that source, or take the source it was made for; nothing was changed",
    )


def _hunk(patch: Path, file: str, line: int) -> list[str]:
    """The head and first lines of the hunk of `file` that begins at `line` of the old file."""
    inside = False
    found: list[str] = []
    for text in patch.read_text(errors="replace").splitlines():
        if found:
            if text.startswith(("@@", "diff ", "--- ")) or len(found) > 8:
                break
            found.append(text)
        elif text.startswith(("--- ", "+++ ")):
            inside = text[4:].split("\t")[0].partition("/")[2] == file
        elif inside and re.match(rf"@@ -{line}\b", text):
            found.append(text)
    return found
