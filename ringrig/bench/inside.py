"""The benchmark on the kernel it runs on: `python -m ringrig.bench.inside FOLDER ROUNDS SECONDS` prints a Measured as JSON.

Travels to guests: nothing but the standard library, ringrig.uring and what native.build() left in FOLDER.
"""

from __future__ import annotations

import errno
import os
import platform
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from ringrig.bench.loop import BATCH, Fault, Loop, Native, Request, load
from ringrig.bench.rows import ROWS, Measured
from ringrig.uring import consts as c
from ringrig.uring.bufring import explain
from ringrig.uring.memory import Arena
from ringrig.uring.probe import known_layout
from ringrig.uring.ring import Cqe, Ring

_LEAST = 0.002
"""Seconds that batches must have taken before their rate is believed: a clock's tick is no more than a tenth."""
_READ_LENGTH = 64


def main(arguments: list[str]) -> int:
    folder, rounds, seconds = Path(arguments[0]), int(arguments[1]), float(arguments[2])
    try:
        found = _found(folder, rounds, seconds)
    except Fault as fault:
        found = Measured(
            release=platform.release(), request="set-up", why="", layout="", cpu=-1, fault=str(fault)
        )
    print(found.to_json())
    return 0


def _found(folder: Path, rounds: int, seconds: float) -> Measured:
    """Fault: it cannot be told what to measure."""
    selects, why = nop_selects_buffers()
    request = Request(c.IORING_OP_NOP) if selects else Request(c.IORING_OP_READ, _dev_null(), _READ_LENGTH)
    layout = known_layout().name
    cpu = pin()  # not before: a kernel thread that the probe started may spin for a while
    rates, fault = measure(load(folder), request, layout=layout, rounds=rounds, seconds=seconds)
    return Measured(
        release=platform.release(),
        request="NOP" if selects else "READ of /dev/null",
        why=why,
        layout=layout,
        cpu=cpu,
        rates=rates,
        fault=fault,
    )


def pin() -> int:
    """Stay on one CPU, the last of those there are: the first has most of a machine's interrupts."""
    cpu = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpu})
    return cpu


def nop_selects_buffers() -> tuple[bool, str]:
    """Whether IORING_OP_NOP takes a provided buffer here, and what was seen.

    It did for a while in 2022, for this very benchmark, and does where patches/nop-buffer-select is applied. Fault:
    neither yes nor no.
    """
    arena = Arena()
    with Ring() as ring:
        provide, select = ring.sqe(), ring.sqe()
        provide.opcode, provide.fd, provide.addr, provide.len = (
            c.IORING_OP_PROVIDE_BUFFERS,
            1,
            arena.anon(4096),
            _READ_LENGTH,
        )
        select.opcode, select.flags = c.IORING_OP_NOP, c.IOSQE_BUFFER_SELECT
        provided, nop = ring.complete(2)
    arena.close()
    said = f"NOP with IOSQE_BUFFER_SELECT says {explain(nop.res)}, flags {nop.flags:#x}"
    if provided != Cqe(0, 0, 0):
        raise Fault(f"IORING_OP_PROVIDE_BUFFERS, which cannot fail, says {provided}")
    if nop.res in {-errno.EOPNOTSUPP, -errno.EINVAL}:
        return False, said
    if nop.res == 0 and nop.bid == 0:
        return True, said
    raise Fault(said)


def _dev_null() -> int:
    """A descriptor of the real /dev/null, which is read without waiting. Fault: it is something else."""
    fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    found = os.fstat(fd)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(1, 3):
        raise Fault("/dev/null is not the character device 1:3")
    return fd


def measure(
    native: Native, request: Request, *, layout: str, rounds: int, seconds: float
) -> tuple[list[list[float]], str]:
    """Requests a second, by row and round, and the fault that ended it.

    All rows are open at once, and each round goes through all of them, beginning with another one each time.
    """
    loops: list[Loop] = []
    rates: list[list[float]] = [[] for _ in ROWS]
    name = ""
    try:
        for row in ROWS:
            name = row.name
            loops.append(Loop(native, request, buffers=row.buffers, replenish=row.replenish, layout=layout))
        batches = []
        for row, loop in zip(ROWS, loops, strict=True):
            name = row.name
            batches.append(calibrate(loop.run, seconds))
        for number in range(rounds):
            for index in order(number, len(ROWS)):
                name = ROWS[index].name
                rates[index].append(batches[index] * BATCH / loops[index].run(batches[index]))
    except Fault as fault:
        return rates, f"{name}: {fault}"
    finally:
        for loop in loops:
            loop.close()
    return rates, ""


def calibrate(run: Callable[[int], float], seconds: float) -> int:
    """Batches that take `seconds` when nothing comes between; finding out is the warm-up, and is not counted."""
    batches = 4
    while run(batches) < min(_LEAST, seconds):
        batches *= 2
    took = min(run(batches) for _ in range(5))
    return max(1, round(batches * seconds / took))


def order(number: int, rows: int) -> list[int]:
    """The order of round `number`: every row comes at every place equally often."""
    return [(number + offset) % rows for offset in range(rows)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
