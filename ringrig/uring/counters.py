"""What a case counts beside its own course: in the whole kernel, where others count too, and in a socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_VMSTAT = Path("/proc/vmstat")
_REFRESH = Path("/proc/sys/vm/stat_refresh")
_VMALLOC = Path("/proc/vmallocinfo")


def pinned_pages() -> int:
    """Pages pinned now: nr_foll_pin_acquired less nr_foll_pin_released.

    Each CPU keeps small differences to itself; reading vm.stat_refresh (root) folds them in (mm/vmstat.c).
    """
    if multiprocessor():
        _REFRESH.read_bytes()
    wanted = {"nr_foll_pin_acquired": 1, "nr_foll_pin_released": -1}
    total = 0
    for line in _VMSTAT.read_text().splitlines():
        name, _, value = line.partition(" ")
        total += wanted.get(name, 0) * int(value)
    return total


def multiprocessor() -> bool:
    """Is the kernel built for several CPUs? One that is not counts exactly, and has no vm.stat_refresh
    (include/linux/vmstat.h keeps no differences without CONFIG_SMP)."""
    return "SMP" in os.uname().version.split()


def preempted() -> bool:
    """Is the kernel built to be interrupted inside system calls? PREEMPT_DYNAMIC may or may not be."""
    return bool({"PREEMPT", "PREEMPT_RT"} & set(os.uname().version.split()))


def vmapped_rings() -> int:
    """Areas of vmalloc space that buffer rings hold, by the caller in /proc/vmallocinfo (root)."""
    callers = ("io_pin_pbuf_ring", "io_register_pbuf_ring", "io_region_init_ptr", "io_create_region")
    return sum(map(_VMALLOC.read_text().count, callers))


class Disturbed(RuntimeError):
    """Others moved the counters too much to tell."""


def settled(measure: Callable[[], int], wanted: int, *, seconds: float = 3.0) -> int:
    """The last value measured: `wanted` as soon as seen, else what it is after `seconds`.

    A counter gives no event to wait for, and a ring ends asynchronously (io_ring_exit_work()): hence polling.
    """
    deadline = time.monotonic() + seconds
    pause = 0.0005
    while (value := measure()) != wanted and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    return value


def peeked(fd: int, most: int) -> int:
    """Bytes that can be read from a socket now, up to `most`; they stay there."""
    with socket.socket(fileno=os.dup(fd)) as peek:
        try:
            return len(peek.recv(most, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PinWatch:
    """Counts the pages an action leaves pinned on the whole kernel.

    The rings of earlier cases end asynchronously and others may pin pages, so a wrong number is tried again.
    """

    shared: bool

    def after(self, action: Callable[[], object], *, wanted: int) -> int:
        """The pages `action` left pinned: `wanted` if that is seen in one of three tries.

        Disturbed where the tries differ on a shared kernel: then nothing can be said.
        """
        seen = []
        for _ in range(3):
            before = settled(pinned_pages, 0, seconds=0.3)
            action()
            seen.append(settled(pinned_pages, before + wanted, seconds=2) - before)
            if seen[-1] == wanted:
                return wanted
        if self.shared and len(set(seen)) > 1:
            raise Disturbed(f"three tries left {seen} pages pinned, {wanted} were expected")
        return seen[-1]
