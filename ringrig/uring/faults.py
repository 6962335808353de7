"""Allocations and user copies that fail on demand: CONFIG_FAULT_INJECTION, by /proc/thread-self/fail-nth.

fail-nth counts down whenever the thread comes to an allocation or user copy that may fail, of whatever kind, and
the one that brings it to 0 fails (lib/fault-inject.c should_fail_ex()). Which allocations may fail is said in
debugfs: those that may sleep are spared unless ignore-gfp-wait is off, single pages unless min-order is 0
(mm/failslab.c, mm/fail_page_alloc.c). `times` of a kind goes down with each of its failures, which tells what kind
it was even where the caller asked for silence (__GFP_NOWARN); otherwise the kernel logs kind and stack.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from io import FileIO
from typing import Self

from ringrig.uring import consts as c
from ringrig.uring import libc
from ringrig.uring.memory import Arena, Unavailable
from ringrig.uring.ring import Argument, Ring, address_of
from ringrig.uring.syscalls import NR_PREAD64, NR_PWRITE64, run, table


class Kind(Enum):
    """The kernel's name of it, which is its folder in debugfs too."""

    SLAB = "failslab"
    PAGE = "fail_page_alloc"
    USERCOPY = "fail_usercopy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The `nth` fallible allocation or copy of a call (from 1) fails; `lasting`: so do all allocations after it."""

    nth: int
    lasting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A fault that was met: of what kinds (one, unless it was lasting), and the functions above the first."""

    fault: Fault
    kinds: frozenset[Kind]
    stack: tuple[str, ...]

    @property
    def errnos(self) -> frozenset[int]:
        """The negative errnos that a call may answer it with."""
        return frozenset(-_ERRNO[kind] for kind in self.kinds)

    def __str__(self) -> str:
        kinds = ", ".join(sorted(kind.value for kind in self.kinds))
        lasting = " and all after it" if self.fault.lasting else ""
        where = " < ".join(self.stack) or "not logged: its caller passed __GFP_NOWARN"
        return f"fault {self.fault.nth}{lasting}: {kinds} ({where})"


_ERRNO = {Kind.SLAB: errno.ENOMEM, Kind.PAGE: errno.ENOMEM, Kind.USERCOPY: errno.EFAULT}
_MANY = 1 << 24
"""`times` to begin with: more faults than there ever are."""
_SETTINGS: dict[Kind, dict[str, str]] = {
    Kind.SLAB: {"ignore-gfp-wait": "N", "cache-filter": "N"},
    Kind.PAGE: {"ignore-gfp-wait": "N", "min-order": "0"},
    Kind.USERCOPY: {},
}
_COMMON = {"probability": "0", "interval": "1", "space": "0", "verbose": "2", "task-filter": "Y"}
_LASTING = (Kind.SLAB, Kind.PAGE)
"""A user copy that always fails would also fail what disarms it."""


class Injector:
    """The fault attributes of this kernel, set for as long as it is open. Unavailable says what is missing."""

    def __init__(self) -> None:
        self._arena = Arena()
        self._before: dict[str, str] = {}
        try:
            self._open()
        except OSError as error:
            self.close()
            if isinstance(error, Unavailable):
                raise
            wanted = "a kernel with fault injection (--config faults), and root"
            raise Unavailable(
                error.errno or 0, f"{error.filename}: {error.strerror}; it takes {wanted}"
            ) from error

    def _open(self) -> None:
        self._nth = self._own("/proc/thread-self/fail-nth")
        self._marked = self._own("/proc/thread-self/make-it-fail")
        self._log = self._own("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        self._root = self._arena.mount("debugfs")
        for kind, settings in _SETTINGS.items():
            for name, value in {**settings, **_COMMON, "times": str(_MANY)}.items():
                path = f"{kind.value}/{name}"
                self._before[path] = self._read(path)
                self._write(path, value)

    def _own(self, path: str, flags: int = os.O_RDWR) -> int:
        return self._arena.own(os.open(path, flags | os.O_CLOEXEC))

    def call(self, fault: Fault, number: int, *arguments: int) -> tuple[int, Hit | None]:
        """System call `number` under `fault`: its result, and what was met (None: it has fewer such places)."""
        texts = [ctypes.create_string_buffer(text) for text in (b"1", b"0", str(fault.nth).encode())]
        yes, no, nth = ((ctypes.addressof(text), len(text) - 1) for text in texts)
        left = ctypes.create_string_buffer(32)
        rows = table(
            (NR_PWRITE64, self._marked, *(yes if fault.lasting else no)),
            (NR_PWRITE64, self._nth, *nth),
            (number, *arguments),
            (NR_PREAD64, self._nth, ctypes.addressof(left), len(left)),
            (NR_PWRITE64, self._nth, *no),  # may itself be the nth copy
            (NR_PWRITE64, self._nth, *no),
            (NR_PWRITE64, self._marked, *no),
        )
        before = self._counts()
        os.lseek(self._log, 0, os.SEEK_END)
        self._from_then_on("100" if fault.lasting else "0")
        run(rows)
        self._from_then_on("0")
        for at in (0, 1, 5, 6):
            if rows[at].result < 0:
                raise OSError(-rows[at].result, f"{os.strerror(-rows[at].result)}: arming a fault, step {at}")
        if rows[3].result < 0 or left.value != b"0\n":  # -EFAULT: reading the count was the nth copy
            return rows[2].result, None
        after = self._counts()
        kinds = frozenset(kind for kind in Kind if after[kind] < before[kind])
        return rows[2].result, Hit(fault=fault, kinds=kinds, stack=stack_of(self._logged()))

    def quiet(self) -> None:
        """Log no fault any more: a thousand calls under one would take their time over it."""
        for kind in Kind:
            self._write(f"{kind.value}/verbose", "0")

    def spare_single_pages(self) -> None:
        """Only what is larger than a page is denied, beside slab objects and copies."""
        self._write(f"{Kind.PAGE.value}/min-order", "1")

    def again(self, fault: Fault, rounds: int, call: tuple[int, ...], *then: tuple[int, ...]) -> int:
        """The same system call under the same fault, and others without one, over and over: how often it failed."""
        texts = [ctypes.create_string_buffer(text) for text in (b"1", b"0", str(fault.nth).encode())]
        yes, no, nth = ((ctypes.addressof(text), len(text) - 1) for text in texts)
        rows = table(
            (NR_PWRITE64, self._marked, *(yes if fault.lasting else no)),
            (NR_PWRITE64, self._nth, *nth),
            call,
            (NR_PWRITE64, self._nth, *no),  # may itself be the nth copy
            (NR_PWRITE64, self._nth, *no),
            (NR_PWRITE64, self._marked, *no),
            *then,
        )
        self._from_then_on("100" if fault.lasting else "0")
        run(rows, rounds)
        self._from_then_on("0")
        return rows[2].failures

    def _from_then_on(self, percent: str) -> None:
        for kind in _LASTING:
            self._write(f"{kind.value}/probability", percent)

    def _counts(self) -> dict[Kind, int]:
        return {kind: int(self._read(f"{kind.value}/times")) for kind in Kind}

    def _read(self, path: str) -> str:
        with FileIO(
            path, "r", opener=self._opener
        ) as file:  # these files cannot seek: each reading opens anew
            return (file.read(64) or b"").decode().strip()

    def _write(self, path: str, value: str) -> None:
        with FileIO(path, "w", opener=self._opener) as file:
            file.write(value.encode())

    def _opener(self, path: str, flags: int) -> int:
        return os.open(path, flags & ~(os.O_CREAT | os.O_TRUNC), dir_fd=self._root)

    def _logged(self) -> list[str]:
        """What the kernel has logged since the call: the text of each record."""
        lines: list[str] = []
        while True:
            try:
                record = os.read(self._log, 8192)
            except BlockingIOError:
                return lines
            except BrokenPipeError:  # overwritten before it was read: the rest may still tell
                continue
            head, _, text = record.decode(errors="replace").partition(";")
            if not int(head.split(",")[0]) >> 3:
                lines += text.splitlines()

    def close(self) -> None:
        """Put the attributes back as they were."""
        for path, value in self._before.items():
            self._write(path, value)
        self._before.clear()
        self._arena.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_FRAME = re.compile(r"\s+(?:\[<[0-9a-f]+>\] )?(\? )?([\w.]+)\+0x[0-9a-f]+/0x")
ALLOCATORS = re.compile(
    r"(?:__)?dump_stack\w*|show_stack\w*|fail_dump|_*should_fail\w*|_*(?:kmem_cache|kv?[mz]alloc|k[vc]?alloc)\w*"
    r"|_*alloc_(?:frozen_)?pages?\w*|_*get_free_pages?\w*|_*kvmalloc\w*|slab_\w+|prepare_alloc_pages\w*"
    r"|stack_trace_save|save_stack_trace|set_track_prepare|__alloc_object|_*create_object\w*|kmemleak_alloc\w*"
)

"""Functions on top of a stack because something is allocated, or reported."""


def stack_of(lines: Sequence[str], *, most: int = 4) -> tuple[str, ...]:
    """The functions that wanted what the first failure of a log denied, innermost first; without the allocator."""
    frames: list[tuple[bool, str]] = []
    begun = False
    for line in lines:
        if "FAULT_INJECTION: forcing a failure" in line:
            if begun:
                break
            begun = True
        elif begun and (found := _FRAME.match(line)):
            frames.append((not found[1], found[2].split(".")[0]))
    sure = any(reliable for reliable, _ in frames)
    names: Iterable[str] = (name for reliable, name in frames if reliable or not sure)
    return tuple(name for name in names if not ALLOCATORS.fullmatch(name))[:most]


class FaultyRing(Ring):
    """A Ring whose next system call, once it is armed, runs under a fault; `hit` is what that call met."""

    def __init__(self, injector: Injector, entries: int = 8, flags: int = 0) -> None:
        super().__init__(entries, flags)
        self._injector = injector
        self._fault: Fault | None = None
        self.hit: Hit | None = None

    @property
    def excused(self) -> frozenset[int]:
        """The negative errnos that the call may return for what it met."""
        return self.hit.errnos if self.hit else frozenset()

    def arm(self, fault: Fault) -> None:
        """The next enter or register, or call(), runs under this fault."""
        self._fault = fault

    def call(self, number: int, *arguments: int) -> int:
        """Any system call, under the fault."""
        assert self._fault is not None
        res, self.hit = self._injector.call(self._fault, number, *arguments)
        self._fault = None
        return res

    def submit(self, wait: int = 0, *, timeout: float = 10.0) -> int:
        """As Ring's; armed, it does not wait, and brings no time limit that would have to be copied in."""
        if self._fault is None:
            return super().submit(wait, timeout=timeout)
        self.sq_tail.value = self._queued
        to_submit = self._queued - self.sq_head.value & 0xFFFFFFFF
        return self.call(libc.NR_IO_URING_ENTER, self.fd, to_submit, 0, c.IORING_ENTER_GETEVENTS)

    def register(self, opcode: int, argument: Argument = 0, nr_args: int = 0) -> int:
        """As Ring's."""
        if self._fault is None:
            return super().register(opcode, argument, nr_args)
        addr, _kept = address_of(argument)
        return self.call(libc.NR_IO_URING_REGISTER, self.fd, opcode, addr, nr_args)
