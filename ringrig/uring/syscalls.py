"""System calls back to back, with nothing of the interpreter's between them.

A fault that is armed for a thread (faults.py) must meet the call under test and no allocation or page fault of
Python's; and ten thousand registrations take a second of Python's time, a minute where that is emulated. So a few
bytes of x86-64 machine code walk a table of calls; a guest has no compiler. Other machines have no such code.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from ctypes import Array, Structure, c_long, c_ulong
from functools import cache

from ringrig.uring import libc
from ringrig.uring.memory import Arena, Unavailable

NR_PREAD64, NR_PWRITE64 = 17, 18
NR_CLOSE, NR_MMAP, NR_MUNMAP = 3, 9, 11


class Row(Structure):
    """One call: its number and arguments; the last result, and how many of the results were errors."""

    number: int
    arguments: Array[c_long]
    result: int
    failures: int
    _fields_ = (
        ("number", c_long),
        ("arguments", c_long * 6),
        ("result", c_long),
        ("failures", c_ulong),
    )


_CODE = bytes.fromhex(
    "53 4154 4155 4156 4157"  # push rbx, r12, r13, r14, r15
    "4989fc 4989f5 4989d6"  # r12 = table, r13 = rows, r14 = rounds
    "4d85f6 7442"  # round: no more rounds? to the end
    "4c89e3 4d89ef"  # rbx = table, r15 = rows
    "4d85ff 7432"  # row: no more rows? to the next round
    "488b03"  # rax = number
    "488b7b08 488b7310 488b5318"  # rdi, rsi, rdx
    "4c8b5320 4c8b4328 4c8b4b30"  # r10, r8, r9
    "0f05 48894338"  # syscall; result = rax
    "48c1e83f 48014340"  # failures += sign of rax
    "4883c348 49ffcf ebc9"  # next row
    "49ffce ebb9"  # next round
    "415f 415e 415d 415c 5b c3"  # pop all, return
)


@cache
def _walker() -> Callable[[int, int, int], None]:
    if platform.machine() != "x86_64":
        raise Unavailable(0, f"calls back to back are x86-64 machine code, and this is {platform.machine()}")
    addr = Arena().map(libc.PAGE_SIZE)  # for the life of the process
    ctypes.memmove(addr, _CODE, len(_CODE))
    if (res := libc.mprotect(addr, libc.PAGE_SIZE, libc.PROT_READ | libc.PROT_EXEC)) < 0:
        raise Unavailable(-res, "memory of the process's own cannot be made executable")
    return ctypes.CFUNCTYPE(None, c_long, c_ulong, c_ulong)(addr)


def table(*calls: tuple[int, ...]) -> Array[Row]:
    """Rows for run(): a number and up to six arguments each, the missing ones 0."""
    rows = (Row * len(calls))()
    for row, (number, *arguments) in zip(rows, calls, strict=True):
        row.number = number
        row.arguments[:] = [*arguments, *[0] * (6 - len(arguments))]
    return rows


def run(rows: Array[Row], rounds: int = 1) -> None:
    """Make the calls of all rows in their order, so many times over. Unavailable on other machines than x86-64."""
    _walker()(ctypes.addressof(rows), len(rows), rounds)
