"""Buffers that are given back to a group that is not there any more."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from ringrig.model.subject import Subject
from ringrig.uring import bufring
from ringrig.uring import consts as c
from ringrig.uring.counters import multiprocessor
from ringrig.uring.group import legacy, remove_legacy
from ringrig.uring.leaks import SLAB, growth
from ringrig.uring.requests import selecting
from ringrig.uring.userfault import FaultingPage
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(20)

ROUNDS = 64
BGID = 700


@pytest.fixture
def wire(make_wire: Callable[..., Wire]) -> Wire:
    """40 bytes wait in it, and stay: no receive succeeds."""
    made = make_wire()
    made.feed(bytes(40))
    return made


def fail_over_a_ring(ring: Subject, wire: Wire) -> None:
    """io-wq has the last provided buffer of its group, which is made a ring meanwhile; then it fails."""
    page = FaultingPage()
    assert legacy(ring.ring, bgid=BGID, addr=page.addr, count=1) == 0
    selecting(ring.ring, c.IORING_OP_RECV, wire.near, bgid=BGID, length=64).flags |= c.IOSQE_ASYNC
    assert ring.ring.submit() == 1
    page.touched()
    # In memory of the kernel's: 6.10 to 6.13 leak the mapping of the application's (vmap-leak).
    res = bufring.register(ring.ring, entries=8, bgid=BGID, flags=c.IOU_PBUF_RING_MMAP)
    page.fail()

    assert ring.ring.complete()[0].res == -errno.EFAULT
    if res == -errno.EEXIST:  # the buffer was somebody's, so that it is back
        assert remove_legacy(ring.ring, bgid=BGID, count=2) == 1
    else:
        assert (res, bufring.unregister(ring.ring, BGID)) == (0, 0)


@pytest.mark.needs("slabinfo", "root", "own_kernel", "mmap")
def test_a_buffer_of_a_group_that_became_a_ring(ring: Subject, wire: Wire) -> None:
    """A RECV by io-wq fails when its group is no list of buffers any more, 64 times over: each buffer is freed.

    io_kbuf_recycle_legacy(); c2c185be5c85 for where it went before
    """
    if multiprocessor():
        pytest.skip(
            "needs one CPU: each of several keeps whole slabs, which count as 64 objects that are in use"
        )

    def loop() -> None:
        for _ in range(ROUNDS):
            fail_over_a_ring(ring, wire)

    loop()  # workers, their stacks, and what Python keeps
    found = growth([SLAB], loop, rounds=ROUNDS)

    left = ", ".join(f"{what} +{by}" for what, by in found.items())
    assert not found, f"{ROUNDS} buffers given back to nobody leave behind: {left}"
