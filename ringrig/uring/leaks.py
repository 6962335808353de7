"""What is left behind: counts of the whole kernel that grow with what nobody gives back.

Two thousand rounds of a loop (loops.py) make one lost object a round stand out from what else the kernel does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import NamedTuple, Self

from ringrig.uring import libc
from ringrig.uring.counters import multiprocessor, pinned_pages, vmapped_rings
from ringrig.uring.faults import ALLOCATORS
from ringrig.uring.memory import Arena, Unavailable

_SLABINFO = Path("/proc/slabinfo")
_CACHES = Path("/sys/kernel/slab")
_MEMINFO = Path("/proc/meminfo")
_ZONEINFO = Path("/proc/zoneinfo")
_AT_HAND = re.compile(r"^ +count: +(\d+)$", re.MULTILINE)
_APART = ("kmemleak", "vmap_area", "vm_area_struct", "maple_node", "anon_vma", "dentry", "ftrace_event")
"""Caches that are not counted: kmemleak's own books, what mm/vmalloc.c keeps of areas that are gone until it purges
thousands at once, and what other programs move by thousands as they come and go.
"""
_MOVED = 64
"""MEMCG_CHARGE_BATCH in include/linux/memcontrol.h; memcg_rstat_updated() in mm/memcontrol.c"""
_GIVEN_BACK = 8.0
"""Seconds until the last of what is freed after a grace period has gone: kfree_rcu() gathers for 5 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle:
    """`counts()` by name, to one of which each round of a loop that leaks adds `each` at least.

    They may be too high at times: `ready()` makes those exact that matter before a loop, `settle(name)` one after it.
    """

    counts: Callable[[], Mapping[str, int]]
    each: int = 1
    ready: Callable[[], object] = dict
    settle: Callable[[str], object] = len


def growth(
    oracles: Sequence[Oracle], loop: Callable[[], object], *, rounds: int, patience: float | None = None
) -> dict[str, int]:
    """What grew by half a leak a round while `loop` made its rounds, and does not come back.

    Given up is what has not fallen for `patience` seconds. By default that is long enough for a grace period: of
    what kfree_rcu() takes, no more than 500 objects a CPU wait longer (KVFREE_BULK_MAX_ENTR in kernel/rcu/tree.c).
    With a single CPU there are no grace periods to wait for (kernel/rcu/tiny.c).
    """
    if patience is None:
        patience = 1.5 if multiprocessor() else 0.1
    for oracle in oracles:
        oracle.ready()
    before = [oracle.counts() for oracle in oracles]
    loop()
    start = fallen = time.monotonic()
    least = None
    while grown := _grown(oracles, before, rounds):
        now, total = time.monotonic(), sum(grown.values())
        if least is None or total < least:
            least, fallen = total, now
        if now > min(fallen + patience, start + _GIVEN_BACK):
            break
        time.sleep(0.005)
    return dict(sorted(grown.items()))


def _grown(oracles: Sequence[Oracle], before: Sequence[Mapping[str, int]], rounds: int) -> dict[str, int]:
    grown = {}
    for oracle, was in zip(oracles, before, strict=True):

        def more(oracle: Oracle = oracle, was: Mapping[str, int] = was) -> dict[str, int]:
            by = {name: count - was.get(name, 0) for name, count in oracle.counts().items()}
            return {name: count for name, count in by.items() if count >= rounds * oracle.each // 2}

        suspects = more()
        for name in suspects:
            oracle.settle(name)
        if suspects:
            grown.update(more())
    return grown


def slab_objects() -> dict[str, int]:
    """Objects in use by cache.

    Each CPU's own slabs count as full, later kernels keep hundreds of free objects in sheaves (mm/slub.c), and KASAN
    keeps what was freed for a while, until a cache is shrunk.
    """
    found = {}
    for line in _SLABINFO.read_text().splitlines()[2:]:
        name, active, *_ = line.split(maxsplit=2)
        if not name.startswith(_APART):
            found[name] = int(active)
    return found


def slab_unreadable() -> str:
    """Why slab_objects() and shrink() cannot do their work here, or ""."""
    return next(
        (f"{path} cannot be read" for path in (_SLABINFO, _CACHES) if not os.access(path, os.R_OK)), ""
    )


def shrink(cache: str) -> None:
    """Make the count of a slab cache exact."""
    with contextlib.suppress(OSError):
        (_CACHES / cache / "shrink").write_text("1")


def shrink_ours() -> None:
    """The caches that io_uring's buffers, lists, vectors and nodes are from: a loop that uses up what was free in one
    would seem to take nothing.
    """
    for cache in _CACHES.glob("kmalloc-*"):
        if "rcl" not in cache.name:
            shrink(cache.name)
    shrink("radix_tree_node")


def pages_nobody_has() -> int:
    """Pages that are not free, nor at hand for a CPU (/proc/zoneinfo), and that no line of /proc/meminfo owns up to."""
    kib = {}
    for line in _MEMINFO.read_text().splitlines():
        name, _, value = line.partition(":")
        kib[name] = int(value.split()[0])
    owned = ("MemFree", "Buffers", "Cached", "SwapCached", "AnonPages", "Slab", "KernelStack", "PageTables")
    left = (kib["MemTotal"] - sum(kib[name] for name in owned)) * 1024 // libc.PAGE_SIZE
    return left - sum(map(int, _AT_HAND.findall(_ZONEINFO.read_text())))


PINS = Oracle(counts=lambda: {"pinned pages": pinned_pages()})
AREAS = Oracle(counts=lambda: {"vmalloc areas of rings": vmapped_rings()})
SLAB = Oracle(counts=slab_objects, ready=shrink_ours, settle=shrink)
PAGES = Oracle(counts=lambda: {"pages": pages_nobody_has()})


_SCORE = Path("/proc/self/oom_score_adj")


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

    def charged(self) -> int:
        """Bytes charged to the group now, the application's with them; each CPU may hold some 64 pages in advance."""
        return int(self._read("memory.current", self._here))

    @contextlib.contextmanager
    def limit(self, room: int) -> Iterator[None]:
        """No more than `room` bytes beyond what is charged now. What the kernel allocates beyond that fails: the caller, who is all
        there is to kill for some, is not to be killed (OOM_SCORE_ADJ_MIN; root). A page fault of its own would wait for ever.
        """
        score = _SCORE.read_text()
        _SCORE.write_text("-1000")
        try:
            self._write("memory.max", str(self.charged() + room), self._here)
            try:
                yield
            finally:
                self._write("memory.max", "max", self._here)
        finally:
            _SCORE.write_text(score)

    def _charged(self) -> int:
        """memory.stat is brought up to date every two seconds, or when some pages a CPU have moved: these do."""
        size = 2 * _MOVED * (os.cpu_count() or 1) * libc.PAGE_SIZE
        pages = Arena()
        ctypes.memset(pages.anon(size), 1, size)
        pages.close()
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
