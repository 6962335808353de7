"""The one folder outside the clone that the rig writes: kernels, package lists, an SSH server, roots.

An entry is a directory `<kind>/<name>` that is either complete or not there: it is made beside its place
and renamed. A lock file for each entry outlives it. Whoever uses an entry holds the lock shared until the
process ends, whoever makes or removes one holds it exclusively, so two rigs at once neither disturb each
other nor lose what a guest is using.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ringrig.errors import NoSpace

Say = Callable[[str], None]
Make = Callable[[Path], None]

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}
_WHOLE = {"ccache", "build-logs"}
"""Folders whose parts mean nothing by themselves."""
_held: dict[Path, TextIO] = {}
"""Locks by the entry's place: a process may have to do with two cache folders, one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing in the cache: its name as `rig cache` prints and takes it, its place, its size in bytes."""

    name: str
    path: Path
    size: int


def folder() -> Path:
    """The cache folder, whether it exists or not: $XDG_CACHE_HOME/ringrig, else ~/.cache/ringrig."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification says to ignore a relative one.
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "ringrig"


def safe_name(name: str) -> str:
    """The name with nothing in it that virtme-ng's unquoted command lines would take amiss."""
    return re.sub(r"[^A-Za-z0-9_+.-]", "_", name)


@contextlib.contextmanager
def writing(what: str, where: Path | None = None) -> Iterator[None]:
    """Turns a full or unwritable file system met while writing `what` into NoSpace.

    `where`: the folder it is written into; default: the cache, which the error's next step speaks of then only.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, NoSpace) or error.errno not in _FULL | _FORBIDDEN:
            raise
        named = error.filename2 or error.filename  # of a copy the one that is written
        place = Path(os.fsdecode(named)) if named else where or folder()
        doing = f"writing {what} ({place})"
        if error.errno in _FULL and where is None:
            raise full(doing) from error
        if error.errno in _FULL:
            raise NoSpace(f"No space left while {doing}.", next_step="free some space there") from error
        another = ", or name another with XDG_CACHE_HOME=/some/folder" if where is None else ""
        raise NoSpace(
            f"Cannot write {what}: {error.strerror} ({place}).",
            next_step=f"make that folder writable{another}",
        ) from error


def full(doing: str) -> NoSpace:
    """The error for a disk that filled up."""
    return NoSpace(
        f"No space left while {doing}.",
        next_step="free some space: `rig cache` lists what is kept, `rig cache clear` removes it",
    )


def need_space(what: str, size: int) -> None:
    """Raises NoSpace unless the cache's file system has `size` bytes and a little more free."""
    size += 64 << 20
    with writing("the cache folder"):
        folder().mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder()).free
    if free < size:
        raise NoSpace(
            f"{what} needs {size >> 20} MB in {folder()}, and {free >> 20} MB are free there.",
            next_step="free some space (`rig cache clear`), or name another cache folder with XDG_CACHE_HOME",
        )


def entry(kind: str, name: str, *, make: Make, say: Say) -> Path:
    """The directory of a complete entry, held until this process ends; if there is none, `make` fills one.

    Raises NoSpace, and whatever `make` raises; nothing half-made is left in the entry's place.
    """
    name = safe_name(name)
    place = folder() / kind / name
    key = f"{kind}/{name}"
    while True:
        lock = _held.get(place) or _open_lock(key)
        _take(lock, fcntl.LOCK_SH, key, say)
        if place.is_dir():
            _held[place] = lock
            with contextlib.suppress(OSError):
                os.utime(place)
            return place
        with contextlib.closing(lock):
            _held.pop(place, None)
            _take(lock, fcntl.LOCK_EX, key, say)
            if not place.is_dir():
                _make(place, make)
        # Closing gave the lock up; if somebody cleared the entry before it is taken again, the loop makes
        # it anew.


def _make(place: Path, make: Make) -> None:
    part = place.with_name(f".part-{place.name}")
    with writing(f"{place.parent.name}/{place.name} into the cache"):
        place.parent.mkdir(parents=True, exist_ok=True)
        if part.exists():
            shutil.rmtree(part)
        part.mkdir()
        try:
            make(part)
            part.rename(place)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


@contextlib.contextmanager
def locked(key: str, *, say: Say) -> Iterator[None]:
    """Holds the named lock exclusively, for a thing that changes in place (package lists, a campaign's folder)."""
    with contextlib.closing(_open_lock(key)) as lock:
        _take(lock, fcntl.LOCK_EX, key, say)
        yield


def prune(kind: str, *, keep: int) -> None:
    """Keeps the `keep` entries of a kind that were used last, and those in use now; removes the others."""
    places = sorted((folder() / kind).glob("[!.]*"), key=lambda place: place.stat().st_mtime, reverse=True)
    for place in places[keep:]:
        clear(_measured(kind, place))


def entries() -> list[Entry]:
    """Everything in the cache, by name. Left-overs of interrupted work are named too, for they take space."""
    found = []
    for kind in sorted(folder().glob("*/")):
        if kind.name == "locks":
            continue
        if kind.name in _WHOLE:
            found.append(_measured("", kind))
            continue
        places = sorted(kind.iterdir())
        found += [_measured(kind.name, place) for place in places if place.is_dir()]
        if any(not place.is_dir() for place in places):
            found.append(_measured("", kind))
    found += [_measured("", place) for place in sorted(folder().glob("*")) if place.is_file()]
    return found


def clear(item: Entry) -> bool:
    """Removes an entry; False if it is in use. Raises NoSpace where the folder may not be written."""
    key = item.name.replace("/.part-", "/", 1)
    if folder() / key in _held or _is_live(item):
        return False
    with contextlib.closing(_open_lock(key)) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        with writing(f"the cache ({item.name})"):
            if item.path.is_dir() and not item.path.is_symlink():
                # Renamed first: a removal that is cut short must not leave half an entry in place.
                gone = item.path.with_name(f".part-{safe_name(item.path.name.removeprefix('.part-'))}")
                if gone != item.path:
                    shutil.rmtree(gone, ignore_errors=True)
                    item.path.rename(gone)
                shutil.rmtree(gone)
            else:
                item.path.unlink(missing_ok=True)
    return True


def _is_live(item: Entry) -> bool:
    """live/PID-…: the sockets and keys of a run that is under way."""
    kind, _, name = item.name.partition("/")
    return kind == "live" and Path("/proc", name.partition("-")[0]).exists()


def _open_lock(key: str) -> TextIO:
    with writing("a lock file in the cache"):
        place = folder() / "locks"
        place.mkdir(parents=True, exist_ok=True)
        return (place / f"{safe_name(key)}.lock").open("a")


def _take(lock: TextIO, mode: int, key: str, say: Say) -> None:
    try:
        fcntl.flock(lock, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"another rig is busy with {key}; waiting for it")
        fcntl.flock(lock, mode)


def _measured(kind: str, place: Path) -> Entry:
    files = [place] if not place.is_dir() else [p for p in place.rglob("*") if not p.is_dir()]
    size = 0
    for file in files:
        with contextlib.suppress(OSError):
            size += file.lstat().st_blocks * 512
    return Entry(name=f"{kind}/{place.name}".lstrip("/"), path=place, size=size)
