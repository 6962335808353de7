"""Walks: system calls of several threads or processes at once, each one's back to back in an order of its own.

What two calls do to each other shows when they really overlap. Between two calls of Python's lies the interpreter
and its lock, some microseconds of nothing; so each walk is a table that machine code goes through (syscalls.py),
and all of them wait at one gate first. The order of a walk's calls is the caller's, from a seed for one;
what the scheduler makes of several walks is not to be had again, and an invariant must hold whatever it makes.

A request belongs to the task that submitted it, and is cancelled when that ends: so a walk's task stays, in a
second gate, until the caller has seen what it wants. Task work of its requests runs there too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import threading
import time
from collections.abc import Iterator, Sequence
from ctypes import Array
from types import TracebackType
from typing import Self

from ringrig.uring import consts as c
from ringrig.uring import libc
from ringrig.uring.bufring import mmap_offset
from ringrig.uring.counters import preempted
from ringrig.uring.memory import Arena
from ringrig.uring.structs import io_uring_buf_reg, kernel_timespec
from ringrig.uring.syscalls import NR_MMAP, Row, run, table

Call = tuple[int, ...]
"""Number and arguments of a system call."""

_NR_READ, _NR_WRITE, _NR_SCHED_YIELD, _NR_PRCTL = 0, 1, 24, 157
_NR_NANOSLEEP, _NR_SCHED_SETSCHEDULER = 35, 144
_PR_SET_PDEATHSIG, _SIGKILL = 1, 9
_EFD_SEMAPHORE = 1

INSTANTS = 2000 if preempted() else 400 if "PREEMPT_DYNAMIC" in os.uname().version.split() else 100
"""Where a system call is not interrupted few do; PREEMPT_DYNAMIC may be either."""
if time.clock_getres(time.CLOCK_MONOTONIC) > 1e-4:  # timers go by ticks, and each takes two
    INSTANTS = 8
NOWHERE = 0x6000_0000_0000
"""Bytes that lie together nowhere in an address space of 2**47: its programs are in between."""
YIELD: Call = (_NR_SCHED_YIELD,)
"""Give the processor away: where the kernel has one only, and is not preempted, walks meet nowhere else."""


def enter(fd: int, count: int = 1) -> Call:
    """io_uring_enter() for the next `count` SQEs that the kernel was shown (Ring.show())."""
    return (libc.NR_IO_URING_ENTER, fd, count, 0, 0)


def register(fd: int, opcode: int, argument: ctypes.Structure) -> Call:
    """io_uring_register() with one argument, which must outlive the walk."""
    return (libc.NR_IO_URING_REGISTER, fd, opcode, ctypes.addressof(argument), 1)


def take(fd: int, reg: io_uring_buf_reg) -> Call:
    """IORING_REGISTER_PBUF_RING."""
    return register(fd, c.IORING_REGISTER_PBUF_RING, reg)


def give_up(fd: int, reg: io_uring_buf_reg) -> Call:
    """IORING_UNREGISTER_PBUF_RING; `reg` without flags."""
    return register(fd, c.IORING_UNREGISTER_PBUF_RING, reg)


def mapping(fd: int, bgid: int, length: int = libc.PAGE_SIZE) -> Call:
    """mmap() of a group's ring in kernel memory."""
    protection = libc.PROT_READ | libc.PROT_WRITE
    return (NR_MMAP, 0, length, protection, libc.MAP_SHARED, fd, mmap_offset(bgid))


def nap(time: kernel_timespec) -> Call:
    """nanosleep(); `time` must outlive the walk."""
    return (_NR_NANOSLEEP, ctypes.addressof(time), 0)


def urgent(priority: ctypes.c_int) -> Call:
    """SCHED_FIFO with that priority, which must outlive the walk: whoever else wants the processor waits. Not everybody may: -EPERM."""
    return (_NR_SCHED_SETSCHEDULER, 0, os.SCHED_FIFO, ctypes.addressof(priority))


def read(fd: int, addr: int, length: int) -> Call:
    """read() of a pipe or socket."""
    return (_NR_READ, fd, addr, length)


def write(fd: int, addr: int, length: int) -> Call:
    """write() to a pipe or socket."""
    return (_NR_WRITE, fd, addr, length)


@contextlib.contextmanager
def on_one_processor() -> Iterator[None]:
    """What is begun inside shares a processor: who is urgent() interrupts the others there, in a preemptible kernel anywhere."""
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)


class Walks:
    """The tasks of some walks, which wait at the gate from __enter__() on and go with __exit__().

    `processes`: each in a forked process instead of a thread. It has this one's descriptors, mappings of an
    io_uring's queues, and shared memory; private memory as it was.
    """

    def __init__(self, *walks: Sequence[Call], processes: bool = False) -> None:
        self._arena, self._processes = Arena(), processes
        self._gate, self._met, self._exit = (
            self._arena.own(os.eventfd(0, os.EFD_CLOEXEC | _EFD_SEMAPHORE)) for _ in range(3)
        )
        one = (ctypes.c_uint64 * 1)(1)
        self._kept = one, [(ctypes.c_uint64 * 1)() for _ in walks]
        self._rows: list[Array[Row]] = []
        for walk, seen in zip(walks, self._kept[1], strict=True):
            counter = ctypes.addressof(seen)
            rows = table(
                (_NR_PRCTL, _PR_SET_PDEATHSIG, _SIGKILL) if processes else YIELD,
                (_NR_READ, self._gate, counter, 8),
                *walk,
                (_NR_WRITE, self._met, ctypes.addressof(one), 8),
                (_NR_READ, self._exit, counter, 8),
            )
            shared = self._arena.anon(ctypes.sizeof(rows), shared=True)
            ctypes.memmove(shared, rows, ctypes.sizeof(rows))
            self._rows.append((Row * len(rows)).from_address(shared))
        self._threads: list[threading.Thread] = []
        self._children: list[int] = []

    def __enter__(self) -> Self:
        run(table(YIELD))  # the machine code is there before any process is forked
        for rows in self._rows:
            if self._processes:
                self._fork(rows)
            else:
                self._threads.append(threading.Thread(target=run, args=(rows,), daemon=True))
                self._threads[-1].start()
        return self

    def _fork(self, rows: Array[Row]) -> None:
        child = os.fork()
        if child == 0:
            run(rows)
            os._exit(0)
        self._children.append(child)

    def go(self) -> None:
        """Open the gate."""
        self._open(self._gate)

    @property
    def tids(self) -> list[int]:
        """The tasks."""
        return [*self._children, *(thread.native_id or 0 for thread in self._threads)]

    def over(self) -> bool:
        """Is a walk at its end?"""
        poll = select.poll()
        poll.register(self._met, select.POLLIN)
        return bool(poll.poll(0))

    def results(self) -> list[list[int]]:
        """What each walk's calls returned (errors as -errno, YIELD nothing), once all walks are at their ends."""
        for _ in self._rows:
            os.eventfd_read(self._met)
        return [[row.result for row in rows[2:-2] if row.number != _NR_SCHED_YIELD] for rows in self._rows]

    def _open(self, gate: int) -> None:
        os.eventfd_write(gate, len(self._rows))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open(self._gate)
        self._open(self._exit)
        for thread in self._threads:
            thread.join()
        for child in self._children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
        self._arena.close()
