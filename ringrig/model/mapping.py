"""mmap() of the memory of a buffer ring: the call described, and what it must return."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass

from ringrig.model.checks import Traits
from ringrig.uring import consts as c
from ringrig.uring.libc import MAP_SHARED, PAGE_SIZE, PROT_READ, PROT_WRITE
from ringrig.uring.memory import pages

_GROUP_BITS = 0x07FF0000
"""What IORING_OFF_MMAP_MASK leaves of an offset's lower half, from IORING_OFF_PBUF_SHIFT on: groups 0 to 2047."""
_TYPE_BITS = 0xF8000000
_GROUP_INDEX = 0xFFFFFFFF
"""The group's number is an int once it is shifted down: offset bits from 48 on are lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mmap:
    """mmap() of an io_uring's descriptor at the offset of group `bgid`; `more` is or-ed into the offset.

    `length` in bytes; `addr`: where the caller would like to have it.
    """

    bgid: int = 7
    more: int = 0
    length: int = PAGE_SIZE
    prot: int = PROT_READ | PROT_WRITE
    flags: int = MAP_SHARED
    addr: int = 0

    @property
    def offset(self) -> int:
        return c.IORING_OFF_PBUF_RING | self.bgid << c.IORING_OFF_PBUF_SHIFT | self.more

    @property
    def found(self) -> int | None:
        """The group that the offset leads to, or None where its type bits say something else."""
        if self.offset & _TYPE_BITS != c.IORING_OFF_PBUF_RING:
            return None
        return (self.offset & ~_TYPE_BITS) >> c.IORING_OFF_PBUF_SHIFT & _GROUP_INDEX


def expect_mmap(call: Mmap, mappable: Mapping[int, int], traits: Traits) -> int:
    """0 or -errno. `mappable`: bytes of each ring in kernel memory, by its group.

    mm/mmap.c do_mmap(), io_uring/memmap.c io_uring_get_unmapped_area(), mm/memory.c vm_insert_pages().
    """
    if not call.length:
        return -errno.EINVAL
    if call.addr >= PAGE_SIZE:  # round_hint_to_min(): what is left of a smaller hint is no hint
        return -errno.EINVAL
    found = call.found
    if found is None or found not in mappable:
        return -errno.EINVAL if "mmap_refusal_is_einval" in traits else -errno.ENOMEM
    return -errno.EFAULT if pages(call.length) < mappable[found] else 0
