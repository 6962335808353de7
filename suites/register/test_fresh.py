"""A ring starts at head 0, empty, with memory that is zero: after whatever was there before."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable

import pytest

from ringrig.model.calls import Memory, kernel_registration, registration
from ringrig.model.profiles import Profile
from ringrig.model.spec import name_of
from ringrig.model.subject import Subject
from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.group import Group, bids
from ringrig.uring.layout import A_PAGE, MERGED
from ringrig.uring.libc import MAP_SHARED, PROT_READ, PROT_WRITE, mmap

both_sides = pytest.mark.parametrize("bgid", [7, 700], ids=["low_bgid", "high_bgid"])
SIZES = {"one": 1, "eight": 8, "one_page": A_PAGE, "two_pages": 2 * A_PAGE, "most": 32768}


@both_sides
@pytest.mark.parametrize("consumed", [1, 3, 8, 11], ids=["one", "three", "a_lap", "more_than_a_lap"])
def test_a_new_ring_under_an_old_id_starts_at_its_first_slot(
    ring: Subject, make_group: Callable[..., Group], bgid: int, consumed: int
) -> None:
    """Consume some, unregister, register fresh memory under the same id: the first read gets slot 0.

    io_register_pbuf_ring() gives a new, zeroed list. 6.1 keeps the lists of groups 0..63 with their head, so
    that such a ring starts where the old one stopped, in slots nobody filled. Fixed by 09ab7eff3820 (6.10).
    """
    old = make_group(bgid=bgid)
    for bid in range(consumed):
        old.publish(bid)
        assert old.next() == bid
    assert old.unregister() == 0

    new = make_group(bgid=bgid)
    new.publish(40, 41)
    found = [new.read(length=1) for _ in range(3)]
    new.publish(42)
    found.append(new.read(length=1))

    got = [cqe.bid if cqe.res == 1 else name_of(cqe.res) for cqe in found]
    assert got == [40, 41, "-ENOBUFS", 42], f"a new ring under an old id hands out {got}"


@both_sides
def test_a_ring_over_an_emptied_legacy_group_starts_at_its_first_slot(
    ring: Subject, make_group: Callable[..., Group], profile: Profile, bgid: int
) -> None:
    """Provide and remove legacy buffers, register a ring: reads get the ring's buffers, in its order.

    io_register_pbuf_ring(), 8802766324e1; the RFC refuses: test_over_an_existing_group.
    """
    if "upgrade_refused" in profile.traits:
        pytest.skip("needs an emptied legacy group to be free: the RFC's io_register_pbuf_ring() refuses any")
    assert ring.provide_buffers(bgid=bgid, count=5) == 0
    assert ring.remove_buffers(bgid=bgid, count=5) == 5

    group = make_group(bgid=bgid)
    group.publish(9, 4)

    assert bids(group.drain(2)) == [9, 4]


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(0, id="plain"),
        pytest.param(c.IOU_PBUF_RING_INC, id="inc", marks=pytest.mark.needs("inc")),
    ],
)
def test_a_new_ring_is_empty(make_group: Callable[..., Group], flags: int) -> None:
    """Registered with all memory zero, nothing published: -ENOBUFS; then one is, and is found.

    io_ring_buffer_select(): tail == head
    """
    group = make_group(flags=flags)

    assert group.read(length=1).res == -errno.ENOBUFS
    group.publish(6, size=1)
    assert group.next() == 6


def test_what_registering_writes_into_user_memory(ring: Subject, profile: Profile) -> None:
    """Buffers published before the registration are there after it: the kernel writes nothing there.

    io_register_pbuf_ring(); the RFC sets br->head to 0 and nothing else, so they are gone with it.
    """
    group = Group(ring.ring, ring.arena)
    group.publish(2, 0, 1)
    before = group.memory.raw()

    assert group.register() == 0

    if "producer_cleared" in profile.traits:
        assert group.memory.raw() == bytes(4) + before[4:]
        assert group.read(length=1).res == -errno.ENOBUFS
        group.memory.producer = 3
    else:
        assert group.memory.raw() == before
    assert bids(group.drain(3)) == [2, 0, 1]


@pytest.mark.needs("mmap")
@pytest.mark.parametrize("entries", SIZES.values(), ids=SIZES)
def test_kernel_memory_is_zero(ring: Subject, entries: int) -> None:
    """A ring of kernel memory is all zero to its last byte, also where such a ring was filled just before.

    io_pages_map(), io_region_allocate_pages(): __GFP_ZERO. Else old kernel memory leaks to user space.
    """
    for bgid in (1, 2, 3):
        group = Group(ring.ring, ring.arena, bgid=bgid, entries=entries, size=1, flags=c.IOU_PBUF_RING_MMAP)
        assert group.register() == 0
        size = MERGED.size(entries)

        assert group.memory.raw() == bytes(size)

        ctypes.memset(group.memory.addr, 0xA5, size)
        assert group.unmap() == 0
        assert group.unregister() == 0


@pytest.mark.needs("mmap")
@pytest.mark.parametrize("bgid", [0, 63, 64, 2047], ids=["zero", "last_low", "first_high", "last_mappable"])
def test_kernel_ring_is_mapped_by_its_id(make_group: Callable[..., Group], bgid: int) -> None:
    """What is published through mmap() at 0x80000000 | bgid << 16 is what is handed out. io_pbuf_mmap()"""
    group = make_group(bgid=bgid, flags=c.IOU_PBUF_RING_MMAP)
    group.publish(3, 7, 1)

    assert bids(group.drain(3)) == [3, 7, 1]


@pytest.mark.needs("mmap")
def test_user_ring_cannot_be_mapped(ring: Subject, group: Group, profile: Profile) -> None:
    """mmap() at the offset of a ring in user memory fails: there is nothing of the kernel's to map.

    io_pbuf_get_bl(), io_region_validate_mmap(): -EINVAL, which older kernels turn into -ENOMEM.
    """
    addr = mmap(libc.PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, ring.ring.fd, bufring.mmap_offset(7))

    refusal = errno.EINVAL if "mmap_refusal_is_einval" in profile.traits else errno.ENOMEM
    assert name_of(addr) == name_of(-refusal)


@pytest.mark.needs("mmap")
def test_address_of_a_kernel_ring_is_not_used(ring: Subject) -> None:
    """MMAP with an address: if it is taken at all, the ring is the kernel's, not what lies at the address.

    Since 6.14 it succeeds, and what is published at the address is never seen. io_create_region()
    """
    group = Group(ring.ring, ring.arena)
    call = kernel_registration(memory=Memory.ANON)
    if ring.register_pbuf_ring(call).res == 0:
        group.publish(1)
        assert group.read(length=1).res == -errno.ENOBUFS
        addr = bufring.map_kernel_ring(ring.ring, bgid=7, entries=8)
        assert addr > 0
        bufring.BufRing(addr, 8, MERGED).publish(group.address_of(5), 64, 5)
        assert group.next() == 5


def test_plain_registration_survives_all_that(ring: Subject) -> None:
    """Sixteen times registered and unregistered under one id: always taken. io_register_pbuf_ring(), io_unregister_pbuf_ring()"""
    for _ in range(16):
        assert ring.register_pbuf_ring(registration()).res == 0
        assert bufring.unregister(ring.ring, 7) == 0
