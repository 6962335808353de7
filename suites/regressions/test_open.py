"""What users and this suite found wrong and no kernel has put right yet: known issues where it shows.

The rest of the suites say of each what kernels do; these say what was asked for.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from ringrig.model.subject import Subject
from ringrig.model.transfer import Reply
from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.group import Group, remove_legacy

pytestmark = pytest.mark.ends_within(3)


@pytest.mark.needs("inc")
def test_a_short_read_of_a_file_uses_up_what_came(make_group: Callable[..., Group]) -> None:
    """A READ of 16 bytes of a file that has 12, incremental: 12 are used, and the next data lies right behind.

    Live: 16 are used, as they are committed before the read. io_ring_buffer_select(); liburing #1555. Open.
    """
    group = make_group(flags=c.IOU_PBUF_RING_INC)
    group.publish(3)
    fd = os.memfd_create("ringrig")
    os.pwrite(fd, b"twelve bytes", 0)
    assert group.read(fd, length=16).res == 12
    os.close(fd)

    left = group.entry(0).len
    assert left == 64 - 12, f"a file read of 12 bytes uses up {64 - left}"
    assert group.entry(0).addr == group.address_of(3) + 12


@pytest.mark.needs("mmap")
def test_a_group_above_2047_is_mapped_as_itself(ring: Subject, make_group: Callable[..., Group]) -> None:
    """Rings in kernel memory under 1 and 0x8001: what is published through the mapping of 0x8001, it hands out.

    Live: the offset holds 11 bits of the group, so registering takes an id that mmap() leads elsewhere with: to group 1.
    io_uring_get_unmapped_area(), io_mmap_get_region(); nobody has reported it that we know of. Open.
    The offset's sign, which spread into all its higher bits: fixed by febfbf767174 (6.14-rc).
    """
    low = make_group(bgid=1, flags=c.IOU_PBUF_RING_MMAP)
    high = make_group(bgid=0x8001, flags=c.IOU_PBUF_RING_MMAP)
    high.publish(5)

    found = [high.read(length=1), low.read(length=1)]

    replies = [Reply.of(cqe.res, cqe.flags) for cqe in found]
    want = [Reply(res=1, bid=5), Reply(res=-errno.ENOBUFS)]
    assert replies == want, f"the mapping of group 0x8001 shows group 1: {replies}"


def test_a_failed_registration_keeps_the_emptied_group(ring: Subject) -> None:
    """A group whose buffers were removed, and a registration with a bad address over it: REMOVE still says 0.

    Live: the group is destroyed before the memory is looked at, and REMOVE says -ENOENT. io_register_pbuf_ring(),
    since 8802766324e1. Open.
    """
    assert ring.provide_buffers(bgid=700, count=1) == 0
    assert ring.remove_buffers(bgid=700, count=1) == 1
    assert bufring.register(ring.ring, addr=ring.arena.unmapped(libc.PAGE_SIZE), entries=8, bgid=700) < 0

    left = remove_legacy(ring.ring, bgid=700, count=1)
    assert left == 0, f"a registration that failed took the group along: REMOVE says {left}"
