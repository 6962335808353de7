"""Loops that must leave nothing behind: each round takes at least one object of the kernel's, and gives it back.

Two thousand rounds take milliseconds: system calls go by tables (syscalls.py), requests by floods (floods.py).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ringrig.uring import consts as c
from ringrig.uring import libc
from ringrig.uring.bufring import explain, mmap_offset
from ringrig.uring.floods import LoopFailed, flood_ring, pour, request
from ringrig.uring.layout import MERGED, RFC
from ringrig.uring.memory import Arena
from ringrig.uring.ring import Ring
from ringrig.uring.structs import io_uring_buf_reg, io_uring_params
from ringrig.uring.syscalls import NR_CLOSE, NR_MMAP, NR_MUNMAP, run, table

_BGID = 700
"""Beyond 6.1's array of 64 groups, which come and go with their io_uring."""
_ENTRIES = 512
"""Of a ring of two pages: later kernels map a single one into no vmalloc space."""
_GROUPS = 256
"""Groups of an io_uring that ends, 64 ids apart: each takes a node of the XArray."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """`run(rounds)`, and the capabilities (probe.py) it wants."""

    run: Callable[[int], None]
    needs: tuple[str, ...] = ()


LOOPS: dict[str, Loop] = {}


def loop(*needs: str) -> Callable[[Callable[[int], None]], Callable[[int], None]]:
    """Enter a function in LOOPS under its name."""

    def enter(run: Callable[[int], None]) -> Callable[[int], None]:
        LOOPS[run.__name__] = Loop(run=run, needs=needs)
        return run

    return enter


@contextmanager
def on_a_ring() -> Iterator[tuple[Ring, Arena]]:
    """A ring that can be flooded, and memory."""
    arena, ring = Arena(), flood_ring()
    yield ring, arena
    ring.close()
    arena.close()


def _calls(rounds: int, *calls: tuple[int, ...], refused: Sequence[int] = ()) -> None:
    """Make the calls over and over; those at the places `refused` must fail each time, the others never."""
    rows = table(*calls)
    run(rows, rounds)
    for at, row in enumerate(rows):
        if row.failures != (rounds if at in refused else 0):
            raise LoopFailed(
                f"{row.failures} of {rounds} calls {at} failed; the last says {explain(row.result)}"
            )


class _Registration:
    """Of one group: the calls that make and end it, as rows of a table, which must not outlive it."""

    def __init__(self, ring: Ring, addr: int, *, flags: int = 0) -> None:
        self._made = io_uring_buf_reg(ring_addr=addr, ring_entries=_ENTRIES, bgid=_BGID, flags=flags)
        self._ended = io_uring_buf_reg(bgid=_BGID)
        call = libc.NR_IO_URING_REGISTER
        self.make = (call, ring.fd, c.IORING_REGISTER_PBUF_RING, ctypes.addressof(self._made), 1)
        self.end = (call, ring.fd, c.IORING_UNREGISTER_PBUF_RING, ctypes.addressof(self._ended), 1)


@loop()
def register(rounds: int) -> None:
    """Register a ring and unregister it."""
    with on_a_ring() as (ring, arena):
        group = _Registration(ring, arena.anon(RFC.size(_ENTRIES)))
        _calls(rounds, group.make, group.end)


@loop("mmap")
def register_kernel_memory(rounds: int) -> None:
    """The same with memory of the kernel's."""
    with on_a_ring() as (ring, _):
        group = _Registration(ring, 0, flags=c.IOU_PBUF_RING_MMAP)
        _calls(rounds, group.make, group.end)


@loop()
def register_half_mapped_memory(rounds: int) -> None:
    """Registering fails once a page is pinned."""
    with on_a_ring() as (ring, arena):
        memory = arena.anon(RFC.size(_ENTRIES))
        arena.unmap(memory + libc.PAGE_SIZE, libc.PAGE_SIZE)
        group = _Registration(ring, memory)
        _calls(rounds, group.make, refused=[0])


@loop("mmap")
def register_over_an_emptied_group(rounds: int) -> None:
    """Provide a buffer and remove it, register a ring in the group's place, unregister that."""
    with on_a_ring() as (ring, _):
        group = _Registration(ring, 0, flags=c.IOU_PBUF_RING_MMAP)
        steps = (
            request(c.IORING_OP_PROVIDE_BUFFERS, 1, len=64, buf_group=_BGID, flags=c.IOSQE_CQE_SKIP_SUCCESS),
            request(c.IORING_OP_REMOVE_BUFFERS, 1, buf_group=_BGID, flags=c.IOSQE_CQE_SKIP_SUCCESS),
        )
        slots = ring.params.sq_entries
        ctypes.memmove(ring.sqes, b"".join(bytes(step.sqe) for step in steps) * (slots // 2), 64 * slots)
        ring.sq_tail.value = 2 * rounds  # all are published; the kernel goes round the slots
        _calls(rounds, (libc.NR_IO_URING_ENTER, ring.fd, 2, 0, 0), group.make, group.end)
        if ring.sq_head.value != 2 * rounds or ring.cqes():
            raise LoopFailed(f"of {2 * rounds} requests, {ring.sq_head.value} were taken, or one failed")


@loop("mmap")
def map_kernel_memory(rounds: int) -> None:
    """Register a ring in kernel memory, map it, unmap it, unregister it.

    The mapping gets one address in all rounds: the page that unmapping leaves free is the first to be found.
    """
    with on_a_ring() as (ring, _):
        group = _Registration(ring, 0, flags=c.IOU_PBUF_RING_MMAP)
        size = MERGED.size(_ENTRIES)
        mapping = (NR_MMAP, 0, size, libc.PROT_READ, libc.MAP_SHARED, ring.fd, mmap_offset(_BGID))
        first = table(group.make, mapping, group.end)
        run(first)
        addr = first[1].result
        libc.munmap(addr, size)
        _calls(rounds, group.make, mapping, (NR_MUNMAP, addr, size), group.end)


@loop("mmap")
def map_too_little(rounds: int) -> None:
    """Register a ring of two pages in kernel memory, map one, which is refused, unregister it."""
    with on_a_ring() as (ring, _):
        group = _Registration(ring, 0, flags=c.IOU_PBUF_RING_MMAP)
        page = (NR_MMAP, 0, libc.PAGE_SIZE, libc.PROT_READ, libc.MAP_SHARED, ring.fd, mmap_offset(_BGID))
        _calls(rounds, group.make, page, group.end, refused=[1])


def _ends(rounds: int, *, flags: int = 0) -> None:
    """Set up an io_uring, register many rings of one page in it, close it; so `rounds` rings come and go."""
    if rounds % _GROUPS:
        raise ValueError(f"{rounds} rounds are no multiple of {_GROUPS}, the rings of an io_uring")
    arena = Arena()
    params = io_uring_params()
    entries = 128
    addr = 0 if flags & c.IOU_PBUF_RING_MMAP else arena.anon(RFC.size(entries))
    regs = [
        io_uring_buf_reg(ring_addr=addr, ring_entries=entries, bgid=64 * at, flags=flags)
        for at in range(_GROUPS)
    ]
    next_fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)  # the lowest free one, which setup gets too
    os.close(next_fd)
    call = (libc.NR_IO_URING_REGISTER, next_fd, c.IORING_REGISTER_PBUF_RING)
    _calls(
        rounds // _GROUPS,
        (libc.NR_IO_URING_SETUP, 4, ctypes.addressof(params)),
        *((*call, ctypes.addressof(reg), 1) for reg in regs),
        (NR_CLOSE, next_fd),
    )
    arena.close()


@loop()
def end(rounds: int) -> None:
    """io_urings end with rings in memory of the application's."""
    _ends(rounds)


@loop("mmap")
def end_with_kernel_memory(rounds: int) -> None:
    """io_urings end with rings in memory of the kernel's."""
    _ends(rounds, flags=c.IOU_PBUF_RING_MMAP)


@loop()
def end_with_groups(rounds: int) -> None:
    """An io_uring ends with groups of a provided buffer each."""
    with on_a_ring() as (ring, _):
        for first in range(0, rounds, 1024):
            steps = [
                request(c.IORING_OP_PROVIDE_BUFFERS, 1, len=64, buf_group=bgid)
                for bgid in range(first, first + 1024)
            ]
            pour(ring, steps, 1)


@loop()
def end_with_buffers(rounds: int) -> None:
    """An io_uring ends with one group of many provided buffers."""
    with on_a_ring() as (ring, _):
        sqe = request(c.IORING_OP_PROVIDE_BUFFERS, rounds, len=64, buf_group=7).sqe
        ctypes.memmove(ctypes.addressof(ring.sqe()), bytes(sqe), 64)
        if (res := ring.complete()[0].res) != 0:
            raise LoopFailed(f"PROVIDE_BUFFERS says {explain(res)}")
