"""What a ring counts against: the limit on locked memory, or not; the control group's memory, if it is the kernel's."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterator

import pytest

from ringrig.model.profiles import Profile
from ringrig.model.subject import Subject
from ringrig.uring import bufring
from ringrig.uring import consts as c
from ringrig.uring.group import Group
from ringrig.uring.leaks import ControlGroup
from ringrig.uring.neighbour import Neighbour
from ringrig.uring.structs import io_uring_sqe

ENTRIES = c.PBUF_ENTRIES_MAX
SIZE = ENTRIES * 16
_SPARE = 1 << 18
"""Bytes of a full control group's that are given back while nobody is to wait for a page."""
each_kind = pytest.mark.parametrize(
    "flags",
    [
        pytest.param(0, id="user_memory"),
        pytest.param(c.IOU_PBUF_RING_MMAP, id="kernel_memory", marks=pytest.mark.needs("mmap")),
    ],
)


@pytest.fixture
def nobody() -> Iterator[Neighbour]:
    """A process without rights, with a ring, that may lock no memory any more."""
    with Neighbour() as made:
        made.ask("drop_rights")
        made.ask("make")  # later kernels count a ring's own queues
        made.ask("lock_no_memory")
        yield made


@pytest.mark.needs("root")
@each_kind
def test_locked_memory(nobody: Neighbour, profile: Profile, flags: int) -> None:
    """RLIMIT_MEMLOCK of 0, no CAP_IPC_LOCK: 512 KiB of ring are registered all the same, or are -ENOMEM as a page of
    registered buffers is, whosever memory it is; the group is then not there.

    io_pin_pages() without io_account_mem(); io_create_region(), with ctx->user or without
    """
    charged = "rings_are_locked_memory" in profile.traits

    assert nobody.ask("register_buffers", 1) == -errno.ENOMEM
    assert nobody.ask("register", bgid=7, flags=flags, entries=ENTRIES) == -errno.ENOMEM * charged
    assert nobody.ask("unregister", bgid=7) == -errno.ENOENT * charged


@pytest.mark.needs("memcg", "root")
@each_kind
def test_the_control_group_is_charged(ring: Subject, flags: int) -> None:
    """Eight rings of 512 KiB: in kernel memory the caller's control group is charged with all of it, in the
    application's own, which is charged already, with no page; unregistered, the charge is gone.

    io_region_allocate_pages(), io_alloc_pbuf_ring(): GFP_KERNEL_ACCOUNT
    """
    count, slack = 8, 1 << 20  # what CPUs have charged in advance (MEMCG_CHARGE_BATCH), page tables
    memory = 0 if flags else ring.arena.anon(SIZE)
    with ControlGroup() as group:
        if memory:  # the pages themselves are charged to who touches them first
            assert bufring.register(ring.ring, addr=memory, entries=ENTRIES, bgid=99) == 0
            ring.owns(99)
        before = group.charged()
        for bgid in range(count):
            assert bufring.register(ring.ring, addr=memory, entries=ENTRIES, bgid=bgid, flags=flags) == 0
            ring.owns(bgid)
        taken = group.charged() - before
        for bgid in range(count):
            assert bufring.unregister(ring.ring, bgid) == 0
        kept = group.charged() - before

    wanted = count * SIZE if flags else 0
    assert wanted - slack <= taken <= wanted + slack
    assert kept <= slack


@pytest.mark.needs("memcg", "root", "mmap")
def test_a_full_control_group_refuses(ring: Subject) -> None:
    """Rings of 512 KiB in kernel memory, in a control group with room for eight at most: at the first that finds no room
    -ENOMEM, no group, and what was allocated of it is given back; with room again it is registered.

    io_region_allocate_pages(), io_pages_map(), io_alloc_pbuf_ring(): GFP_KERNEL_ACCOUNT
    """

    def register(bgid: int) -> int:
        res = bufring.register(ring.ring, entries=ENTRIES, bgid=bgid, flags=c.IOU_PBUF_RING_MMAP)
        if res == 0:
            ring.owns(bgid)
        return res

    with ControlGroup() as group:
        with group.limit(8 * SIZE):
            got = [register(bgid) for bgid in range(9)]
            registered = got.index(-errno.ENOMEM)
            left = [bufring.unregister(ring.ring, bgid) for bgid in range(9)]
            again = [register(bgid) for bgid in range(registered)]
        after = register(registered)

    assert got[registered:] == [-errno.ENOMEM] * (9 - registered)
    assert registered >= 4, "much of the room is gone without a ring"
    assert left == [0] * registered + [-errno.ENOENT] * (9 - registered)
    assert again == [0] * registered
    assert after == 0


@pytest.mark.needs("memcg", "root")
def test_a_full_control_group_takes_some_buffers(ring: Subject) -> None:
    """PROVIDE of 65000 buffers, again and again, in a control group with room for half as many: the first adds what there is
    room for, which is success; whichever then adds none is -ENOMEM. REMOVE has all that were added; with room 65000 are.

    io_add_buffers(): GFP_KERNEL_ACCOUNT, 0 if one was added. What the kernel can reclaim may be room for a few more.
    """
    count, room, times = 65000, 65000 * 32 // 2, 6  # struct io_buffer
    addr = ring.arena.anon(count)

    def queue(provides: int) -> None:
        """So many PROVIDEs, and a REMOVE of as many buffers as there are: nobody needs memory between them."""
        for number in range(provides + 1):
            sqe = ring.ring.sqe()
            sqe.opcode, sqe.fd, sqe.buf_group = c.IORING_OP_REMOVE_BUFFERS, count, 7
            if number < provides:
                sqe.opcode, sqe.addr, sqe.len = c.IORING_OP_PROVIDE_BUFFERS, addr, 1

    ring.ring.fill(io_uring_sqe(), times + 1)  # NOPs, so that as many requests are at hand
    ring.ring.complete(times + 1)
    with ControlGroup() as group:
        spare = ring.arena.anon(_SPARE, shared=True)
        ctypes.memset(spare, 1, _SPARE)
        queue(times)
        with group.limit(room):
            ring.ring.submit()
            ring.arena.unmap(spare, _SPARE)
        first, *others, removed = [cqe.res for cqe in ring.ring.cqes()]
        queue(1)
        after = [cqe.res for cqe in ring.ring.complete(2)]

    assert first == 0
    assert len(others) == times - 1
    assert -errno.ENOMEM in others
    assert set(others) <= {0, -errno.ENOMEM}
    assert count // 4 < removed < count * 3 // 4
    assert after == [0, count]


@pytest.mark.needs("memcg", "root", "mmap")
def test_rings_of_a_full_control_group_work(ring: Subject) -> None:
    """Rings of 64 KiB in kernel memory until there is no room for one: -ENOMEM, and each of those before, mapped, hands out a
    buffer of its own, then no other.

    io_region_allocate_pages(), io_alloc_pbuf_ring(): GFP_KERNEL_ACCOUNT
    """
    groups = [
        Group(ring.ring, ring.arena, bgid=bgid, entries=4096, size=1, flags=c.IOU_PBUF_RING_MMAP)
        for bgid in range(32)
    ]
    made = []
    with ControlGroup() as control, control.limit(1 << 20):
        for group in groups:
            res = group.register()
            if res:
                break
            made.append(group)
            ring.owns(group.bgid)

    assert res == -errno.ENOMEM
    assert len(made) >= 4, "much of the room is gone without a ring"
    assert group.unregister() == -errno.ENOENT
    for one in made:
        one.publish(one.bgid + 1)
    assert [[one.next(), one.next()] for one in made] == [[one.bgid + 1, None] for one in made]
