"""Memory of an agent whose children start quickly in User-Mode Linux, where page faults and mappings are dear.

A case's child writes to a thousand pages that it shares with the agent (reference counts, mostly), each a fault of 20 to
60 µs. Which they are hardly changes from case to case: one child notes them, and later ones take them all at once.

And every page of a process is a mapping of the host's there, made anew at each fork; neighbours whose memory is
contiguous share one. An interpreter that grew page by page has thousands. A child that writes to all its pages at once
gets fresh ones in their order, and goes on as the agent with a fifth of the mappings. (Emulated, neither pays.)
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import struct
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path

_MADV_POPULATE_WRITE = 23
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_PAGE = mmap.PAGESIZE
# Documentation/admin-guide/mm/pagemap.rst
_EXCLUSIVE, _PRESENT = 1 << 56, 1 << 63
_COUNT = struct.Struct("=Q")
_MOST = 4000
"""Ranges that are remembered, far more than there are."""
_libc = ctypes.CDLL(None, use_errno=True)


class Hot:
    """The pages that children write to. Made in the agent; its children learn and use it."""

    def __init__(self) -> None:
        self._ranges = mmap.mmap(-1, _COUNT.size * (1 + 2 * _MOST))  # shared with all children
        self._before: set[int] = set()

    def take(self) -> None:
        """In a child, first: have the known ones for itself."""
        (count,) = _COUNT.unpack_from(self._ranges)
        for start, length in struct.iter_unpack("=QQ", self._ranges[8 : 8 + 16 * count]):
            _populate(start, length)

    def begin_learning(self) -> None:
        """In a child that has taken none: note what it shares with the agent."""
        self._before = {page for page, flags in _pages() if not flags & _EXCLUSIVE}

    def learnt(self) -> None:
        """In the same child, at its end: what has become its own was written to."""
        ranges: list[list[int]] = []
        for page, flags in _pages():
            if flags & _EXCLUSIVE and page in self._before:
                if ranges and sum(ranges[-1]) == page:
                    ranges[-1][1] += 1
                else:
                    ranges.append([page, 1])
        del ranges[_MOST:]
        data = b"".join(struct.pack("=QQ", page * _PAGE, count * _PAGE) for page, count in ranges)
        self._ranges[8 : 8 + len(data)] = data
        _COUNT.pack_into(self._ranges, 0, len(ranges))


def is_user_mode() -> bool:
    """Whether this kernel is User-Mode Linux (arch/um/kernel/um_arch.c, show_cpuinfo())."""
    return "User Mode Linux" in Path("/proc/cpuinfo").read_text()


def go_on_anew() -> None:
    """Returns in a child that goes on in this process's place; this one waits for it and ends as it does."""
    first = os.getpid()
    if child := os.fork():
        status = os.waitpid(child, 0)[1]
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != first:
        sys.exit(1)
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for start, end in _writable():
        _populate(start, end - start)


def _populate(start: int, length: int) -> None:
    # A kernel before 5.14 has no such thing, and a mapping may have gone: then the faults come one by one.
    _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_POPULATE_WRITE)


def _writable() -> Iterator[tuple[int, int]]:
    """Start and end of the private writable mappings, the stack apart, which grows."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        where, rights, _, _, _, *name = line.split(maxsplit=5)
        if rights == "rw-p" and name[:1] != ["[stack]"]:
            start, end = where.split("-")
            yield int(start, 16), int(end, 16)


def _pages() -> Iterator[tuple[int, int]]:
    """Number and pagemap entry of every page present in them."""
    with Path("/proc/self/pagemap").open("rb", buffering=0) as pagemap:
        for start, end in list(_writable()):
            pagemap.seek(start // _PAGE * 8)
            entries = array("Q", pagemap.read((end - start) // _PAGE * 8))
            yield from ((start // _PAGE + n, flags) for n, flags in enumerate(entries) if flags & _PRESENT)
