"""What becomes of a ring's memory after it was registered: the kernel's pages are those it pinned, whatever the
application does to its mapping.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pytest

from ringrig.model.subject import Subject
from ringrig.uring import consts as c
from ringrig.uring import libc
from ringrig.uring.bufring import BufRing, Entry
from ringrig.uring.group import Group
from ringrig.uring.libc import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PAGE_SIZE, PROT_READ, PROT_WRITE
from ringrig.uring.neighbour import Neighbour

NR_MADVISE: Final = 28
_RW = PROT_READ | PROT_WRITE


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What happens to the page of a registered ring: `does` returns where the application has that page afterwards."""

    does: Callable[[Subject, int, int], int | None]
    shared: bool = False


def _unmap(_: Subject, addr: int, fd: int) -> None:
    assert libc.munmap(addr, PAGE_SIZE) == 0


def _forget(_: Subject, addr: int, fd: int) -> int | None:
    assert libc.syscall(NR_MADVISE, addr, PAGE_SIZE, mmap.MADV_DONTNEED) == 0
    return addr if fd >= 0 else None


def _move(subject: Subject, addr: int, fd: int) -> int:
    to = subject.arena.anon(PAGE_SIZE)
    flags = libc.MREMAP_MAYMOVE | libc.MREMAP_FIXED
    assert libc.mremap(addr, PAGE_SIZE, PAGE_SIZE, flags, to) == to
    return to


def _cover(_: Subject, addr: int, fd: int) -> None:
    kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
    assert libc.mmap(PAGE_SIZE, _RW, kind, -1, 0, addr) == addr


def _map_again(subject: Subject, addr: int, fd: int) -> int:
    _unmap(subject, addr, fd)
    return subject.arena.of_file(fd, PAGE_SIZE, shared=True)


def _truncate(_: Subject, addr: int, fd: int) -> None:
    os.ftruncate(fd, 0)


def _truncate_and_grow(subject: Subject, addr: int, fd: int) -> None:
    os.ftruncate(fd, 0)
    os.ftruncate(fd, PAGE_SIZE)


FATES = {
    "unmapped": Fate(does=_unmap),
    "dontneed": Fate(does=_forget),
    "moved": Fate(does=_move),
    "covered": Fate(does=_cover),
    "file_unmapped": Fate(does=_unmap, shared=True),
    "file_dontneed": Fate(does=_forget, shared=True),
    "file_moved": Fate(does=_move, shared=True),
    "file_covered": Fate(does=_cover, shared=True),
    "file_mapped_again": Fate(does=_map_again, shared=True),
    "file_truncated": Fate(does=_truncate, shared=True),
    "file_truncated_and_grown": Fate(does=_truncate_and_grow, shared=True),
}


@pytest.mark.parametrize("fate", FATES.values(), ids=FATES)
def test_what_was_published_stays(ring: Subject, fate: Fate) -> None:
    """Two buffers published, then the ring's page leaves the application's mapping: both are handed out.

    Where the application still has the page, under another address or by its file, a third one published there is
    handed out too; elsewhere what it has is another page, all zero. io_pin_pages(), FOLL_LONGTERM
    """
    group = Group(ring.ring, ring.arena)
    fd = ring.arena.memfd(PAGE_SIZE) if fate.shared else -1
    if fate.shared:
        addr = ring.arena.of_file(fd, PAGE_SIZE, shared=True)
        group.memory = BufRing(addr, group.entries, group.memory.layout)
    assert group.register() == 0
    ring.owns(group.bgid)
    group.publish(5, 3)

    at = fate.does(ring, group.memory.addr, fd)

    seen = []
    if at is not None:
        BufRing(at, group.entries, group.memory.layout).publish(group.address_of(1), 64, 1)
        seen = [1]
    assert [group.next() for _ in range(2)] == [5, 3]
    assert [group.next() for _ in seen] == seen
    assert group.read(length=1).res == -errno.ENOBUFS


@pytest.mark.parametrize("fate", ["dontneed", "covered"])
def test_the_page_that_came_instead_is_nobodys(ring: Subject, fate: str) -> None:
    """The application's own page at the address is new and zero; what is published in it is not selected.

    io_pin_pages(): the ring stays at the pages that it had
    """
    group = Group(ring.ring, ring.arena)
    assert group.register() == 0
    ring.owns(group.bgid)
    group.publish(5)
    FATES[fate].does(ring, group.memory.addr, -1)
    assert group.memory.raw() == bytes(group.memory.layout.size(group.entries))

    group.publish(1, 2, 4)

    assert [group.next() for _ in range(2)] == [5, None]


@pytest.mark.needs("inc")
@pytest.mark.parametrize("prot", [PROT_READ, 0], ids=["read_only", "none"])
def test_the_kernel_writes_through_its_own_mapping(ring: Subject, prot: int) -> None:
    """The ring's page is made read-only, or nothing, after it was registered: an incremental ring goes on all the
    same, and what the kernel wrote back is there to be read. io_kbuf_inc_commit()
    """
    group = Group(ring.ring, ring.arena, flags=c.IOU_PBUF_RING_INC)
    assert group.register() == 0
    ring.owns(group.bgid)
    group.publish(5)
    ring.arena.protect(group.memory.addr, PAGE_SIZE, prot)

    cqe = group.read(length=24)

    assert (cqe.res, cqe.bid) == (24, 5)
    ring.arena.protect(group.memory.addr, PAGE_SIZE, PROT_READ)
    assert group.entry(0) == Entry(addr=group.address_of(5) + 24, len=40, bid=5)


def test_after_a_fork_the_page_is_the_parents(ring: Subject, group: Group) -> None:
    """fork() with a ring in private memory: the parent keeps the pinned page, and the child has a copy.

    What the child publishes is not seen, what the parent publishes is. copy_present_page(): a page that may be
    pinned is copied at once, lest the first to write move it.
    """
    group.publish(5)
    with Neighbour(lambda: group.publish(6, 7)) as child:
        child.work()

        group.publish(3)

        assert [group.next() for _ in range(3)] == [5, 3, None]


def test_shared_memory_is_shared_after_a_fork(ring: Subject) -> None:
    """fork() with a ring in shared memory: what the child publishes is selected."""
    group = Group(ring.ring, ring.arena)
    addr = ring.arena.anon(PAGE_SIZE, shared=True)
    group.memory = BufRing(addr, group.entries, group.memory.layout)
    assert group.register() == 0
    ring.owns(group.bgid)
    group.publish(5)
    with Neighbour(lambda: group.publish(6, 7)) as child:
        child.work()

    group.publish(3)

    assert [group.next() for _ in range(5)] == [5, 6, 7, 3, None]


@pytest.mark.needs("mmap")
def test_a_kernel_ring_is_shared_after_a_fork(ring: Subject, make_group: Callable[..., Group]) -> None:
    """fork() with a kernel's ring mapped: the child publishes through the mapping it inherited, and may unmap it."""
    group = make_group(flags=c.IOU_PBUF_RING_MMAP)
    group.publish(5)

    def publish_and_unmap() -> int:
        group.publish(6, 7)
        return group.unmap()

    with Neighbour(publish_and_unmap) as child:
        assert child.work() == 0

    group.publish(3)

    assert [group.next() for _ in range(5)] == [5, 6, 7, 3, None]


def test_a_dead_childs_copy_leaves_the_ring_alone(ring: Subject, group: Group) -> None:
    """A child that wrote all over its copy of the ring is killed: the parent's ring is as it was.

    io_pin_pages(): a pinned page is copied at fork(), mm/memory.c copy_present_page()
    """
    group.publish(5, 3)
    before = group.memory.raw()

    def scribble() -> None:
        for slot in range(group.entries):
            group.memory.write(slot, 0xDEAD000, 1, 99)
        group.memory.producer = 40000

    with Neighbour(scribble) as child:
        child.work()

    assert group.memory.raw() == before
    assert [group.next() for _ in range(3)] == [5, 3, None]
