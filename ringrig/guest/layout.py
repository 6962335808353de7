"""Memory of an agent whose children start quickly in User-Mode Linux, where page faults and mappings are dear.

A case's child writes to most of the pages that it shares with the agent (reference counts), each a fault of 20 to 60 µs;
and every page of a process is a mapping of the host's there, made anew at each fork, but neighbours whose memory is
contiguous share one. An interpreter that grew page by page has thousands. A child that writes to all its pages at once
gets fresh ones in their order: each case's does, and one that goes on as the agent. (Emulated, neither pays.)
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

_MADV_POPULATE_WRITE = 23
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)


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
    have_all()


def have_all() -> None:
    """In a child: have all memory for itself that it shares with its parent until one of them writes."""
    for start, end in _writable():
        # A kernel before 5.14 has no such thing: then the faults come one by one.
        _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_POPULATE_WRITE)


def _writable() -> Iterator[tuple[int, int]]:
    """Start and end of the private writable mappings, the stack apart, which grows. The heap can be run there."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        where, rights, _, _, _, *name = line.split(maxsplit=5)
        if rights in ("rw-p", "rwxp") and name[:1] != ["[stack]"]:
            start, end = where.split("-")
            yield int(start, 16), int(end, 16)
