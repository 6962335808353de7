"""What a mapping of a ring in kernel memory is: shared with the kernel and with children, of a size that stays."""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import os
import signal
from collections.abc import Callable

import pytest

from ringrig.model.mapping import Mmap
from ringrig.model.spec import name_of
from ringrig.model.subject import Subject
from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.bufring import BufRing
from ringrig.uring.group import Group, bids
from ringrig.uring.layout import MERGED
from ringrig.uring.memory import pages
from ringrig.uring.restriction import in_child

pytestmark = pytest.mark.needs("mmap")

PAGE = libc.PAGE_SIZE
TWO_PAGES = PAGE // MERGED.size(1) * 2
"""Entries."""


def _registered(ring: Subject, *, bgid: int = 7, entries: int = 8, flags: int = 0) -> Group:
    """A Group whose ring in kernel memory is registered, but mapped by nobody yet."""
    flags |= c.IOU_PBUF_RING_MMAP
    assert bufring.register(ring.ring, bgid=bgid, entries=entries, flags=flags) == 0
    ring.owns(bgid)
    return Group(ring.ring, ring.arena, bgid=bgid, entries=entries, flags=flags)


def _signal_of(work: Callable[[], object]) -> int:
    """The signal that ends a child in which `work` is done, or 0."""
    child = os.fork()
    if not child:
        faulthandler.disable()
        for number in (signal.SIGBUS, signal.SIGSEGV):
            signal.signal(number, signal.SIG_DFL)
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def _poke(addr: int) -> None:
    ctypes.memset(addr, 0x5A, 1)


def _peek(addr: int) -> bytes:
    return ctypes.string_at(addr, 1)


def test_two_mappings_show_one_ring(ring: Subject, mmap: Callable[[Mmap], int]) -> None:
    """Two mappings, of which the second is longer: what is published through one is seen through the other.

    And by the kernel, from both. vm_insert_pages() maps the ring's own pages.
    """
    group = _registered(ring)
    first, second = (BufRing(mmap(Mmap(length=length)), 8, MERGED) for length in (PAGE, 2 * PAGE))

    first.publish(group.address_of(5), 64, 5)
    second.publish(group.address_of(6), 64, 6)

    assert first.raw() == second.raw()
    assert bids(group.drain(3)) == [5, 6, None]


def test_every_page_is_mapped_where_it_belongs(
    make_ring: Callable[..., Subject], mmap: Callable[[Mmap], int], ring: Subject
) -> None:
    """A ring of two pages and a slot filled through the mapping: the kernel reads each slot where it was written.

    io_pbuf_mmap() hands vm_insert_pages() all pages in order.
    """
    group = _registered(ring, entries=TWO_PAGES)
    addr = mmap(Mmap(length=2 * PAGE))
    memory = BufRing(addr, TWO_PAGES, MERGED)
    for slot in range(TWO_PAGES):
        memory.write(slot, group.data, 1 + slot % 60, 1000 + slot)
    memory.producer = TWO_PAGES
    other = mmap(Mmap(length=2 * PAGE))

    found = group.drain(TWO_PAGES, length=64)

    assert [(cqe.res, cqe.bid) for cqe in found] == [
        (1 + slot % 60, 1000 + slot) for slot in range(TWO_PAGES)
    ]
    assert BufRing(other, TWO_PAGES, MERGED).raw() == memory.raw()


@pytest.mark.slow
@pytest.mark.parametrize("entries", [8, TWO_PAGES], ids=["one_page", "two_pages"])
def test_nothing_lies_behind_the_ring(ring: Subject, mmap: Callable[[Mmap], int], entries: int) -> None:
    """A mapping longer than its ring: the ring's last byte is there, the one behind its last page is SIGBUS.

    do_fault(): a mapping with neither page nor ->fault
    """
    _registered(ring, entries=entries)
    size = pages(MERGED.size(entries))
    addr = mmap(Mmap(length=size + 2 * PAGE))

    assert _signal_of(lambda: _poke(addr + size - 1)) == 0
    assert _signal_of(lambda: _peek(addr + size)) == signal.SIGBUS
    assert _signal_of(lambda: _poke(addr + size + PAGE)) == signal.SIGBUS
    assert _peek(addr + size - 1) == b"\x5a"


@pytest.mark.parametrize(
    "prot, reading, writing",
    [
        (libc.PROT_READ, 0, signal.SIGSEGV),
        (libc.PROT_NONE, signal.SIGSEGV, signal.SIGSEGV),
        (libc.PROT_READ | libc.PROT_WRITE, 0, 0),
    ],
    ids=["read", "none", "read_and_write"],
)
def test_a_mapping_has_the_protection_asked_for(
    ring: Subject, mmap: Callable[[Mmap], int], prot: int, reading: int, writing: int
) -> None:
    """PROT_READ, PROT_NONE and both: mapped each, and good for what was asked for. The ring serves all the same.

    io_uring_mmap() does not look at vma->vm_flags
    """
    group = _registered(ring)
    plain = BufRing(mmap(Mmap()), 8, MERGED)
    plain.publish(group.address_of(5), 64, 5)
    addr = mmap(Mmap(prot=prot))

    assert _signal_of(lambda: _peek(addr)) == reading
    assert _signal_of(lambda: _poke(addr + 15 * 8)) == writing
    if not reading:
        assert BufRing(addr, 8, MERGED).raw() == plain.raw()
    assert group.next() == 5


def test_a_mapping_may_be_made_writable_later(ring: Subject, mmap: Callable[[Mmap], int]) -> None:
    """mprotect() from PROT_NONE to both: the ring is there. The descriptor is open for both, so VM_MAYWRITE."""
    group = _registered(ring)
    addr = mmap(Mmap(prot=libc.PROT_NONE))

    assert libc.mprotect(addr, PAGE, libc.PROT_READ | libc.PROT_WRITE) == 0

    BufRing(addr, 8, MERGED).publish(group.address_of(5), 64, 5)
    assert group.next() == 5


def test_a_private_mapping_is_a_copy_once_written(ring: Subject, mmap: Callable[[Mmap], int]) -> None:
    """MAP_PRIVATE shows the ring until it is written to; what is written stays with the writer. do_wp_page()"""
    group = _registered(ring)
    shared = BufRing(mmap(Mmap()), 8, MERGED)
    addr = mmap(Mmap(flags=libc.MAP_PRIVATE))
    shared.write(0, group.address_of(5), 64, 5)
    private = BufRing(addr, 8, MERGED)
    assert private.entry(0).bid == 5

    private.producer = 1

    assert (private.producer, shared.producer) == (1, 0)
    assert group.read(length=1).res == -errno.ENOBUFS


@pytest.mark.parametrize("flags", [0, libc.MREMAP_MAYMOVE], ids=["in_place", "anywhere"])
@pytest.mark.parametrize("entries", [8, TWO_PAGES], ids=["one_page", "two_pages"])
def test_a_mapping_does_not_grow(
    ring: Subject, mmap: Callable[[Mmap], int], entries: int, flags: int
) -> None:
    """mremap() to a page more: -EFAULT, and the mapping is what it was. VM_DONTEXPAND, check_prep_vma()"""
    group = _registered(ring, entries=entries)
    size = pages(MERGED.size(entries))
    memory = BufRing(addr := mmap(Mmap(length=size)), entries, MERGED)

    assert name_of(libc.mremap(addr, size, size + PAGE, flags)) == name_of(-errno.EFAULT)

    memory.publish(group.address_of(5), 64, 5)
    assert group.next() == 5


@pytest.mark.parametrize(
    "old, flags, error",
    [
        (0, libc.MREMAP_MAYMOVE, errno.EFAULT),
        (PAGE, libc.MREMAP_MAYMOVE | libc.MREMAP_DONTUNMAP, errno.EINVAL),
    ],
    ids=["second_mapping", "old_one_kept"],
)
def test_a_mapping_is_not_doubled(
    ring: Subject, mmap: Callable[[Mmap], int], old: int, flags: int, error: int
) -> None:
    """mremap() of old size 0, and with MREMAP_DONTUNMAP: refused, and the mapping is what it was.

    VM_DONTEXPAND, of which the one is -EFAULT and the other -EINVAL: vma_to_resize(), check_prep_vma()
    """
    group = _registered(ring)
    memory = BufRing(addr := mmap(Mmap()), 8, MERGED)

    assert name_of(libc.mremap(addr, old, PAGE, flags)) == name_of(-error)

    memory.publish(group.data, 64, 5)
    assert group.read(length=1).bid == 5


def test_a_mapping_may_shrink(ring: Subject, mmap: Callable[[Mmap], int]) -> None:
    """mremap() of two pages to one: it stays where it was, the second page is gone, and the first serves. The ring stays whole."""
    group = _registered(ring, entries=TWO_PAGES)
    addr = mmap(Mmap(length=2 * PAGE))

    assert libc.mremap(addr, 2 * PAGE, PAGE) == addr

    BufRing(addr, TWO_PAGES, MERGED).publish(group.data, 64, 5)
    assert group.read(length=1).bid == 5
    assert _signal_of(lambda: _peek(addr + PAGE)) == signal.SIGSEGV
    again = BufRing(mmap(Mmap(length=2 * PAGE)), TWO_PAGES, MERGED)
    assert again.raw()[:PAGE] == ctypes.string_at(addr, PAGE)


def test_a_mapping_does_not_move_to_an_address(ring: Subject, mmap: Callable[[Mmap], int]) -> None:
    """mremap() with MREMAP_FIXED: -EINVAL, as for mmap() with an address, and the mapping is what it was.

    mremap_to() asks io_uring_get_unmapped_area().
    """
    group = _registered(ring)
    room = ring.arena.anon(PAGE)
    memory = BufRing(addr := mmap(Mmap()), 8, MERGED)

    moved = libc.mremap(addr, PAGE, PAGE, libc.MREMAP_MAYMOVE | libc.MREMAP_FIXED, room)

    assert name_of(moved) == name_of(-errno.EINVAL)
    memory.publish(group.address_of(5), 64, 5)
    assert group.next() == 5


def test_part_of_a_mapping_may_go(ring: Subject, mmap: Callable[[Mmap], int]) -> None:
    """munmap() of the second of two pages: the first shows the ring, which serves from both. The ring stays whole."""
    group = _registered(ring, entries=TWO_PAGES)
    addr = mmap(Mmap(length=2 * PAGE))

    assert ring.arena.unmap(addr + PAGE, PAGE) == 0

    BufRing(addr, TWO_PAGES, MERGED).publish(group.address_of(5), 64, 5)
    assert group.next() == 5
    assert _signal_of(lambda: _peek(addr + PAGE)) == signal.SIGSEGV


def test_a_child_inherits_the_mapping(ring: Subject, mmap: Callable[[Mmap], int]) -> None:
    """After fork() both publish into one ring: the child's buffer is handed out to the parent, in order.

    No VM_DONTCOPY; a shared mapping is no copy-on-write. copy_page_range()
    """
    group = _registered(ring)
    memory = BufRing(mmap(Mmap()), 8, MERGED)
    memory.publish(group.address_of(5), 64, 5)

    def publish() -> int:
        seen = memory.entry(0).bid
        memory.publish(group.address_of(6), 64, 6)
        return seen

    assert in_child(publish) == 5
    memory.publish(group.address_of(7), 64, 7)

    assert bids(group.drain(4)) == [5, 6, 7, None]


def test_a_child_may_map_it_too(ring: Subject) -> None:
    """A child that inherited the descriptor maps the ring by itself: the parent is handed what it publishes.

    io_uring_mmap(): file->private_data, not the task's
    """
    group = _registered(ring)

    def publish() -> int:
        addr = bufring.map_kernel_ring(ring.ring, bgid=7, entries=8)
        BufRing(addr, 8, MERGED).publish(group.address_of(6), 64, 6)
        return libc.munmap(addr, PAGE)

    assert in_child(publish) == 0

    assert group.next() == 6


@pytest.mark.needs("inc")
def test_an_incremental_ring_is_mapped_like_any(ring: Subject, mmap: Callable[[Mmap], int]) -> None:
    """MMAP with INC: what the kernel writes into the entry is seen through the mapping. io_kbuf_inc_commit()"""
    group = _registered(ring, flags=c.IOU_PBUF_RING_INC)
    memory = BufRing(mmap(Mmap()), 8, MERGED)
    memory.publish(group.address_of(5), 64, 5)

    cqe = group.read(length=24)

    assert (cqe.res, cqe.bid, cqe.flags & c.IORING_CQE_F_BUF_MORE) == (24, 5, c.IORING_CQE_F_BUF_MORE)
    assert memory.entry(0) == (group.address_of(5) + 24, 40, 5)
