"""An io_uring instance, spoken to through raw system calls.

Shared indices need release (stores) and acquire (loads). ctypes reads and writes an aligned integer with a
single machine move, and on x86-64 (TSO) a store is never seen before an earlier store nor a load before an
earlier load; so plain assignments do. Other architectures are refused by probe.py. Besides, without SQPOLL
the kernel looks at the SQ only inside io_uring_enter() of the same thread.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from ringrig.uring import consts as c
from ringrig.uring import libc
from ringrig.uring.structs import (
    io_uring_getevents_arg,
    io_uring_params,
    io_uring_restriction,
    io_uring_rsrc_update,
    io_uring_sqe,
    kernel_timespec,
)

Argument = int | bytes | ctypes.Structure | ctypes.Array[ctypes.c_char]
"""What register() takes: an address, bytes (copied first), or a ctypes object (its own memory is passed)."""


_CQE, _CQE32 = struct.Struct("<QiI"), struct.Struct("<QiI16x")


class SetupFailed(OSError):
    """io_uring_setup() refused."""


class Cqe(NamedTuple):
    """One completion; `flags` as the kernel wrote them."""

    user_data: int
    res: int
    flags: int

    @property
    def bid(self) -> int | None:
        """The buffer id, or None without IORING_CQE_F_BUFFER."""
        return self.flags >> c.IORING_CQE_BUFFER_SHIFT if self.flags & c.IORING_CQE_F_BUFFER else None


def address_of(argument: Argument) -> tuple[int, object]:
    """The number to pass as a pointer, and the object that must live as long as it is used."""
    if isinstance(argument, int):
        return argument, None
    if isinstance(argument, bytes):
        kept = ctypes.create_string_buffer(argument, len(argument))
        return ctypes.addressof(kept), kept
    return ctypes.addressof(argument), argument


class Ring:
    """io_uring_setup() and the mappings that go with its flags.

    With IORING_SETUP_NO_MMAP the queues live in memory of this process; with IORING_SETUP_REGISTERED_FD_ONLY
    `fd` is an index of the task's registered rings and every call says so. `idle`: milliseconds without work after
    which the thread of IORING_SETUP_SQPOLL sleeps (0: the kernel's own second).
    """

    def __init__(self, entries: int = 8, flags: int = 0, *, cq_entries: int = 0, idle: int = 0) -> None:
        self.params = p = io_uring_params(flags=flags, cq_entries=cq_entries, sq_thread_idle=idle)
        if cq_entries:
            p.flags |= c.IORING_SETUP_CQSIZE
        self._maps: list[tuple[int, int]] = []
        if flags & c.IORING_SETUP_NO_MMAP:
            self._provide_memory(entries, cq_entries)
        fd = self._setup(entries)
        if fd < 0:
            self._unmap()
            raise SetupFailed(-fd, f"io_uring_setup({entries}, flags={flags:#x}): {os.strerror(-fd)}")
        self._open(fd)

    @classmethod
    def adopt(cls, fd: int, params: io_uring_params) -> Self:
        """A ring that somebody else set up and passed on: through `fd`, the queues mapped here too."""
        ring = cls.__new__(cls)
        ring.params, ring._maps = params, []
        ring._open(fd)
        return ring

    def _open(self, fd: int) -> None:
        flags = self.params.flags
        self.fd = fd
        self.registered_only = bool(flags & c.IORING_SETUP_REGISTERED_FD_ONLY)
        self._cqe = _CQE32 if flags & c.IORING_SETUP_CQE32 else _CQE
        self.sqe_stride = 128 if flags & c.IORING_SETUP_SQE128 else 64
        if not flags & c.IORING_SETUP_NO_MMAP:
            self._map_queues()
        self._bind()

    def _setup(self, entries: int) -> int:
        """io_uring_setup() with self.params."""
        return libc.io_uring_setup(entries, ctypes.addressof(self.params))

    def _enter(self, to_submit: int, wait: int, flags: int, limit: io_uring_getevents_arg) -> int:
        """io_uring_enter() with IORING_ENTER_EXT_ARG."""
        at, size = ctypes.addressof(limit), ctypes.sizeof(limit)
        return libc.io_uring_enter(self.fd, to_submit, wait, flags, at, size)

    def _provide_memory(self, entries: int, cq_entries: int) -> None:
        """One page-aligned block for each user address; generous, as the kernel only wants enough."""
        room = 64 * 1024 + 64 * max(entries, cq_entries)
        for field in (self.params.sq_off, self.params.cq_off):
            size = -(-room // libc.PAGE_SIZE) * libc.PAGE_SIZE
            prot, kind = libc.PROT_READ | libc.PROT_WRITE, libc.MAP_SHARED | libc.MAP_ANONYMOUS
            field.user_addr = addr = libc.mmap(size, prot, kind | libc.MAP_POPULATE)
            if addr < 0:
                raise OSError(-addr, os.strerror(-addr))
            self._maps.append((addr, size))
        self._queue, self.sqes = self.params.cq_off.user_addr, self.params.sq_off.user_addr

    def _map_queues(self) -> None:
        p = self.params
        no_array = p.flags & c.IORING_SETUP_NO_SQARRAY
        room = max(
            p.cq_off.cqes + p.cq_entries * self._cqe.size,
            0 if no_array else p.sq_off.array + p.sq_entries * 4,
        )
        self._queue = self._map(room, c.IORING_OFF_SQ_RING)
        self.sqes = self._map(p.sq_entries * self.sqe_stride, c.IORING_OFF_SQES)

    def _map(self, length: int, offset: int) -> int:
        prot = libc.PROT_READ | libc.PROT_WRITE
        addr = libc.mmap(length, prot, libc.MAP_SHARED | libc.MAP_POPULATE, self.fd, offset)
        if addr < 0:
            self.close()
            raise OSError(-addr, f"mmap of the ring at {offset:#x}: {os.strerror(-addr)}")
        self._maps.append((addr, length))
        return addr

    def _bind(self) -> None:
        p, queue = self.params, self._queue
        at = ctypes.c_uint32.from_address
        self.sq_head, self.sq_tail = at(queue + p.sq_off.head), at(queue + p.sq_off.tail)
        self.sq_flags = at(queue + p.sq_off.flags)
        self.cq_head, self.cq_tail = at(queue + p.cq_off.head), at(queue + p.cq_off.tail)
        self._queued = self.sq_tail.value
        self._sq_mask, self._cq_mask = p.sq_entries - 1, p.cq_entries - 1
        if not p.flags & c.IORING_SETUP_NO_SQARRAY:
            array = (ctypes.c_uint32 * p.sq_entries).from_address(queue + p.sq_off.array)
            array[:] = list(range(p.sq_entries))

    def sqe(self) -> io_uring_sqe:
        """The next free SQE, zeroed; the kernel sees it from submit() on."""
        tail = self._queued
        addr = self.sqes + (tail & self._sq_mask) * self.sqe_stride
        ctypes.memset(addr, 0, self.sqe_stride)
        self._queued = tail + 1 & 0xFFFFFFFF
        return io_uring_sqe.from_address(addr)

    def fill(self, sqe: io_uring_sqe, count: int) -> None:
        """Queue `count` copies of `sqe`: for floods, where a Python loop would take the time."""
        self.queue(bytes(sqe) * count)

    def queue(self, sqes: bytes) -> None:
        """Queue SQEs of 64 bytes as they lie in memory, for which there must be room."""
        count, at = len(sqes) // 64, self._queued & self._sq_mask
        if self.sqe_stride != 64 or count > self.params.sq_entries:
            raise ValueError(f"{count} SQEs of 64 bytes, and a queue of {self.params.sq_entries}")
        first = 64 * min(count, self.params.sq_entries - at)
        ctypes.memmove(self.sqes + 64 * at, sqes, first)
        ctypes.memmove(self.sqes, sqes[first:], len(sqes) - first)
        self._queued = self._queued + count & 0xFFFFFFFF

    def show(self) -> int:
        """Let the kernel see the queued SQEs, without a call: how many it has not taken yet."""
        self.sq_tail.value = self._queued
        return self._queued - self.sq_head.value & 0xFFFFFFFF

    def submit(self, wait: int = 0, *, timeout: float = 10.0) -> int:
        """io_uring_enter() for all queued SQEs; waits for `wait` completions, -ETIME after `timeout` s."""
        to_submit = self.show()
        flags = c.IORING_ENTER_GETEVENTS | c.IORING_ENTER_EXT_ARG
        if self.registered_only:
            flags |= c.IORING_ENTER_REGISTERED_RING
        if self.params.flags & c.IORING_SETUP_SQPOLL and self.sq_flags.value & c.IORING_SQ_NEED_WAKEUP:
            flags |= c.IORING_ENTER_SQ_WAKEUP
        ts = kernel_timespec(int(timeout), int(timeout % 1 * 1e9))
        ext = io_uring_getevents_arg(ts=ctypes.addressof(ts))
        return self._enter(to_submit, wait, flags, ext)

    def cqes(self) -> list[Cqe]:
        """All completions there are, taken off the CQ."""
        head, tail = self.cq_head.value, self.cq_tail.value
        found: list[Cqe] = []
        while head != tail:  # up to the end of the CQ, and from its start
            at = head & self._cq_mask
            count = min(tail - head & 0xFFFFFFFF, self.params.cq_entries - at)
            base, each = self._queue + self.params.cq_off.cqes, self._cqe.size
            found += map(Cqe._make, self._cqe.iter_unpack(ctypes.string_at(base + at * each, count * each)))
            head = head + count & 0xFFFFFFFF
        self.cq_head.value = head
        return found

    def armed(self, opcode: int, *, busy: bool = False) -> int:
        """Requests of that operation that wait to be polled awake, by the ring's fdinfo; `busy`: also while who would go on with
        them has something to do, as an idle poller may for long, which io-wq has asked for a worker. io_uring_show_fdinfo()
        """
        told = Path(f"/proc/self/fdinfo/{self.fd}").read_text(encoding="ascii")
        return told.count(f"  op={opcode}, task_works=" + ("" if busy else "0\n"))

    def complete(self, count: int = 1, *, timeout: float = 10.0) -> list[Cqe]:
        """Submit what is queued and wait until `count` completions are here; TimeoutError names what came."""
        found: list[Cqe] = []
        while len(found) < count:
            res = self.submit(count - len(found), timeout=timeout)
            found += self.cqes()
            if len(found) < count and res == -errno.ETIME:
                raise TimeoutError(f"{len(found)} of {count} completions after {timeout} s: {found}")
            if res < 0 and res not in (-errno.ETIME, -errno.EINTR):
                raise OSError(-res, f"io_uring_enter(): {os.strerror(-res)}")
        return found

    def register(self, opcode: int, argument: Argument = 0, nr_args: int = 0) -> int:
        """io_uring_register() on this ring, with any opcode, pointer and count: result or -errno."""
        addr, _kept = address_of(argument)
        if self.registered_only:
            opcode |= c.IORING_REGISTER_USE_REGISTERED_RING
        return libc.io_uring_register(self.fd, opcode, addr, nr_args)

    def enable(self) -> int:
        """IORING_REGISTER_ENABLE_RINGS: 0 or -errno."""
        return self.register(c.IORING_REGISTER_ENABLE_RINGS)

    def restrict(self, *restrictions: tuple[int, int]) -> int:
        """IORING_REGISTER_RESTRICTIONS with (IORING_RESTRICTION_*, operation or flags) pairs: 0 or -errno."""
        table = (io_uring_restriction * len(restrictions))(
            *(io_uring_restriction(opcode=kind, register_op=what) for kind, what in restrictions)
        )
        return self.register(c.IORING_REGISTER_RESTRICTIONS, ctypes.addressof(table), len(restrictions))

    def register_ring_fd(self, slot: int = 0xFFFFFFFF) -> int:
        """Register this ring in the calling thread's own table; the slot, or -errno."""
        update = io_uring_rsrc_update(offset=slot, data=self.fd)
        res = self.register(c.IORING_REGISTER_RING_FDS, update, 1)
        return update.offset if res == 1 else res

    def unregister_ring_fd(self, slot: int) -> int:
        """1, or -errno."""
        return self.register(c.IORING_UNREGISTER_RING_FDS, io_uring_rsrc_update(offset=slot), 1)

    def _unmap(self) -> None:
        for addr, length in self._maps:
            libc.munmap(addr, length)
        self._maps.clear()

    def close(self) -> None:
        """Unmap the queues and close the descriptor (a registered-only ring gives its slot back)."""
        self._unmap()
        if self.fd >= 0:
            if self.registered_only:
                self.unregister_ring_fd(self.fd)
            else:
                os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
