"""The kernel's side of a described call: makes the memory, says the call, returns the Outcome."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Callable

from ringrig.model.calls import (
    BACKED,
    PAGE,
    REGISTERED_FDS,
    Arg,
    BufReg,
    BufStatus,
    Call,
    Fd,
    Memory,
    registration,
    status,
    unregistration,
)
from ringrig.model.spec import Outcome, Survey
from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring import group as legacy_ops
from ringrig.uring.memory import Arena
from ringrig.uring.probe import known_layout
from ringrig.uring.ring import Ring

_REG = struct.Struct("<QIHHI5I")
_STATUS = struct.Struct("<II8I")
_OP_NAMES = {
    c.IORING_REGISTER_PBUF_RING: "REGISTER_PBUF_RING",
    c.IORING_UNREGISTER_PBUF_RING: "UNREGISTER_PBUF_RING",
    c.IORING_REGISTER_PBUF_STATUS: "REGISTER_PBUF_STATUS",
}
_KERNEL_ADDR = 0xFFFF888000000000
_FIXED_ADDRESS = {
    Memory.NULL: 0,
    Memory.LOWEST: PAGE,
    Memory.USER_END: 0x7FFFFFFFF000,
    Memory.NONCANONICAL: 1 << 63,
    Memory.KERNEL: _KERNEL_ADDR,
    Memory.LAST_PAGE: (1 << 64) - PAGE,
}


def describe(call: Call) -> str:
    """The call in one line: what differs from the simplest good one."""
    plain = {
        c.IORING_REGISTER_PBUF_RING: registration,
        c.IORING_UNREGISTER_PBUF_RING: unregistration,
        c.IORING_REGISTER_PBUF_STATUS: status,
    }[call.op]()
    said = []
    for name in type(plain).__dataclass_fields__:
        value = getattr(call, name)
        if value != getattr(plain, name):
            said.append(f"{name}={getattr(value, 'value', value)}")
    return f"{_OP_NAMES[call.op]}({', '.join(said)})"


class Subject:
    """One io_uring of this kernel and the memory its calls need; close() gives all back."""

    def __init__(self, ring: Ring, arena: Arena) -> None:
        self.ring, self.arena, self.layout = ring, arena, known_layout()
        self._slot: int | None = None
        self._bgids: set[int] = set()
        self._kept: list[object] = []

    def register_pbuf_ring(self, call: BufReg) -> Outcome:
        return Outcome(res=self._say(call, self._reg(call))[0], call=describe(call))

    def unregister_pbuf_ring(self, call: BufReg) -> Outcome:
        return Outcome(res=self._say(call, self._reg(call))[0], call=describe(call))

    def pbuf_status(self, call: BufStatus) -> Outcome:
        payload = _STATUS.pack(call.bgid, call.head, *call.resv)
        res, at = self._say(call, payload)
        head = ctypes.c_uint32.from_address(at + 4).value if res == 0 else None
        return Outcome(res=res, head=head, call=describe(call))

    def say(self, call: BufReg | BufStatus) -> Outcome:
        """Whichever of the three it is."""
        if isinstance(call, BufStatus):
            return self.pbuf_status(call)
        return Outcome(res=self._say(call, self._reg(call))[0], call=describe(call))

    def provide_buffers(self, *, bgid: int, count: int) -> int:
        """A well-formed PROVIDE_BUFFERS of 64-byte buffers, bids from 0: its result."""
        return legacy_ops.legacy(self.ring, bgid=bgid, addr=self.arena.anon(64 * count), count=count)

    def remove_buffers(self, *, bgid: int, count: int) -> int:
        """REMOVE_BUFFERS: its result."""
        return legacy_ops.remove_legacy(self.ring, bgid=bgid, count=count)

    def survey(self, bgid: int) -> Survey:
        """Looks at a group from all sides; what was there is gone afterwards, a fresh ring is left."""
        return Survey(
            status=self.pbuf_status(status(bgid=bgid)),
            removed=self.remove_buffers(bgid=bgid, count=100),
            unregistered=self.unregister_pbuf_ring(unregistration(bgid=bgid)).res,
            taken=self.register_pbuf_ring(registration(bgid=bgid)).res,
        )

    def owns(self, bgid: int) -> None:
        """A ring was registered under `bgid` otherwise: close() unregisters it."""
        self._bgids.add(bgid)

    def register(self, fd: int, op: int, at: int, nr_args: int) -> int:
        """io_uring_register() as this program makes it."""
        return libc.io_uring_register(fd, op, at, nr_args)

    def _reg(self, call: BufReg) -> bytes:
        if call.op == c.IORING_REGISTER_PBUF_RING:
            self._bgids.add(call.bgid)
        addr = self.memory(call.memory, self.layout.size(call.entries)) + call.offset & 0xFFFFFFFFFFFFFFFF
        return _REG.pack(addr, call.entries, call.bgid, call.flags, call.min_left, *call.resv)

    def memory(self, shape: Memory, length: int) -> int:
        """The address of `length` bytes of fresh memory of that shape; uring.memory.Unavailable may come."""
        if shape in _FIXED_ADDRESS:
            return _FIXED_ADDRESS[shape]
        arena = self.arena
        length = min(max(length, PAGE), BACKED)
        makers: dict[Memory, Callable[[], int]] = {
            Memory.ANON: lambda: arena.anon(length),
            Memory.ANON_SHARED: lambda: arena.anon(length, shared=True),
            Memory.WRITE_ONLY: lambda: arena.anon(length, prot=libc.PROT_WRITE),
            Memory.READ_ONLY: lambda: arena.anon(length, prot=libc.PROT_READ),
            Memory.PROT_NONE: lambda: arena.anon(length, prot=libc.PROT_NONE),
            Memory.MEMFD: lambda: arena.of_file(arena.memfd(length), length, shared=True),
            Memory.MEMFD_PRIVATE: lambda: arena.of_file(arena.memfd(length), length, shared=False),
            Memory.HUGETLB: lambda: arena.hugetlb(length),
            Memory.RAMFS: lambda: arena.of_file(arena.ramfs_file(), length, shared=True),
            Memory.RAMFS_PRIVATE: lambda: arena.of_file(arena.ramfs_file(), length, shared=False),
            Memory.DISK: lambda: arena.of_file(arena.disk_file(), length, shared=True),
            Memory.DISK_PRIVATE: lambda: arena.of_file(arena.disk_file(), length, shared=False),
            Memory.SECRET: lambda: arena.secret(length),
            Memory.QUEUE: self._queue,
            Memory.UNMAPPED: lambda: arena.unmapped(length),
            Memory.THEN_UNMAPPED: lambda: arena.half_unmapped(length),
            Memory.THEN_READ_ONLY: lambda: self._then(length, libc.PROT_READ),
            Memory.THEN_PROT_NONE: lambda: self._then(length, libc.PROT_NONE),
            Memory.THEN_MEMFD: lambda: self._then_memfd(length),
        }
        return makers[shape]()

    def _then(self, length: int, prot: int) -> int:
        room = max(length, 2 * PAGE)
        base = self.arena.anon(room)
        self.arena.protect(base + PAGE, room - PAGE, prot)
        return base

    def _then_memfd(self, length: int) -> int:
        room = max(length, 2 * PAGE)
        base = self.arena.anon(room)
        self.arena.overlay(base + PAGE, room - PAGE, self.arena.memfd(room))
        return base

    def _queue(self) -> int:
        other = Ring(512)
        self._kept.append(other)
        return other.sqes

    def _say(self, call: Call, payload: bytes) -> tuple[int, int]:
        """(result, the argument's address)"""
        at = self._place(payload, call.arg)
        fd, op = self._fd(call.fd), call.op
        if call.fd in REGISTERED_FDS:
            op |= c.IORING_REGISTER_USE_REGISTERED_RING
        if not call.other_thread:
            return self.register(fd, op, at, call.nr_args), at
        results: list[int] = []
        thread = threading.Thread(target=lambda: results.append(self.register(fd, op, at, call.nr_args)))
        thread.start()
        thread.join()
        return results[0], at

    def _place(self, payload: bytes, arg: Arg) -> int:
        arena = self.arena
        if arg is Arg.NULL:
            return 0
        if arg is Arg.KERNEL:
            return _KERNEL_ADDR
        if arg is Arg.UNMAPPED:
            return arena.unmapped(PAGE)
        if arg is Arg.GOOD:
            kept = ctypes.create_string_buffer(payload, len(payload))
            self._kept.append(kept)
            return ctypes.addressof(kept)
        if arg in {Arg.PAGE_END, Arg.STRADDLING}:
            readable = len(payload) if arg is Arg.PAGE_END else len(payload) // 2
            at = arena.guarded(readable)
            ctypes.memmove(at, payload, readable)
            return at
        page = arena.anon(PAGE)
        at = page + 1 if arg is Arg.ODD else page
        ctypes.memmove(at, payload, len(payload))
        if arg is not Arg.ODD:
            arena.protect(page, PAGE, libc.PROT_READ if arg is Arg.READ_ONLY else libc.PROT_NONE)
        return at

    def _fd(self, fd: Fd) -> int:
        if fd is Fd.NOT_A_RING:
            reader, writer = os.pipe2(os.O_CLOEXEC)
            self.arena.own(reader)
            return self.arena.own(writer)
        if fd is Fd.CLOSED:
            gone = os.dup(self.ring.fd)
            os.close(gone)
            return gone
        if fd in {Fd.REGISTERED, Fd.REGISTERED_EMPTY} and self._slot is None:
            self._slot = self.ring.register_ring_fd()
        slot = self._slot or 0
        return {
            Fd.RING: self.ring.fd,
            Fd.MINUS_ONE: 0xFFFFFFFF,
            Fd.REGISTERED: slot,
            Fd.REGISTERED_EMPTY: (slot + 1) % c.IO_RINGFD_REG_MAX,
            Fd.REGISTERED_BEYOND: c.IO_RINGFD_REG_MAX,
            Fd.REGISTERED_MINUS_ONE: 0xFFFFFFFF,
        }[fd]

    def close(self) -> None:
        """Ring, memory, descriptors, registered slot.

        Groups go first, by hand: with the io_uring alone their pages would come back some RCU grace periods
        later (io_ring_exit_work()), and whoever watches pins between cases would wait for that each time.
        """
        if self.ring.fd >= 0:
            for bgid in self._bgids:
                bufring.unregister(self.ring, bgid)
        if self._slot is not None and self._slot >= 0:
            self.ring.unregister_ring_fd(self._slot)
        for kept in self._kept:
            if isinstance(kept, Ring):
                kept.close()
        self.ring.close()
        self.arena.close()
