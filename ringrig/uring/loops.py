"""Loops of system calls that must leave nothing behind; ten thousand rounds take a second or less (syscalls.py)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

from ringrig.uring import consts as c
from ringrig.uring import libc
from ringrig.uring.bufring import explain, mmap_offset
from ringrig.uring.counters import pinned_pages, settled
from ringrig.uring.layout import RFC
from ringrig.uring.memory import Arena
from ringrig.uring.ring import Ring
from ringrig.uring.structs import io_uring_buf_reg, io_uring_params, io_uring_sqe
from ringrig.uring.syscalls import NR_CLOSE, NR_MMAP, NR_MUNMAP, run, table

_BATCH = 250
"""io_urings that end at once: each ends in its own time (io_ring_exit_work()), and holds some pages until then."""


class LoopFailed(AssertionError):
    """A call of the loop failed, so nothing can be said about leaks."""


def _run(rounds: int, *calls: tuple[int, ...]) -> None:
    rows = table(*calls)
    run(rows, rounds)
    for at, row in enumerate(rows):
        if row.failures:
            raise LoopFailed(
                f"{row.failures} of {rounds} calls {at} failed, the last with {explain(row.result)}"
            )


def _registration(arena: Arena, *, flags: int) -> io_uring_buf_reg:
    """Of group 7, 128 entries (one page) in memory of the application's or the kernel's."""
    addr = 0 if flags & c.IOU_PBUF_RING_MMAP else arena.anon(RFC.size(128))
    return io_uring_buf_reg(ring_addr=addr, ring_entries=128, bgid=7, flags=flags)


def register(rounds: int, *, flags: int = 0) -> None:
    """Register a ring and unregister it."""
    arena, ring = Arena(), Ring()
    reg, bare = _registration(arena, flags=flags), io_uring_buf_reg(bgid=7)
    call, at, gone = libc.NR_IO_URING_REGISTER, ctypes.addressof(reg), ctypes.addressof(bare)
    _run(
        rounds,
        (call, ring.fd, c.IORING_REGISTER_PBUF_RING, at, 1),
        (call, ring.fd, c.IORING_UNREGISTER_PBUF_RING, gone, 1),
    )
    ring.close()
    arena.close()


def register_kernel_memory(rounds: int) -> None:
    """The same with memory of the kernel's."""
    register(rounds, flags=c.IOU_PBUF_RING_MMAP)


def map_kernel_memory(rounds: int) -> None:
    """Register a ring in kernel memory, map it, unmap it, unregister it.

    The mapping gets one address in all rounds: the page that unmapping leaves free is the first to be found.
    """
    arena, ring = Arena(), Ring()
    reg, bare = _registration(arena, flags=c.IOU_PBUF_RING_MMAP), io_uring_buf_reg(bgid=7)
    page, call = libc.PAGE_SIZE, libc.NR_IO_URING_REGISTER
    come = (call, ring.fd, c.IORING_REGISTER_PBUF_RING, ctypes.addressof(reg), 1)
    mapping = (NR_MMAP, 0, page, libc.PROT_READ, libc.MAP_SHARED, ring.fd, mmap_offset(7))
    go = (call, ring.fd, c.IORING_UNREGISTER_PBUF_RING, ctypes.addressof(bare), 1)
    first = table(come, mapping, go)
    run(first)
    addr = first[1].result
    libc.munmap(addr, page)
    _run(rounds, come, mapping, (NR_MUNMAP, addr, page), go)
    ring.close()
    arena.close()


def provide(rounds: int) -> None:
    """Provide four buffers and remove them: two requests that are in their slots for good, and seen only if they fail."""
    arena, ring = Arena(), Ring(2)
    for slot, opcode in enumerate((c.IORING_OP_PROVIDE_BUFFERS, c.IORING_OP_REMOVE_BUFFERS)):
        sqe = io_uring_sqe.from_address(ring.sqes + slot * ring.sqe_stride)
        sqe.opcode, sqe.fd, sqe.buf_group, sqe.flags = opcode, 4, 7, c.IOSQE_CQE_SKIP_SUCCESS
    provided = io_uring_sqe.from_address(ring.sqes)
    provided.addr, provided.len = arena.anon(4 * 64), 64
    ring.sq_tail.value = 2 * rounds  # all rounds are published; the kernel goes round the two slots
    _run(rounds, (libc.NR_IO_URING_ENTER, ring.fd, 2, 0, 0))
    if failed := ring.cqes():
        raise LoopFailed(f"requests failed, the first with {explain(failed[0].res)}")
    if ring.sq_head.value != 2 * rounds:
        raise LoopFailed(f"{ring.sq_head.value} of {2 * rounds} requests were taken")
    ring.close()
    arena.close()


def end(rounds: int) -> None:
    """Set up an io_uring, register a ring in it, close it."""
    arena = Arena()
    params, reg = io_uring_params(), _registration(arena, flags=0)
    next_fd = os.open(
        "/dev/null", os.O_RDONLY | os.O_CLOEXEC
    )  # the lowest that is free, which setup gets too
    os.close(next_fd)
    at = ctypes.addressof(reg)
    before = pinned_pages()
    for done in range(0, rounds, _BATCH):
        _run(
            min(_BATCH, rounds - done),
            (libc.NR_IO_URING_SETUP, 4, ctypes.addressof(params)),
            (libc.NR_IO_URING_REGISTER, next_fd, c.IORING_REGISTER_PBUF_RING, at, 1),
            (NR_CLOSE, next_fd),
        )
        settled(lambda: int(pinned_pages() > before), 0, seconds=2)
    arena.close()


LOOPS: dict[str, Callable[[int], None]] = {
    "register": register,
    "register_kernel_memory": register_kernel_memory,
    "map_kernel_memory": map_kernel_memory,
    "provide": provide,
    "end": end,
}
OF_KERNEL_MEMORY = frozenset({"register_kernel_memory", "map_kernel_memory"})
"""Loops that want IOU_PBUF_RING_MMAP."""
