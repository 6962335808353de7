"""What lies in memory that a process shares with the kernel, looked at without ever faulting, and what changed since."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass

Change = tuple[int, int, str]
"""A region's number, the offset in it, and the bytes that are there now, in hex."""

_libc = ctypes.CDLL(None)
_libc.pwrite.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long]
_libc.pwrite.restype = ctypes.c_long
_libc.pread.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long]
_libc.pread.restype = ctypes.c_long
_pread = os.pread
_STEP = 256
_GAP = 8
"""Changes nearer than this are one."""


@dataclass(slots=True)
class Region:
    """A mapping that the case made, and what was in it when it was last looked at."""

    number: int
    base: int
    length: int
    image: bytes


class Shadow:
    """Copies of regions. The kernel copies them to a file, which fails on bad memory where a load would kill."""

    def __init__(self) -> None:
        self._file = os.memfd_create("shadow", os.MFD_CLOEXEC)
        self._live: list[Region] = []
        self._dead: list[tuple[int, int]] = []
        self._made = 0

    def read(self, addr: int, length: int) -> bytes:
        """What can be read of `length` bytes at `addr`, up to the first bad page."""
        done = _libc.pwrite(self._file, addr, length, 0)
        return _pread(self._file, done, 0) if done > 0 else b""

    def add(self, base: int, length: int) -> int:
        """Watch a new mapping, all zero as far as anybody knows: its number."""
        self._made += 1
        if not any(one.base <= base and base + length <= one.base + one.length for one in self._live):
            self._live.append(Region(self._made, base, length, bytes(length)))
        return self._made

    def drop(self, base: int, length: int) -> None:
        """These addresses are mapped no more: whole regions go, others lose their end."""
        self._dead.append((base, length))
        kept = []
        for one in self._live:
            if base <= one.base and one.base + one.length <= base + length:
                continue
            if one.base < base < one.base + one.length:
                one.length = base - one.base
                one.image = one.image[: one.length]
            kept.append(one)
        self._live = kept

    def knows(self, addr: int) -> bool:
        """Is `addr` in a mapping that the case made, or was it?"""
        live = ((one.base, one.length) for one in self._live)
        return any(base <= addr < base + length for base, length in (*live, *self._dead))

    def at(self, addr: int, length: int) -> bytes:
        """What was at `addr` when it was last looked at; b"" outside of regions."""
        for one in self._live:
            if one.base <= addr and addr + length <= one.base + one.length:
                return one.image[addr - one.base : addr - one.base + length]
        return b""

    def changes(self) -> list[Change]:
        """Everything that is different from the last look, which this one replaces."""
        found: list[Change] = []
        for one in self._live:
            now = self.read(one.base, one.length)
            if now != one.image[: len(now)]:
                found += (
                    (one.number, at, now[at:end].hex()) for at, end in _runs(one.image[: len(now)], now)
                )
                one.image = now + one.image[len(now) :]
        return found


def _runs(old: bytes, new: bytes) -> Iterator[tuple[int, int]]:
    """Where two texts of one length differ: starts and ends."""
    start = end = -1
    for block in range(0, len(new), _STEP):
        if old[block : block + _STEP] == new[block : block + _STEP]:
            continue
        for at in range(block, min(block + _STEP, len(new))):
            if old[at] == new[at]:
                continue
            if start >= 0 and at - end > _GAP:
                yield start, end
                start = -1
            start, end = at if start < 0 else start, at + 1
    if start >= 0:
        yield start, end
