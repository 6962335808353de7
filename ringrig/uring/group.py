"""A buffer group in use: a registered ring, buffers to publish, reads that pick them."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable

from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.bufring import BufRing, Entry
from ringrig.uring.layout import MERGED
from ringrig.uring.memory import Arena, pages
from ringrig.uring.probe import known_layout
from ringrig.uring.ring import Cqe, Ring
from ringrig.uring.structs import io_uring_sqe


class Pipe:
    """A pipe that does not block, and how to fill it."""

    def __init__(self, arena: Arena) -> None:
        self.reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        arena.own(self.reader)
        arena.own(self._writer)

    def feed(self, data: bytes) -> None:
        """Write `data`, which must fit."""
        if os.write(self._writer, data) != len(data):
            raise OSError("the pipe is full")


class Group:
    """`entries` slots and as many buffers of `size` bytes, in memory of the application's or the kernel's.

    The ring has the layout that this kernel was found to have (probe.py).
    """

    def __init__(
        self,
        ring: Ring,
        arena: Arena,
        *,
        bgid: int = 7,
        entries: int = 8,
        size: int = 64,
        flags: int = 0,
        min_left: int = 0,
    ) -> None:
        self.ring, self._arena = ring, arena
        self.bgid, self.entries, self.size, self.flags, self.min_left = bgid, entries, size, flags, min_left
        self.data = arena.anon(entries * size)
        layout = known_layout()
        self.memory = BufRing(arena.anon(layout.size(entries)), entries, layout)
        self._zero = -1

    def register(self) -> int:
        """REGISTER_PBUF_RING, and mmap() of a ring in kernel memory: 0 or the first -errno."""
        in_kernel = self.flags & c.IOU_PBUF_RING_MMAP
        res = bufring.register(
            self.ring,
            addr=0 if in_kernel else self.memory.addr,
            entries=self.entries,
            bgid=self.bgid,
            flags=self.flags,
            min_left=self.min_left,
        )
        if res or not in_kernel:
            return res
        addr = bufring.map_kernel_ring(self.ring, bgid=self.bgid, entries=self.entries)
        if addr < 0:
            return addr
        self.memory = BufRing(addr, self.entries, MERGED)
        self._arena.adopt(addr, pages(MERGED.size(self.entries)))
        return 0

    def unmap(self) -> int:
        """Take down the mapping of a ring in kernel memory: 0 or -errno."""
        return self._arena.unmap(self.memory.addr, pages(MERGED.size(self.entries)))

    def unregister(self) -> int:
        """0 or -errno."""
        return bufring.unregister(self.ring, self.bgid)

    def head(self) -> int:
        """The kernel's head (needs pbuf_status), or -errno."""
        return bufring.head(self.ring, self.bgid)

    def address_of(self, bid: int) -> int:
        """Where buffer `bid` lies (bids count through the buffers, modulo `entries`)."""
        return self.data + bid % self.entries * self.size

    def publish(self, *bids: int, size: int | None = None) -> None:
        """Append buffers, whole or cut to `size` bytes."""
        for bid in bids:
            self.memory.publish(self.address_of(bid), self.size if size is None else size, bid)

    def entry(self, slot: int) -> Entry:
        """What slot `slot` says in memory now."""
        return self.memory.entry(slot)

    def content(self, bid: int, length: int) -> bytes:
        """The first `length` bytes of a buffer."""
        return ctypes.string_at(self.address_of(bid), length)

    def zero(self) -> int:
        """/dev/zero: always ready, never polled, so a buffer is committed as it is selected."""
        if self._zero < 0:
            self._zero = self._arena.own(os.open("/dev/zero", os.O_RDONLY | os.O_CLOEXEC))
        return self._zero

    def queue_read(self, fd: int | None = None, *, length: int = 0, flags: int = 0) -> None:
        """Queue an IORING_OP_READ of `fd` (default /dev/zero) into a selected buffer; length 0: all of it."""
        self._reading(self.ring.sqe(), self.zero() if fd is None else fd, length, flags)

    def _reading(self, sqe: io_uring_sqe, fd: int, length: int, flags: int) -> io_uring_sqe:
        sqe.opcode = c.IORING_OP_READ
        sqe.fd = fd
        sqe.len = length
        sqe.off = 0xFFFFFFFFFFFFFFFF
        sqe.flags = c.IOSQE_BUFFER_SELECT | flags
        sqe.buf_group = self.bgid
        return sqe

    def read(self, fd: int | None = None, *, length: int = 0, flags: int = 0) -> Cqe:
        """One such read, finished."""
        self.queue_read(fd, length=length, flags=flags)
        return self.ring.complete()[0]

    def next(self) -> int | Cqe | None:
        """What bids() says of a read of a byte of /dev/zero that writes into its own buffer alone; else the completion."""
        length = self.entries * self.size
        before = ctypes.string_at(self.data, length)
        ctypes.memset(self.data, 0xA5, length)
        cqe = self.read(length=1)
        written = {at for at, byte in enumerate(ctypes.string_at(self.data, length)) if byte != 0xA5}
        ctypes.memmove(self.data, before, length)
        own = set() if cqe.bid is None else {self.address_of(cqe.bid) - self.data}
        return bids([cqe])[0] if written == own else cqe

    def spend(self, count: int) -> None:
        """Move the kernel's head `count` slots on, by reads of a byte each; the slots end up empty.

        As many at a time as the SQ holds (a lap of 65536 wants a large one), of which the last alone is heard of.
        """
        if not count:
            return
        filled, memory = min(count, self.entries), self._arena.anon(libc.PAGE_SIZE)
        at_once = self.ring.params.sq_entries
        if self.flags & c.IOU_PBUF_RING_INC:  # which uses entries up where they are
            at_once = min(at_once, self.entries)
        self.memory.producer += count
        quiet = self._reading(io_uring_sqe(), self.zero(), 1, c.IOSQE_CQE_SKIP_SUCCESS)
        for first in range(0, count, at_once):
            self.memory.fill(filled, memory, 1, 0)
            self.ring.fill(quiet, min(count - first, at_once) - 1)
            if self.read(length=1).res != 1:
                raise OSError("a read of a byte from /dev/zero failed")
        self.memory.fill(filled, 0, 0, 0)

    def drain(self, count: int, *, length: int = 1) -> list[Cqe]:
        """`count` reads of /dev/zero, as many at a time as the SQ holds (a whole number of times)."""
        batch = min(count, self.ring.params.sq_entries)
        read = self._reading(io_uring_sqe(), self.zero(), length, 0)
        found: list[Cqe] = []
        for _ in range(count // batch):
            self.ring.fill(read, batch)
            found += self.ring.complete(batch, timeout=60)
        return found


def legacy(ring: Ring, *, bgid: int, addr: int, size: int = 64, count: int, bid: int = 0) -> int:
    """IORING_OP_PROVIDE_BUFFERS: `count` buffers of `size` bytes from `addr` on; its result."""
    sqe = ring.sqe()
    sqe.opcode = c.IORING_OP_PROVIDE_BUFFERS
    sqe.fd, sqe.addr, sqe.len, sqe.off, sqe.buf_group = count, addr, size, bid, bgid
    return ring.complete()[0].res


def remove_legacy(ring: Ring, *, bgid: int, count: int) -> int:
    """IORING_OP_REMOVE_BUFFERS: buffers removed, or -errno."""
    sqe = ring.sqe()
    sqe.opcode = c.IORING_OP_REMOVE_BUFFERS
    sqe.fd, sqe.buf_group = count, bgid
    return ring.complete()[0].res


def bids(cqes: Iterable[Cqe]) -> list[int | Cqe | None]:
    """The buffer ids of transfers into one buffer each, in their order; None for one that found no buffer.

    A completion that says anything else besides stands there whole, and is equal to neither.
    """
    return [_bid(cqe) for cqe in cqes]


def _bid(cqe: Cqe) -> int | Cqe | None:
    if (cqe.res, cqe.flags) == (-errno.ENOBUFS, 0):
        return None
    flags = cqe.flags & 0xFFFF & ~c.IORING_CQE_F_SOCK_NONEMPTY
    return cqe.bid if cqe.res >= 0 and flags == c.IORING_CQE_F_BUFFER else cqe
