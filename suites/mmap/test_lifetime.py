"""How long memory that was mapped lasts: beyond the group, beyond the descriptor, and not a moment less."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable

import pytest

from ringrig.model.mapping import Mmap, expect_mmap
from ringrig.model.profiles import Profile
from ringrig.model.spec import name_of
from ringrig.model.subject import Subject
from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.bufring import BufRing
from ringrig.uring.group import Group, bids
from ringrig.uring.layout import A_PAGE, MERGED

pytestmark = pytest.mark.needs("mmap")

PAGE = libc.PAGE_SIZE


def _kernel_group(make_group: Callable[..., Group]) -> Group:
    return make_group(flags=c.IOU_PBUF_RING_MMAP)


def test_unmapping_is_not_unregistering(make_group: Callable[..., Group]) -> None:
    """Unmapped, a ring goes on serving what was published; mapped again, it shows what it did before.

    The group holds the pages, a mapping only its own references. io_uring_mmap(), io_unregister_pbuf_ring()
    """
    group = _kernel_group(make_group)
    group.publish(5, 6, 4)
    before = group.memory.raw()
    assert group.unmap() == 0
    assert group.next() == 5

    group.memory = BufRing(bufring.map_kernel_ring(group.ring, bgid=7, entries=8), 8, MERGED)

    assert group.memory.raw() == before
    assert [group.next() for _ in range(3)] == [6, 4, None]


NEXT = ["nothing", "kernel_memory", "user_memory", "legacy"]


@pytest.mark.parametrize("then", NEXT)
def test_a_mapping_of_a_group_that_is_gone_is_nobodys(
    ring: Subject, make_group: Callable[..., Group], then: str
) -> None:
    """Unregister with the mapping kept, and take the id again: what is published through the old mapping is for
    nobody, and it still holds what it held.

    Fixed by c392cbecd8ec (CVE-2024-0582; 6.6.5).
    """
    old = _kernel_group(make_group)
    old.publish(5, 6)
    before = old.memory.raw()
    assert old.unregister() == 0
    if then == "legacy":
        assert ring.provide_buffers(bgid=7, count=1) == 0
    elif then != "nothing":
        make_group(flags=c.IOU_PBUF_RING_MMAP * (then == "kernel_memory"))

    found = bids(old.read(length=1) for _ in range(2))

    assert found == [0 if then == "legacy" else None, None]
    assert old.memory.raw() == before
    assert old.unmap() == 0


@pytest.mark.parametrize("then", NEXT)
def test_a_group_that_is_gone_is_mapped_no_more(
    ring: Subject, make_group: Callable[..., Group], mmap: Callable[[Mmap], int], profile: Profile, then: str
) -> None:
    """mmap() after the group was unregistered, and after its id was taken anew: only a ring in kernel memory is
    mapped, and it is the new one. io_pbuf_get_bl(), io_pbuf_get_region()
    """
    old = _kernel_group(make_group)
    old.publish(5)
    assert old.unregister() == 0
    if then == "legacy":
        assert ring.provide_buffers(bgid=7, count=1) == 0
    elif then != "nothing":
        make_group(flags=c.IOU_PBUF_RING_MMAP * (then == "kernel_memory"))
    mappable = {7: MERGED.size(8)} if then == "kernel_memory" else {}

    addr = mmap(Mmap())

    assert name_of(min(addr, 0)) == name_of(expect_mmap(Mmap(), mappable, profile.traits))
    if addr > 0:
        assert BufRing(addr, 8, MERGED).raw() == bytes(MERGED.size(8))


@pytest.mark.parametrize("entries", [8, 2 * A_PAGE], ids=["one_page", "two_pages"])
def test_a_mapping_outlives_the_descriptor(make_ring: Callable[..., Subject], entries: int) -> None:
    """Close the io_uring: the ring stays mapped, with what was in it, and takes more. The mapping holds the file.

    io_uring_release()
    """
    subject = make_ring()
    group = Group(subject.ring, subject.arena, entries=entries, flags=c.IOU_PBUF_RING_MMAP)
    assert group.register() == 0
    size = MERGED.size(entries)
    ctypes.memset(group.memory.addr, 0x5A, size)

    subject.ring.close()

    assert group.memory.raw() == b"\x5a" * size
    ctypes.memset(group.memory.addr, 0x77, size)
    assert group.memory.raw() == b"\x77" * size
    assert group.unmap() == 0


def test_any_descriptor_of_the_ring_will_do(ring: Subject, make_group: Callable[..., Group]) -> None:
    """mmap() of a duplicate, closed again at once: the ring is mapped."""
    group = _kernel_group(make_group)
    other = os.dup(ring.ring.fd)
    call = Mmap()
    addr = libc.mmap(call.length, call.prot, call.flags, other, call.offset)
    os.close(other)

    BufRing(addr, 8, MERGED).publish(group.address_of(5), 64, 5)

    assert group.next() == 5
    assert libc.munmap(addr, PAGE) == 0


def test_another_rings_groups_are_not_mapped(
    make_ring: Callable[..., Subject], make_group: Callable[..., Group], profile: Profile
) -> None:
    """A group of one io_uring at another's descriptor: there is none. io_uring_mmap(): file->private_data"""
    _kernel_group(make_group)
    other = make_ring()

    addr = bufring.map_kernel_ring(other.ring, bgid=7, entries=8)

    assert name_of(addr) == name_of(expect_mmap(Mmap(), {}, profile.traits))


def test_mapped_and_busy(make_group: Callable[..., Group]) -> None:
    """A hundred times mapped, published through, read and unmapped: each buffer once, in order, head and all.

    io_pbuf_get_bl(), io_put_bl()
    """
    group = _kernel_group(make_group)
    assert group.unmap() == 0
    for bid in range(20, 120):
        group.memory = BufRing(bufring.map_kernel_ring(group.ring, bgid=7, entries=8), 8, MERGED)
        group.publish(bid)
        assert group.next() == bid
        assert group.unmap() == 0
    assert group.unregister() == 0
    assert group.read(length=1).res == -errno.ENOBUFS
