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
