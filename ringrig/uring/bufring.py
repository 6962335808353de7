"""A buffer ring in shared memory: the application's side of it."""

from __future__ import annotations

import ctypes
import os
from typing import NamedTuple

from ringrig.uring import consts as c
from ringrig.uring import libc
from ringrig.uring.layout import ENTRY_SIZE, MERGED, Layout
from ringrig.uring.memory import pages
from ringrig.uring.ring import Ring
from ringrig.uring.structs import io_uring_buf_reg, io_uring_buf_status


class Entry(NamedTuple):
    """What one slot of the ring says, read back from the shared memory."""

    addr: int
    len: int
    bid: int


class BufRing:
    """`entries` slots at `addr`; does not own the memory and knows nothing of registration."""

    def __init__(self, addr: int, entries: int, layout: Layout) -> None:
        self.addr = addr
        self.entries = entries
        self.layout = layout
        self._producer = layout.producer.from_address(addr + layout.producer_at)

    @property
    def producer(self) -> int:
        """The application's free-running index; setting it releases the entries before it (see ring.py)."""
        return self._producer.value

    @producer.setter
    def producer(self, value: int) -> None:
        self._producer.value = value

    def address_of(self, slot: int) -> int:
        """Where slot `slot` modulo the size lies."""
        return self.addr + self.layout.header + slot % self.entries * ENTRY_SIZE

    def write(self, slot: int, addr: int, length: int, bid: int) -> None:
        """Fill a slot and nothing else: merged kernels have the producer's index in slot 0's last bytes."""
        entry = self.layout.entry.from_address(self.address_of(slot))
        entry.addr, entry.len, entry.bid = addr, length, bid

    def fill(self, count: int, addr: int, length: int, bid: int) -> None:
        """The first `count` slots alike: for floods, where a Python loop would take the time."""
        self.write(0, addr, length, bid)
        rest = bytes(self.layout.entry(addr=addr, len=length, bid=bid)) * (count - 1)
        ctypes.memmove(self.address_of(1), rest, len(rest))

    def publish(self, addr: int, length: int, bid: int) -> None:
        """Append one buffer and make it visible."""
        at = self.producer
        self.write(at, addr, length, bid)
        self.producer = at + 1

    def entry(self, slot: int) -> Entry:
        """What a slot says in memory now."""
        found = self.layout.entry.from_address(self.address_of(slot))
        return Entry(found.addr, found.len, found.bid)

    def raw(self) -> bytes:
        """All bytes of the ring."""
        return ctypes.string_at(self.addr, self.layout.size(self.entries))


def register(
    ring: Ring, *, addr: int = 0, entries: int = 1, bgid: int = 0, flags: int = 0, min_left: int = 0
) -> int:
    """IORING_REGISTER_PBUF_RING, well formed: 0 or -errno (io_uring/kbuf.c, io_register_pbuf_ring())."""
    reg = io_uring_buf_reg(ring_addr=addr, ring_entries=entries, bgid=bgid, flags=flags, min_left=min_left)
    return ring.register(c.IORING_REGISTER_PBUF_RING, reg, 1)


def unregister(ring: Ring, bgid: int) -> int:
    """IORING_UNREGISTER_PBUF_RING, well formed: 0 or -errno."""
    return ring.register(c.IORING_UNREGISTER_PBUF_RING, io_uring_buf_reg(bgid=bgid), 1)


def head(ring: Ring, bgid: int) -> int:
    """The kernel's u16 head through IORING_REGISTER_PBUF_STATUS, or -errno."""
    status = io_uring_buf_status(buf_group=bgid)
    res = ring.register(c.IORING_REGISTER_PBUF_STATUS, status, 1)
    return status.head if res == 0 else res


def mmap_offset(bgid: int) -> int:
    """Where a ring of kernel memory is mapped; bgids from 2048 on spill into the offset's type bits."""
    return c.IORING_OFF_PBUF_RING | bgid << c.IORING_OFF_PBUF_SHIFT


def map_kernel_ring(ring: Ring, *, bgid: int, entries: int) -> int:
    """mmap() an IOU_PBUF_RING_MMAP ring (merged layout): its address, or -errno. The caller unmaps it."""
    prot = libc.PROT_READ | libc.PROT_WRITE
    return libc.mmap(pages(MERGED.size(entries)), prot, libc.MAP_SHARED, ring.fd, mmap_offset(bgid))


def errno_text(res: int) -> str:
    """`-EINVAL` for -22, the number itself for what is no error."""
    import errno

    return f"-{errno.errorcode.get(-res, str(-res))}" if -4096 < res < 0 else str(res)


def explain(res: int) -> str:
    """`-EINVAL (Invalid argument)`."""
    return f"{errno_text(res)} ({os.strerror(-res)})" if res < 0 else str(res)
