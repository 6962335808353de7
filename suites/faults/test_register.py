"""io_uring_register() and mmap() of buffer rings, when an allocation or a user copy of theirs fails."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from ringrig.model.profiles import Profile
from ringrig.model.subject import Subject
from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.bufring import explain
from ringrig.uring.faults import Fault, FaultyRing, Kind
from ringrig.uring.group import Group, legacy, remove_legacy
from ringrig.uring.layout import A_PAGE, MERGED
from ringrig.uring.memory import pages
from ringrig.uring.structs import io_uring_buf_status
from ringrig.uring.syscalls import NR_MMAP

pytestmark = [pytest.mark.needs("faults"), pytest.mark.crashes]

Walk = Callable[..., None]
_KERNEL = pytest.param(c.IOU_PBUF_RING_MMAP, id="kernel_memory", marks=pytest.mark.needs("mmap"))
both_memories = pytest.mark.parametrize("flags", [pytest.param(0, id="user_memory"), _KERNEL])
both_sides = pytest.mark.parametrize("bgid", [7, 700], ids=["low_bgid", "high_bgid"])
both_sizes = pytest.mark.parametrize("entries", [8, 4 * A_PAGE], ids=["a_page", "four_pages"])


def _register(group: Group) -> int:
    """The call alone, without the mapping of a ring in kernel memory."""
    addr = 0 if group.flags & c.IOU_PBUF_RING_MMAP else group.memory.addr
    return bufring.register(group.ring, addr=addr, entries=group.entries, bgid=group.bgid, flags=group.flags)


def _mapped(group: Group) -> Group:
    """The group, with the mapping of its ring where that is in kernel memory."""
    if group.flags & c.IOU_PBUF_RING_MMAP:
        addr = bufring.map_kernel_ring(group.ring, bgid=group.bgid, entries=group.entries)
        assert addr > 0, f"mmap() says {explain(addr)}"
        group.memory = bufring.BufRing(addr, group.entries, MERGED)
    return group


def _works(group: Group) -> None:
    """Buffers are selected and committed in their order, and the group goes when it is told to."""
    for bid in (3, 1):
        group.publish(bid)
    for bid in (3, 1):
        cqe = group.read(length=1)
        assert (cqe.res, cqe.bid) == (1, bid), f"buffer {bid}: a read gets {explain(cqe.res)}, {cqe.bid}"
    assert group.read(length=1).res == -errno.ENOBUFS
    assert group.unregister() == 0


def _is_gone(group: Group, profile: Profile) -> None:
    """Nothing can be selected from the group, nor can it be unregistered."""
    stays = "low_bgids_stay" in profile.traits and group.bgid < 64
    assert group.read(length=1).res == -errno.ENOBUFS
    assert group.unregister() in ({-errno.ENOENT, -errno.EINVAL} if stays else {-errno.ENOENT})


def _is_there(group: Group, ring: FaultyRing) -> bool:
    """Registers; whether it says that the group is there, which then it must be."""
    res = _register(group)

    assert res in {0, *ring.excused}, f"registering says {explain(res)}"
    if res == 0:
        again = _register(group)
        assert again == -errno.EEXIST, (
            f"registering says 0, and once more {explain(again)}: no group is there"
        )
    return res == 0


@both_sides
@both_sizes
@both_memories
def test_registering(walk: Walk, profile: Profile, flags: int, entries: int, bgid: int) -> None:
    """Register a ring: 0 and it is there, or an errno and it is not; then the same call again succeeds.

    io_register_pbuf_ring(): copy of the argument, list, pages or pinning, their mapping, xarray node. Fixed by 445d35742d86.
    """

    def register(subject: Subject, ring: FaultyRing, fault: Fault) -> None:
        group = Group(ring, subject.arena, bgid=bgid, entries=entries, flags=flags)
        group.memory.write(entries - 1, 0, 0, 0)  # the memory is there before it is pinned
        subject.owns(bgid)
        ring.arm(fault)

        if not _is_there(group, ring):
            _is_gone(group, profile)
            assert _register(group) == 0
        _works(_mapped(group))

    walk(register, {Kind.SLAB, Kind.USERCOPY})


@both_sides
def test_registering_over_an_emptied_group(walk: Walk, profile: Profile, bgid: int) -> None:
    """Register where an emptied legacy group is: the ring is there or it is not, and the call can be repeated.

    Fixed by 445d35742d86.
    """

    def register(subject: Subject, ring: FaultyRing, fault: Fault) -> None:
        assert legacy(ring, bgid=bgid, addr=subject.arena.anon(64), count=1) == 0
        assert remove_legacy(ring, bgid=bgid, count=1) == 1
        group = Group(ring, subject.arena, bgid=bgid)
        group.memory.write(7, 0, 0, 0)
        subject.owns(bgid)
        ring.arm(fault)

        if not _is_there(group, ring):
            assert group.read(length=1).res == -errno.ENOBUFS
            assert remove_legacy(ring, bgid=bgid, count=1) in {0, -errno.ENOENT}
            assert _register(group) == 0
        _works(group)

    walk(register, {Kind.USERCOPY})


@both_memories
def test_unregistering(walk: Walk, profile: Profile, flags: int) -> None:
    """Unregister a ring in use: 0 and it is gone, or -EFAULT and it goes on. io_unregister_pbuf_ring()"""

    def unregister(subject: Subject, ring: FaultyRing, fault: Fault) -> None:
        group = Group(ring, subject.arena, flags=flags)
        assert group.register() == 0
        subject.owns(group.bgid)
        ring.arm(fault)

        res = group.unregister()

        if res:
            assert res in ring.excused, f"unregistering says {explain(res)}"
            _works(group)
        _is_gone(group, profile)

    walk(unregister, {Kind.USERCOPY})


@pytest.mark.needs("status")
def test_status(walk: Walk) -> None:
    """Ask for a ring's head: it, or -EFAULT; the ring is as it was. io_register_pbuf_status() copies in and out"""

    def ask(subject: Subject, ring: FaultyRing, fault: Fault) -> None:
        group = Group(ring, subject.arena)
        assert group.register() == 0
        subject.owns(group.bgid)
        group.publish(5)
        assert group.next() == 5
        question = io_uring_buf_status(buf_group=group.bgid, head=77)
        ring.arm(fault)

        res = ring.register(c.IORING_REGISTER_PBUF_STATUS, question, 1)

        assert res in {0, *ring.excused}, f"status says {explain(res)}"
        assert question.head == (77 if res else 1)
        assert group.head() == 1
        _works(group)

    walk(ask, {Kind.USERCOPY})


@pytest.mark.needs("mmap")
@both_sizes
def test_mapping(walk: Walk, entries: int) -> None:
    """Map a ring of kernel memory: it is mapped, or -ENOMEM and it is not; then it can be. io_uring_mmap()"""
    size = pages(MERGED.size(entries))

    def mapping(subject: Subject, ring: FaultyRing, fault: Fault) -> None:
        flags = c.IOU_PBUF_RING_MMAP
        group = Group(ring, subject.arena, entries=entries, flags=flags)
        assert _register(group) == 0
        subject.owns(group.bgid)
        prot = libc.PROT_READ | libc.PROT_WRITE
        ring.arm(fault)

        addr = ring.call(NR_MMAP, 0, size, prot, libc.MAP_SHARED, ring.fd, bufring.mmap_offset(7))

        if addr < 0:
            assert addr in ring.excused, f"mmap() says {explain(addr)}"
            _mapped(group)
        else:
            group.memory = bufring.BufRing(addr, entries, MERGED)
        assert group.memory.raw() == bytes(MERGED.size(entries))
        _works(group)
        assert group.unmap() == 0

    walk(mapping, {Kind.SLAB})
