"""What a ring counts against: the limit on locked memory, or not; the control group's memory, if it is the kernel's."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from ringrig.model.profiles import Profile
from ringrig.model.subject import Subject
from ringrig.uring import bufring
from ringrig.uring import consts as c
from ringrig.uring.leaks import ControlGroup
from ringrig.uring.neighbour import Neighbour

ENTRIES = c.PBUF_ENTRIES_MAX
SIZE = ENTRIES * 16
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
