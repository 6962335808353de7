"""What is left behind: counts of the whole kernel that grow with what nobody gives back, and loops that show it.

A loop of ten thousand rounds makes one lost object a round stand out from whatever else the kernel does meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import NamedTuple, Self

from ringrig.uring.counters import pinned_pages, settled, vmapped_rings
from ringrig.uring.faults import ALLOCATORS
from ringrig.uring.memory import Arena, Unavailable

_SLABINFO = Path("/proc/slabinfo")
_CACHES = Path("/sys/kernel/slab")
_GIVEN_BACK = 8.0
"""Seconds until the last of what is freed after a grace period has gone: kfree_rcu() gathers for 5 s."""
_FLUSHED = 2.1
"""Seconds after which memory.stat is exact (FLUSH_TIME in mm/memcontrol.c)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle:
    """`counts()` by name, to one of which each round of a loop that leaks adds `each` at least."""

    counts: Callable[[], Mapping[str, int]]
    each: int = 1


def growth(
    oracles: Sequence[Oracle], loop: Callable[[], object], *, rounds: int, seconds: float = _GIVEN_BACK
) -> dict[str, int]:
    """What grew by half a leak a round while `loop` made its rounds, and is not back after `seconds`."""
    before = [oracle.counts() for oracle in oracles]
    loop()
    grown: dict[str, int] = {}

    def still() -> int:
        grown.clear()
        for oracle, was in zip(oracles, before, strict=True):
            more = {name: count - was.get(name, 0) for name, count in oracle.counts().items()}
            grown.update({name: by for name, by in more.items() if by >= rounds * oracle.each // 2})
        return len(grown)

    settled(still, 0, seconds=seconds)
    return dict(sorted(grown.items()))


def slab_objects() -> dict[str, int]:
    """Objects in use by cache, those of kmemleak's books apart.

    Each CPU's own slabs count as full (mm/slub.c get_slabinfo()), and KASAN keeps what was freed for a while, until
    a cache is shrunk.
    """
    for cache in _CACHES.iterdir():
        if not cache.is_symlink():
            with contextlib.suppress(OSError):
                (cache / "shrink").write_text("1")
    found = {}
    for line in _SLABINFO.read_text().splitlines()[2:]:
        name, active, *_ = line.split()
        if not name.startswith("kmemleak"):
            found[name] = int(active)
    return found


PINS = Oracle(counts=lambda: {"pinned pages": pinned_pages()})
AREAS = Oracle(counts=lambda: {"vmalloc areas of rings": vmapped_rings()})
SLAB = Oracle(counts=slab_objects)


class ControlGroup:
    """A child group of the caller's kernel, without a mount; whoever enters it is charged there until close()."""

    def __init__(self) -> None:
        self._arena = Arena()
        try:
            root = self._arena.mount("cgroup2")
            self._root = root
            if "memory" not in self._read("cgroup.controllers", root).split():
                raise Unavailable(
                    0, "cgroup2 has no memory controller (CONFIG_MEMCG, as --config faults sets)"
                )
            self._write("cgroup.subtree_control", "+memory", root)
            self._name = f"ringrig-{os.getpid()}"
            os.mkdir(self._name, dir_fd=root)
            self._here = self._arena.own(os.open(self._name, os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root))
            self._write("cgroup.procs", str(os.getpid()), self._here)
        except OSError as error:
            self._arena.close()
            raise (
                error if isinstance(error, Unavailable) else Unavailable(error.errno or 0, str(error))
            ) from error

    @property
    def oracle(self) -> Oracle:
        """Bytes of the kernel's own that are charged to the group; the smallest object a buffer group is made of
        takes 32.
        """
        return Oracle(counts=lambda: {"bytes charged": self._charged()}, each=32)

    def _charged(self) -> int:
        time.sleep(_FLUSHED)
        stat = dict(line.split() for line in self._read("memory.stat", self._here).splitlines())
        return int(stat["kernel"])

    def _read(self, name: str, folder: int) -> str:
        with FileIO(name, "r", opener=lambda path, flags: os.open(path, flags, dir_fd=folder)) as file:
            return (file.readall() or b"").decode()

    def _write(self, name: str, text: str, folder: int) -> None:
        with FileIO(name, "w", opener=lambda path, _: os.open(path, os.O_WRONLY, dir_fd=folder)) as file:
            file.write(text.encode())

    def close(self) -> None:
        """Leave it, and let it go."""
        self._write("cgroup.procs", str(os.getpid()), self._root)
        os.rmdir(self._name, dir_fd=self._root)
        self._arena.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Lost(NamedTuple):
    """One object that kmemleak found nothing to point to: bytes, the task that wanted it, functions above it."""

    size: int
    comm: str
    stack: tuple[str, ...]


_OBJECT = re.compile(r"unreferenced object 0x[0-9a-f]+ \(size (\d+)\):")
_COMM = re.compile(r'  comm "(.*)", pid')
_FRAME = re.compile(r"    (?:\[<[^>]*>\] )?([\w.]+)\+0x")


class Kmemleak:
    """The kernel's search for lost memory, through debugfs. Unavailable where it is not built in, or switched off."""

    def __init__(self) -> None:
        self._arena = Arena()
        try:
            root = self._arena.mount("debugfs")
            self._file = self._arena.own(os.open("kmemleak", os.O_RDWR | os.O_CLOEXEC, dir_fd=root))
            os.read(self._file, 1)
        except OSError as error:
            self._arena.close()
            raise Unavailable(error.errno or 0, f"kmemleak: {error.strerror} (--config kmemleak)") from error

    def scan(self) -> list[Lost]:
        """Scan twice, as one scan may meet a pointer on its way, after what is young has come of age (5 s)."""
        time.sleep(5.2)
        for _ in range(2):
            os.write(self._file, b"scan")
        os.lseek(self._file, 0, os.SEEK_SET)
        text = b""
        while part := os.read(self._file, 1 << 16):
            text += part
        return lost_objects(text.decode(errors="replace"))

    def close(self) -> None:
        self._arena.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def lost_objects(text: str) -> list[Lost]:
    """What /sys/kernel/debug/kmemleak lists (mm/kmemleak.c print_unreferenced())."""
    found: list[Lost] = []
    for line in text.splitlines():
        if match := _OBJECT.match(line):
            found.append(Lost(size=int(match[1]), comm="", stack=()))
        elif found and (match := _COMM.match(line)):
            found[-1] = found[-1]._replace(comm=match[1])
        elif found and (match := _FRAME.match(line)) and not ALLOCATORS.fullmatch(match[1]):
            found[-1] = found[-1]._replace(stack=(*found[-1].stack, match[1]))
    return found
