"""Provided buffers of an io_uring that goes on: what one is described by serves the next, when it was removed or used up."""

from __future__ import annotations

import os
from ctypes import c_uint32

import pytest

from ringrig.uring import consts as c
from ringrig.uring.floods import flood_ring, pour, request
from ringrig.uring.leaks import ControlGroup, growth
from ringrig.uring.memory import Arena

pytestmark = pytest.mark.ends_within(20)

ROUNDS = 8192
"""32 bytes a buffer: 64 pages."""
_BGID = 700
_SELECT = c.IOSQE_BUFFER_SELECT
ENDS = {
    "removed": (c.IORING_OP_REMOVE_BUFFERS, 0),
    "used_up": (c.IORING_OP_READ, _SELECT),
    "used_up_by_a_worker": (c.IORING_OP_READ, _SELECT | c.IOSQE_ASYNC),
}


@pytest.mark.slow
@pytest.mark.needs("memcg")
@pytest.mark.parametrize("opcode, flags", ENDS.values(), ids=ENDS)
def test_the_charge_of_an_io_uring_stays_flat(opcode: int, flags: int) -> None:
    """Provide a buffer, and remove it or read into it, thousands of times: a control group of the case's own is charged no more.

    The io_uring is there still: what it keeps counts. Once before to have it made what it keeps, its worker's stack too.
    io_refill_buffer_cache(), io_buffers_comp; later kernels: kmem_cache_free()
    """
    arena, ring = Arena(), flood_ring()
    assert ring.register(c.IORING_REGISTER_IOWQ_MAX_WORKERS, (c_uint32 * 2)(1, 1), 2) == 0
    provide = request(c.IORING_OP_PROVIDE_BUFFERS, 1, addr=arena.anon(64), len=1, buf_group=_BGID)
    fd = (
        1
        if opcode == c.IORING_OP_REMOVE_BUFFERS
        else arena.own(os.open("/dev/zero", os.O_RDONLY | os.O_CLOEXEC))
    )
    end = request(opcode, fd, want=1, buf_group=_BGID, flags=flags, len=1 if flags else 0)
    with ControlGroup() as group:
        pour(ring, [provide, end], ROUNDS)
        found = growth([group.oracle], lambda: pour(ring, [provide, end], ROUNDS), rounds=ROUNDS)
    ring.close()
    arena.close()

    assert not found, f"{ROUNDS} buffers that were provided and gone: {found}"
