"""A buffer ring in shared memory: the application's side of it."""

from __future__ import annotations

import ctypes
import os
from typing import NamedTuple

from ringrig.uring import consts as c
from ringrig.uring import libc
from ringrig.uring.ring import Ring
from ringrig.uring.structs import io_uring_buf, io_uring_buf_reg, io_uring_buf_status

ENTRY_SIZE = ctypes.sizeof(io_uring_buf)
_TAIL_OFFSET = ENTRY_SIZE - 2


class Entry(NamedTuple):
    """What one slot of the ring says, read back from the shared memory."""

    addr: int
    len: int
    bid: int


class BufRing:
    """`entries` slots at `addr`; does not own the memory and knows nothing of registration."""

    def __init__(self, addr: int, entries: int) -> None:
        self.addr = addr
        self.entries = entries
        self._tail = ctypes.c_uint16.from_address(addr + _TAIL_OFFSET)

    @property
    def tail(self) -> int:
        """The application's u16 index; setting it is the release of the entries before it (see ring.py)."""
        return self._tail.value

    @tail.setter
    def tail(self, value: int) -> None:
        self._tail.value = value & 0xFFFF

    def write(self, slot: int, addr: int, length: int, bid: int) -> None:
        """Fill slot `slot` modulo the size, leaving the tail alone, which shares bytes with slot 0."""
        at = self.addr + slot % self.entries * ENTRY_SIZE
        ctypes.c_uint64.from_address(at).value = addr
        ctypes.c_uint32.from_address(at + 8).value = length
        ctypes.c_uint16.from_address(at + 12).value = bid

    def publish(self, addr: int, length: int, bid: int) -> None:
        """Append one buffer and make it visible."""
        tail = self.tail
        self.write(tail, addr, length, bid)
        self.tail = tail + 1

    def entry(self, slot: int) -> Entry:
        """Slot `slot` as it stands in memory now."""
        found = io_uring_buf.from_address(self.addr + slot % self.entries * ENTRY_SIZE)
        return Entry(found.addr, found.len, found.bid)

    def raw(self) -> bytes:
        """All bytes of the ring."""
        return ctypes.string_at(self.addr, self.entries * ENTRY_SIZE)


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
    """mmap() an IOU_PBUF_RING_MMAP ring: its address, or -errno. The caller unmaps it."""
    length = -(-entries * ENTRY_SIZE // libc.PAGE_SIZE) * libc.PAGE_SIZE
    prot = libc.PROT_READ | libc.PROT_WRITE
    return libc.mmap(length, prot, libc.MAP_SHARED, ring.fd, mmap_offset(bgid))


def errno_text(res: int) -> str:
    """`-EINVAL` for -22, the number itself for what is no error."""
    import errno

    return f"-{errno.errorcode.get(-res, str(-res))}" if -4096 < res < 0 else str(res)


def explain(res: int) -> str:
    """`-EINVAL (Invalid argument)`."""
    return f"{errno_text(res)} ({os.strerror(-res)})" if res < 0 else str(res)
