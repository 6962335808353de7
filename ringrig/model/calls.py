"""Calls described rather than made: what a case varies, in words the model and the driver both understand."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from ringrig.uring import consts as c
from ringrig.uring import libc

PAGE = libc.PAGE_SIZE
BACKED = 4 << 20
"""Bytes of memory at most that a described ring is given; one that wants more runs into nothing."""


class Fd(Enum):
    """Which descriptor the call names."""

    RING = "the ring"
    CLOSED = "a closed fd"
    MINUS_ONE = "fd -1"
    NOT_A_RING = "a pipe"
    REGISTERED = "the ring's registered index"
    REGISTERED_EMPTY = "an empty registered slot"
    REGISTERED_BEYOND = "registered index 16"
    REGISTERED_MINUS_ONE = "registered index -1"


REGISTERED_FDS = frozenset(fd for fd in Fd if fd.name.startswith("REGISTERED"))


class Arg(Enum):
    """Where the argument structure lies."""

    GOOD = "readable and writable"
    NULL = "NULL"
    ODD = "at an odd address"
    PAGE_END = "ending with its page, nothing mapped behind"
    READ_ONLY = "in a read-only page"
    UNMAPPED = "at an unmapped address"
    PROT_NONE = "in a PROT_NONE page"
    STRADDLING = "half in a page, half in the PROT_NONE page behind it"
    KERNEL = "at a kernel address"


UNREADABLE = frozenset({Arg.NULL, Arg.UNMAPPED, Arg.PROT_NONE, Arg.STRADDLING, Arg.KERNEL})


class Memory(Enum):
    """What lies at ring_addr. THEN_*: a good first page, followed by pages of the named kind."""

    NULL = "nothing (address 0)"
    ANON = "private anonymous"
    ANON_SHARED = "shared anonymous"
    WRITE_ONLY = "anonymous, PROT_WRITE alone"
    MEMFD = "a shared memfd"
    MEMFD_PRIVATE = "a private mapping of a memfd"
    HUGETLB = "a 2 MiB page"
    RAMFS = "a shared ramfs file"
    RAMFS_PRIVATE = "a private mapping of a ramfs file"
    DISK = "a shared file on a disk"
    DISK_PRIVATE = "a private mapping of a file on a disk"
    QUEUE = "the mapping of an io_uring's own SQEs"
    SECRET = "memfd_secret()"
    READ_ONLY = "PROT_READ"
    PROT_NONE = "PROT_NONE"
    UNMAPPED = "unmapped"
    LOWEST = "unmapped, the second page of all"
    THEN_UNMAPPED = "a page, then nothing"
    THEN_READ_ONLY = "a page, then PROT_READ"
    THEN_PROT_NONE = "a page, then PROT_NONE"
    THEN_MEMFD = "an anonymous page, then a memfd"
    USER_END = "the last page below the kernel half"
    NONCANONICAL = "address 1<<63"
    KERNEL = "the kernel half"
    LAST_PAGE = "the last page of the address space"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The part every io_uring_register() call has."""

    op: int
    fd: Fd = Fd.RING
    nr_args: int = 1
    arg: Arg = Arg.GOOD
    other_thread: bool = False
    bgid: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class BufReg(Call):
    """REGISTER_PBUF_RING or UNREGISTER_PBUF_RING; `offset` is added to the memory's address."""

    memory: Memory = Memory.ANON
    offset: int = 0
    entries: int = 8
    flags: int = 0
    min_left: int = 0
    resv: tuple[int, ...] = (0,) * 5


@dataclass(frozen=True, slots=True, kw_only=True)
class BufStatus(Call):
    """REGISTER_PBUF_STATUS; `head` is what the caller leaves in the output field."""

    head: int = 0
    resv: tuple[int, ...] = (0,) * 8


def registration(**changes: Any) -> BufReg:
    """A registration that succeeds: 8 entries in anonymous memory, group 7; with `changes`."""
    return BufReg(**{"op": c.IORING_REGISTER_PBUF_RING, **changes})


def kernel_registration(**changes: Any) -> BufReg:
    """The same with memory of the kernel's (IOU_PBUF_RING_MMAP)."""
    return registration(**{"memory": Memory.NULL, "flags": c.IOU_PBUF_RING_MMAP, **changes})


def unregistration(**changes: Any) -> BufReg:
    """UNREGISTER_PBUF_RING of group 7, all else zero; with `changes`."""
    return BufReg(**{"op": c.IORING_UNREGISTER_PBUF_RING, "memory": Memory.NULL, "entries": 0, **changes})


def status(**changes: Any) -> BufStatus:
    """REGISTER_PBUF_STATUS of group 7; with `changes`."""
    return BufStatus(**{"op": c.IORING_REGISTER_PBUF_STATUS, **changes})
