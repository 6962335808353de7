"""io_uring_register() of a 32-bit program: the structures have no pointers, so the answers are those of a 64-bit one."""

from __future__ import annotations

import errno
import os

import pytest

from ringrig.model.calls import (
    Arg,
    BufReg,
    BufStatus,
    Fd,
    Memory,
    kernel_registration,
    registration,
    status,
    unregistration,
)
from ringrig.model.spec import Model
from ringrig.model.subject import Subject
from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.bufring import BufRing
from ringrig.uring.compat import mmap2
from ringrig.uring.group import Group, bids
from ringrig.uring.layout import A_PAGE, MERGED
from ringrig.uring.memory import Arena, pages
from ringrig.uring.ring import Ring

pytestmark = pytest.mark.needs("compat32")

CALLS: dict[str, BufReg] = {
    "good": registration(),
    "kernel_memory": kernel_registration(),
    "incremental": registration(flags=c.IOU_PBUF_RING_INC),
    "largest": registration(entries=32768),
    "last_bgid": registration(bgid=65535),
    "shared_memory": registration(memory=Memory.ANON_SHARED),
    "entries_none": registration(entries=0),
    "entries_three": registration(entries=3),
    "entries_65536": registration(entries=65536),
    "unknown_flag": registration(flags=4),
    "min_left_without_inc": registration(min_left=1),
    "first_reserved_word": registration(resv=(1, 0, 0, 0, 0)),
    "last_reserved_word": registration(resv=(0, 0, 0, 0, 1 << 31)),
    "null_addr": registration(memory=Memory.NULL),
    "misaligned": registration(offset=16),
    "unmapped": registration(memory=Memory.UNMAPPED),
    "half_unmapped": registration(memory=Memory.THEN_UNMAPPED, entries=2 * A_PAGE),
    "read_only": registration(memory=Memory.READ_ONLY),
    "address_of_33_bits": registration(memory=Memory.NULL, offset=1 << 32),
    "last_page": registration(memory=Memory.LAST_PAGE),
    "kernel_memory_with_address": kernel_registration(memory=Memory.ANON),
    "argument_null": registration(arg=Arg.NULL),
    "argument_unmapped": registration(arg=Arg.UNMAPPED),
    "argument_at_the_end_of_its_page": registration(arg=Arg.PAGE_END),
    "argument_at_an_odd_address": registration(arg=Arg.ODD),
    "no_argument": registration(nr_args=0),
    "two_arguments": registration(nr_args=2),
    "many_arguments": registration(nr_args=0xFFFFFFFF),
    "fd_closed": registration(fd=Fd.CLOSED),
    "fd_minus_one": registration(fd=Fd.MINUS_ONE),
    "fd_of_a_pipe": registration(fd=Fd.NOT_A_RING),
    "registered_index": registration(fd=Fd.REGISTERED),
    "registered_index_beyond": registration(fd=Fd.REGISTERED_BEYOND),
}
OVER_A_RING: dict[str, BufReg | BufStatus] = {
    "register": registration(),
    "unregister": unregistration(),
    "unregister_another": unregistration(bgid=8),
    "unregister_with_flags": unregistration(flags=1),
    "unregister_with_a_reserved_word": unregistration(resv=(0, 0, 1, 0, 0)),
    "unregister_argument_unmapped": unregistration(arg=Arg.UNMAPPED),
    "status": status(),
    "status_of_another": status(bgid=8),
    "status_of_a_wide_id": status(bgid=65536 + 7),
    "status_with_a_reserved_word": status(resv=(0, 0, 0, 0, 0, 0, 0, 1)),
    "status_at_the_end_of_a_page": status(arg=Arg.PAGE_END),
    "status_into_read_only": status(arg=Arg.READ_ONLY),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_registering(ring: Subject, model: Model, call: BufReg) -> None:
    """Each good and each wrong registration is judged as a 64-bit program's. io_register_pbuf_ring()"""
    assert ring.say(call) == model.say(call)
    assert ring.survey(call.bgid) == model.survey(call.bgid)


@pytest.mark.parametrize("call", OVER_A_RING.values(), ids=OVER_A_RING)
def test_with_a_ring_there(ring: Subject, model: Model, call: BufReg | BufStatus) -> None:
    """With group 7 registered: again, unregistered, asked for its head, right and wrong.

    io_unregister_pbuf_ring(), io_register_pbuf_status()
    """
    assert ring.say(registration()) == model.say(registration())

    assert ring.say(call) == model.say(call)
    assert ring.survey(7) == model.survey(7)


@pytest.mark.needs("status")
@pytest.mark.parametrize("first", ["32_bits", "64_bits"])
def test_both_tables_know_one_group(ring: Subject, first: str) -> None:
    """Registered by a call of one table, a group exists for the other: -EEXIST, its head, and it can go.

    The groups are the ring's, whoever calls. ctx->io_bl_xa
    """
    with Ring.adopt(os.dup(ring.ring.fd), ring.ring.params) as native:
        one, other = (ring.ring, native) if first == "32_bits" else (native, ring.ring)
        group = Group(one, ring.arena)
        assert group.register() == 0

        assert bufring.register(other, addr=group.memory.addr, entries=8, bgid=7) == -errno.EEXIST
        group.publish(5, 3)
        assert group.read().bid == 5
        assert bufring.head(other, 7) == 1
        assert bufring.unregister(other, 7) == 0
        assert bufring.head(one, 7) == -errno.ENOENT


@pytest.mark.needs("mmap")
@pytest.mark.parametrize("bgid", [0, 7, 2047], ids=["first", "seven", "last_mappable"])
@pytest.mark.parametrize("entries", [8, 2 * A_PAGE], ids=["one_page", "two_pages"])
def test_a_kernel_ring_is_mapped_low(ring: Subject, bgid: int, entries: int) -> None:
    """mmap2() of a ring in kernel memory: below 4 GiB, all zero, and what is published there is selected.

    The offset 0x80000000 | bgid << 16 fits, as mmap2() wants it in pages. io_uring_get_unmapped_area()
    """
    group = Group(ring.ring, ring.arena, bgid=bgid, entries=entries, flags=c.IOU_PBUF_RING_MMAP)
    assert bufring.register(ring.ring, entries=entries, bgid=bgid, flags=c.IOU_PBUF_RING_MMAP) == 0
    length, prot = pages(MERGED.size(entries)), libc.PROT_READ | libc.PROT_WRITE

    addr = mmap2(length, prot, libc.MAP_SHARED, ring.ring.fd, bufring.mmap_offset(bgid))

    assert addr > 0
    assert addr + length <= 1 << 32
    group.memory = BufRing(addr, entries, MERGED)
    assert group.memory.raw() == bytes(MERGED.size(entries))
    order = [5, 1, *range(20, 26 + A_PAGE)] if entries > A_PAGE else [5, 1, 9]
    group.publish(*order)
    assert bids(group.drain(len(order))[:2]) == [5, 1]
    assert group.read(length=1).res == -errno.ENOBUFS
    assert group.unmap() == 0


def test_memory_beyond_4_gib(ring: Subject) -> None:
    """ring_addr and the buffers' addresses have 64 bits for everyone: memory above 4 GiB is used as such.

    io_register_pbuf_ring(), io_ring_buffer_select(): no compat_ptr()
    """
    above = Arena()
    try:
        group = Group(ring.ring, above)
        assert group.memory.addr > 1 << 32 and group.data > 1 << 32
        assert group.register() == 0
        ring.owns(7)
        group.publish(5, 3)
        assert bids([group.read(), group.read()]) == [5, 3]
        assert group.read().res == -errno.ENOBUFS
    finally:
        above.close()
