"""What keeps an io_uring alive, and its groups with it: mappings, children, the task's table of registered rings."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from ringrig.model.subject import Subject
from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.counters import PinWatch
from ringrig.uring.group import Group
from ringrig.uring.memory import Arena
from ringrig.uring.neighbour import Neighbour

pytestmark = pytest.mark.ends_within(5)


@pytest.mark.needs("pin_counters")
@pytest.mark.parametrize("what", ["queues", pytest.param("kernel_ring", marks=pytest.mark.needs("mmap"))])
def test_a_mapping_keeps_the_ring(make_ring: Callable[..., Subject], pins: PinWatch, what: str) -> None:
    """The last descriptor is closed, a page of the queues or of a kernel's ring stays mapped: the io_uring lives, and
    with it another group's pinned page, until that is unmapped. The mapping holds the file. io_uring_release()
    """

    mapped: list[tuple[Arena, int]] = []

    def close_but_keep() -> None:
        subject = make_ring()
        assert Group(subject.ring, subject.arena).register() == 0
        offset = c.IORING_OFF_SQ_RING
        if what == "kernel_ring":
            offset = bufring.mmap_offset(8)
            assert bufring.register(subject.ring, entries=8, bgid=8, flags=c.IOU_PBUF_RING_MMAP) == 0
        prot = libc.PROT_READ | libc.PROT_WRITE
        addr = libc.mmap(libc.PAGE_SIZE, prot, libc.MAP_SHARED, subject.ring.fd, offset)
        assert addr > 0
        subject.arena.adopt(addr, libc.PAGE_SIZE)
        mapped.append((subject.arena, addr))
        subject.ring.close()

    def close_and_unmap() -> None:
        close_but_keep()
        arena, addr = mapped.pop()
        assert arena.unmap(addr, libc.PAGE_SIZE) == 0

    assert pins.after(close_and_unmap, wanted=0) == 0
    assert pins.after(close_but_keep, wanted=1) == 1


@pytest.mark.needs("pin_counters")
def test_a_child_keeps_its_parents_ring(make_ring: Callable[..., Subject], pins: PinWatch) -> None:
    """The parent closes a ring that its child has inherited: it lives until the child ends, even killed.

    io_uring_release() comes with the file's last reference
    """
    children: list[Neighbour] = []

    def close_in_the_parent() -> None:
        subject = make_ring()
        assert Group(subject.ring, subject.arena).register() == 0
        children.append(Neighbour())
        children[-1].ask("room", 1)  # it runs
        subject.ring.close()

    def close_in_both() -> None:
        close_in_the_parent()
        children.pop().kill()

    assert pins.after(close_in_both, wanted=0) == 0
    assert pins.after(close_in_the_parent, wanted=1) == 1
    for child in children:
        child.kill()


@pytest.mark.needs("pin_counters", "registered_ring_fd")
def test_a_registered_index_keeps_the_ring(make_ring: Callable[..., Subject], pins: PinWatch) -> None:
    """The descriptor is closed, the ring's index in the task's table stays: groups are used by it, and end with it.

    io_ringfd_unregister()
    """

    def close_and_go_on() -> None:
        subject = make_ring()
        group = Group(subject.ring, subject.arena)
        assert group.register() == 0
        group.publish(5)
        slot = subject.ring.register_ring_fd()
        assert slot >= 0
        os.close(subject.ring.fd)
        subject.ring.fd, subject.ring.registered_only = slot, True
        assert group.read().bid == 5
        subject.ring.close()

    assert pins.after(close_and_go_on, wanted=0) == 0


@pytest.mark.needs("pin_counters", "registered_ring_fd")
def test_a_threads_index_goes_with_it(
    make_ring: Callable[..., Subject], pins: PinWatch, in_a_thread: Callable[[Callable[[], object]], None]
) -> None:
    """A ring that only a thread's table of registered rings still has ends with the thread. io_uring_unreg_ringfd()"""

    def register_and_end() -> None:
        subject = make_ring()
        group = Group(subject.ring, subject.arena)
        assert group.register() == 0
        seen = []

        def hold() -> None:
            slot = subject.ring.register_ring_fd()
            subject.ring.close()
            op = c.IORING_UNREGISTER_PBUF_RING | c.IORING_REGISTER_USE_REGISTERED_RING
            seen.append((slot >= 0, libc.io_uring_register(slot, op, 0, 1)))

        in_a_thread(hold)
        assert seen == [(True, -errno.EINVAL)]

    assert pins.after(register_and_end, wanted=0) == 0
