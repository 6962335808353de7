"""A call that fails for want of memory, or in a copy, a thousand times: nothing of what it had by then is left behind."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Callable
from itertools import count

import pytest

from ringrig.uring import consts as c
from ringrig.uring import libc
from ringrig.uring.faults import Fault, Injector
from ringrig.uring.group import Group
from ringrig.uring.layout import A_PAGE
from ringrig.uring.leaks import PAGES, PINS, SLAB, growth
from ringrig.uring.memory import Arena
from ringrig.uring.probe import probe
from ringrig.uring.ring import Ring
from ringrig.uring.structs import io_uring_buf_reg, io_uring_sqe

pytestmark = [pytest.mark.needs("faults", "pin_counters", "slabinfo", "own_kernel"), pytest.mark.crashes]

ROUNDS = 1024
_MOST = 100
_BGID = 700
"""Beyond 6.1's array of 64 groups, which are not stored and never go."""
Calls = tuple[tuple[int, ...], ...]


def _nothing_is_left(
    injector: Injector, calls: Calls, failed: Callable[[int], bool], *, lasting: bool
) -> int:
    """Walk over the faults of the first of these calls, the others going on as ever; how many made it fail."""
    injector.quiet()
    seen = 0
    for nth in count(1):
        assert nth < _MOST, f"{nth} faults, and no end"
        fault = Fault(nth=nth, lasting=lasting)
        res, hit = injector.call(fault, *calls[0])
        bad = failed(res)
        for number, *arguments in calls[1:]:
            libc.syscall(number, *arguments)
        if hit is None:
            return seen
        if not bad:
            continue
        seen += 1
        grown = growth(
            [PINS, SLAB, PAGES], lambda fault=fault: injector.again(fault, ROUNDS, *calls), rounds=ROUNDS
        )
        left = ", ".join(f"{what} +{by}" for what, by in grown.items())
        assert not grown, f"{hit}: {ROUNDS} failures leave behind: {left}"
    return seen


MEMORIES = {
    "user_memory": pytest.param(0, False, id="user_memory"),
    "kernel_memory": pytest.param(
        c.IOU_PBUF_RING_MMAP, False, id="kernel_memory", marks=pytest.mark.needs("mmap")
    ),
    "single_pages": pytest.param(
        c.IOU_PBUF_RING_MMAP, True, id="kernel_memory_page_by_page", marks=pytest.mark.needs("mmap")
    ),
}


@pytest.mark.parametrize("flags, singly", MEMORIES.values())
def test_registering(lasting: bool, flags: int, singly: bool) -> None:
    """Register a ring of four pages. Page by page: what is larger than one cannot be had, but it can.

    io_register_pbuf_ring(), io_pin_pbuf_ring(), io_mem_alloc_single()
    """
    with Injector() as injector, Ring() as ring:
        arena = Arena()
        addr = 0 if flags else arena.anon(4 * libc.PAGE_SIZE)
        if addr:
            ctypes.memset(addr, 0, 4 * libc.PAGE_SIZE)
        reg = io_uring_buf_reg(ring_addr=addr, ring_entries=4 * A_PAGE, bgid=7, flags=flags)
        bare = io_uring_buf_reg(bgid=7)
        if singly:
            injector.spare_single_pages()
        call = (libc.NR_IO_URING_REGISTER, ring.fd)
        calls = (
            (*call, c.IORING_REGISTER_PBUF_RING, ctypes.addressof(reg), 1),
            (*call, c.IORING_UNREGISTER_PBUF_RING, ctypes.addressof(bare), 1),
        )

        seen = _nothing_is_left(injector, calls, lambda res: res < 0, lasting=lasting)

        assert seen or singly
        arena.close()


def _in_turn(
    ring: Ring, first: io_uring_sqe, second: io_uring_sqe, *, together: bool = False
) -> tuple[int, ...]:
    """The call that makes one of two requests after the other, or both: they stay in their slots, published for ever.

    A call without memory for its requests makes none, after which those that it makes by turns are the other's.
    """
    ctypes.memmove(ring.sqes, bytes(first) + bytes(second), 128)
    ring.sq_tail.value = 1 << 20
    return (libc.NR_IO_URING_ENTER, ring.fd, 1 + together, 0, 0)


def _last_failed(ring: Ring) -> Callable[[int], bool]:
    return lambda _: ring.cqes()[-1].res < 0


def test_providing(lasting: bool) -> None:
    """Provide five buffers to a group that is not there; a ring that takes its place makes it go. io_provide_buffers()"""
    provide = io_uring_sqe(opcode=c.IORING_OP_PROVIDE_BUFFERS, fd=5, len=64)
    remove = io_uring_sqe(opcode=c.IORING_OP_REMOVE_BUFFERS, fd=5)
    provide.buf_group = remove.buf_group = _BGID
    with Injector() as injector, Ring(2, cq_entries=8192) as ring:
        arena, enter = Arena(), _in_turn(ring, provide, remove, together=True)
        # In memory of the kernel's where that is known: 6.10 to 6.13 leak the mapping of the application's (vmap-leak).
        known = probe()["capabilities"]["mmap"]
        addr, flags = (0, c.IOU_PBUF_RING_MMAP) if known else (arena.anon(libc.PAGE_SIZE), 0)
        reg = io_uring_buf_reg(ring_addr=addr, ring_entries=8, bgid=_BGID, flags=flags)
        bare = io_uring_buf_reg(bgid=_BGID)
        register = (libc.NR_IO_URING_REGISTER, ring.fd)
        calls = (
            enter,
            (*register, c.IORING_REGISTER_PBUF_RING, ctypes.addressof(reg), 1),
            (*register, c.IORING_UNREGISTER_PBUF_RING, ctypes.addressof(bare), 1),
        )
        for (
            number,
            *arguments,
        ) in calls:  # what a ring allocates for its first request is not what is asked here
            assert libc.syscall(number, *arguments) >= 0

        def failed(_: int) -> bool:
            return [cqe.res < 0 for cqe in ring.cqes()][-2:-1] == [True]

        assert _nothing_is_left(injector, calls, failed, lasting=lasting)
        arena.close()


@pytest.mark.needs("bundle")
def test_a_longer_vector(lasting: bool) -> None:
    """A receive bundle of two buffers leaves its vector to one of four, which wants a longer one and gets none.

    The stream has ended, so that no buffer is used up. io_ring_buffers_peek()
    """
    arena, near, far = Arena(), *socket.socketpair()
    far.close()
    with Injector() as injector, Ring(2, cq_entries=8192) as ring, near:
        group = Group(ring, arena, size=1)
        assert group.register() == 0
        group.publish(*range(8))
        short, long = (
            io_uring_sqe(opcode=c.IORING_OP_RECV, fd=near.fileno(), len=length) for length in (2, 4)
        )
        for sqe in (short, long):
            sqe.flags, sqe.ioprio, sqe.buf_group = c.IOSQE_BUFFER_SELECT, c.IORING_RECVSEND_BUNDLE, group.bgid
        enter = _in_turn(ring, short, long)
        assert libc.syscall(*enter) == 1

        assert _nothing_is_left(injector, (enter, enter), _last_failed(ring), lasting=lasting)
    arena.close()
