"""As many groups as there are ids, of both kinds: none is mistaken for another, and all go with their io_uring."""

from __future__ import annotations

import errno
from collections.abc import Callable
from io import FileIO

import pytest

from ringrig.model.profiles import Profile
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind
from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.bufring import BufRing
from ringrig.uring.counters import PinWatch
from ringrig.uring.group import Group, bids, legacy, remove_legacy
from ringrig.uring.layout import A_PAGE
from ringrig.uring.leaks import PAGES, PINS, growth
from ringrig.uring.probe import known_layout
from ringrig.uring.requests import selecting
from ringrig.uring.structs import io_uring_buf_reg, io_uring_sqe

pytestmark = pytest.mark.ends_within(5)

ALL = 1 << 16
RING_BID = 9
LOOKED_AT = (0, 1, 62, 63, 64, 65, 0x7FFE, 0x7FFF, 0x8000, 0x8001, ALL - 2, ALL - 1)
"""Ids of which something is asked in the end: even ones are rings, odd ones provided buffers."""


def register_half(subject: Subject, others: int) -> None:
    """A ring under each even id. Those looked at have one entry, in a page of their own: the RFC keeps its head there, and
    begins anew when it is registered.

    `others`: flags of the others. In memory of the application's 6.10 to 6.13 would lose a mapping of each (vmap-leak).
    """
    layout = known_layout()
    shared = subject.arena.anon(layout.size(1))
    one = io_uring_buf_reg(ring_entries=1)
    for bgid in range(0, ALL, 2):
        looked_at = bgid in LOOKED_AT
        if looked_at:
            one.flags, one.ring_addr = 0, subject.arena.anon(layout.size(1))
        else:
            one.flags, one.ring_addr = others, 0 if others else shared
        one.bgid = bgid
        res = subject.ring.register(c.IORING_REGISTER_PBUF_RING, one, 1)
        assert res == 0, f"group {bgid}: {bufring.explain(res)}"
        if looked_at:
            BufRing(one.ring_addr, 1, layout).publish(subject.arena.anon(64), 64, RING_BID)


def provide_half(subject: Subject) -> None:
    """A buffer for each odd id, numbered like its group. Of each batch the last alone is heard of, and what fails."""
    ring, addr = subject.ring, subject.arena.anon(64)
    batch = ring.params.sq_entries
    one = io_uring_sqe(opcode=c.IORING_OP_PROVIDE_BUFFERS, fd=1, addr=addr, len=64)
    for first in range(1, ALL, 2 * batch):
        queued = []
        for bgid in range(first, first + 2 * batch, 2):
            one.off = one.buf_group = one.user_data = bgid
            one.flags = 0 if bgid == first + 2 * batch - 2 else c.IOSQE_CQE_SKIP_SUCCESS
            queued.append(bytes(one))
        ring.queue(b"".join(queued))
        assert [(cqe.user_data, cqe.res) for cqe in ring.complete()] == [(bgid, 0)]


def next_buffers(subject: Subject, bgid: int) -> list[int | None]:
    """What two READs get of a group."""
    group = Group(subject.ring, subject.arena, bgid=bgid, entries=1)
    return bids(group.read(length=1) for _ in range(2))


@pytest.mark.slow
@pytest.mark.needs("pin_counters")
def test_as_many_groups_as_ids(
    make_ring: Callable[..., Subject], profile: Profile, shared_kernel: bool
) -> None:
    """65,536 groups, every other one a ring: each looked at has its own buffer, once, and can be made anew; every page
    comes back with the io_uring. io_buffer_get_list(), io_destroy_buffers()
    """
    found: dict[int, list[int | None]] = {}
    again: list[int] = []

    def make_all_and_close() -> None:
        subject = make_ring(entries=4096)
        register_half(subject, c.IOU_PBUF_RING_MMAP * ("pbuf_mmap" in profile.traits))
        provide_half(subject)
        found.update((bgid, next_buffers(subject, bgid)) for bgid in LOOKED_AT)
        again.append(bufring.register(subject.ring, addr=subject.arena.anon(1), bgid=ALL - 2))
        again.append(bufring.unregister(subject.ring, ALL - 2))
        again.append(bufring.register(subject.ring, addr=subject.arena.anon(1), bgid=ALL - 2))
        subject.ring.close()

    left = growth([PINS, *[PAGES] * (not shared_kernel)], make_all_and_close, rounds=ALL // 2)

    assert found == {bgid: [bgid if bgid % 2 else RING_BID, None] for bgid in LOOKED_AT}
    assert again == [-errno.EEXIST, 0, 0]
    assert left == {}


IDS = (*(1 << bit for bit in range(16)), *(0xFFFF ^ 1 << bit for bit in range(16)), 0, 63, 65, 0xFFFF)
"""Group ids of one bit set or one clear, and those about the array that 6.1 keeps 0 to 63 in."""


@pytest.mark.needs("pin_counters")
def test_groups_of_all_kinds_end_with_their_ring(
    make_ring: Callable[..., Subject], pins: PinWatch, profile: Profile
) -> None:
    """Rings in user and kernel memory, provided buffers, some removed, some used, in one io_uring that is closed: all
    pages come back. io_destroy_buffers()
    """

    def make(subject: Subject, at: int, bgid: int) -> None:
        ring, arena = subject.ring, subject.arena
        if at % 4 == 0:
            assert bufring.register(ring, addr=arena.anon(2 * libc.PAGE_SIZE), entries=A_PAGE, bgid=bgid) == 0
        elif at % 4 == 1 and "pbuf_mmap" in profile.traits:
            assert bufring.register(ring, entries=8, bgid=bgid, flags=c.IOU_PBUF_RING_MMAP) == 0
        else:
            assert legacy(ring, bgid=bgid, addr=arena.anon(256), count=3) == 0
            assert remove_legacy(ring, bgid=bgid, count=at % 4 + 1) == min(at % 4 + 1, 3)

    def make_and_close() -> None:
        subject = make_ring()
        for at, bgid in enumerate(IDS):
            make(subject, at, bgid)
        subject.ring.close()

    assert pins.after(make_and_close, wanted=0) == 0


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_many_groups_are_as_many(make_ring: Callable[..., Subject], kind: Kind) -> None:
    """36 groups whose ids differ in a bit, each with a buffer of its own: each request gets its own group's, and then
    there is none; each can be taken away by its own id, once. io_buffer_get_list()
    """
    subject = make_ring(entries=64)
    ring, arena = subject.ring, subject.arena
    memory = arena.anon(len(IDS) * libc.PAGE_SIZE)
    for at, bgid in enumerate(IDS):
        if kind is Kind.LEGACY:
            assert legacy(ring, bgid=bgid, addr=memory, count=1, bid=1000 + at) == 0
        else:
            group = Group(ring, arena, bgid=bgid, entries=1)
            assert group.register() == 0
            subject.owns(bgid)
            group.publish(1000 + at)
    with FileIO("/dev/zero") as zero:
        for bgid in IDS:
            selecting(ring, c.IORING_OP_READ, zero.fileno(), bgid=bgid, length=1)
        found = ring.complete(len(IDS))
        selecting(ring, c.IORING_OP_READ, zero.fileno(), bgid=IDS[0], length=1)
        found += ring.complete()

    assert bids(found) == [*range(1000, 1000 + len(IDS)), None]
    for bgid in IDS:
        if kind is Kind.LEGACY:
            assert legacy(ring, bgid=bgid, addr=memory, count=2) == 0
            assert remove_legacy(ring, bgid=bgid, count=9) == 2
        else:
            assert bufring.unregister(ring, bgid) == 0
