"""The system calls of a 32-bit program, made by a 64-bit one: an x86 kernel has them in a second table.

int $0x80 enters that table whatever the mode of the caller (arch/x86/entry/common.c do_int80_syscall_32()), and
in_compat_syscall() holds for the call. io_uring_setup() keeps it: a ring's iovecs and msghdrs then have 32-bit
fields (ctx->compat). Every argument has 32 bits, so what is pointed to lies below 4 GiB.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable
from ctypes import Structure, c_int32, c_long, c_uint32
from functools import cache

from ringrig.uring import libc
from ringrig.uring.memory import Arena, Unavailable
from ringrig.uring.requests import Vector
from ringrig.uring.ring import Argument, Ring, address_of
from ringrig.uring.structs import io_uring_getevents_arg

_NR_GETPID, _NR_MMAP2 = 20, 192
_SIGSEGV = 11
_NOT_SERVED, _ANOTHER_CALL = 1, 2
"""How a process ends that tries: by _EXIT, or by itself."""

_CODE = bytes.fromhex(
    "53 55"  # push rbx, rbp
    "89f8 89f3"  # eax = number, ebx = first
    "4989ca 89d1 4489d2"  # ecx = second, edx = third, by way of r10
    "4489c6 4489cf 8b6c2418"  # esi = fourth, edi = fifth, ebp = sixth, from the stack
    "cd80 4898"  # int 0x80; rax = eax, with its sign
    "5d 5b c3"  # pop rbp, rbx; return
)
_EXIT = bytes.fromhex("bf01000000 b8e7000000 0f05")  # exit_group(1), the 64-bit call


class compat_iovec(Structure):
    """struct compat_iovec (include/linux/compat.h)."""

    iov_base: int
    iov_len: int
    _fields_ = (("iov_base", c_uint32), ("iov_len", c_int32))


class compat_msghdr(Structure):
    """struct compat_msghdr (include/net/compat.h)."""

    msg_name: int
    msg_namelen: int
    msg_iov: int
    msg_iovlen: int
    msg_control: int
    msg_controllen: int
    msg_flags: int
    _fields_ = (
        ("msg_name", c_uint32),
        ("msg_namelen", c_int32),
        ("msg_iov", c_uint32),
        ("msg_iovlen", c_uint32),
        ("msg_control", c_uint32),
        ("msg_controllen", c_uint32),
        ("msg_flags", c_uint32),
    )


class CompatVector(Vector):
    """`count` iovecs of `length` bytes each and a msghdr over them, as a 32-bit program has them, in a low arena."""

    def __init__(self, arena: Arena, length: int, *, count: int = 1) -> None:
        size = ctypes.sizeof(compat_iovec)
        at = arena.anon(size * max(count, 1) + ctypes.sizeof(compat_msghdr))
        self.iovecs = (compat_iovec * max(count, 1)).from_address(at)
        for one in self.iovecs[:count]:
            one.iov_len = length
        self.header = compat_msghdr.from_address(at + size * max(count, 1))
        self.header.msg_iov, self.header.msg_iovlen = at, count
        self.count = count


@cache
def _code() -> int:
    """Where the machine code lies, for the life of the process; behind it, what ends the process."""
    if platform.machine() != "x86_64":
        raise Unavailable(0, f"int $0x80 is x86's, and this is {platform.machine()}")
    at = Arena().map(libc.PAGE_SIZE)
    ctypes.memmove(at, _CODE + _EXIT, len(_CODE + _EXIT))
    if (res := libc.mprotect(at, libc.PAGE_SIZE, libc.PROT_READ | libc.PROT_EXEC)) < 0:
        raise Unavailable(-res, "memory of the process's own cannot be made executable")
    return at


@cache
def _gate() -> Callable[..., int]:
    return ctypes.CFUNCTYPE(c_long, *[c_long] * 7)(_code())


def int80(number: int, *arguments: int) -> int:
    """32-bit system call `number`, each argument cut to 32 bits: the result, or -errno."""
    return _gate()(number, *arguments, *[0] * (6 - len(arguments)))


def why_not() -> str:
    """Why 32-bit calls cannot be made, or "". A child tries: where there is no such gate it gets a SIGSEGV, which
    ends it without a line in the kernel's log.
    """
    end = _code() + len(_CODE)
    child = os.fork()
    if not child:
        libc.signal(_SIGSEGV, end)
        os._exit(0 if int80(_NR_GETPID) == os.getpid() else _ANOTHER_CALL)
    _, status = os.waitpid(child, 0)
    if status == 0:
        return ""
    if status == _NOT_SERVED << 8:
        return "int $0x80 is a fault (no CONFIG_IA32_EMULATION)"
    if status == _ANOTHER_CALL << 8:
        return "int $0x80 makes 64-bit calls"
    raise ChildProcessError(f"int $0x80 ended the process with wait status {status:#x}")


@cache
def _desk() -> int:
    """A page below 4 GiB, for the life of the process, through which goes what calls point to."""
    return Arena(low=True).map(libc.PAGE_SIZE)


def _over(say: Callable[[int], int], argument: Argument) -> int:
    """`say(address)` of a copy of the argument; what the kernel wrote goes back into it."""
    if isinstance(argument, int):
        return say(argument)
    at, _kept = address_of(argument)
    size = len(argument) if isinstance(argument, bytes) else ctypes.sizeof(argument)
    ctypes.memmove(_desk(), at, size)
    res = say(_desk())
    ctypes.memmove(at, _desk(), size)
    return res


class CompatRing(Ring):
    """A Ring of a 32-bit program. Its queues lie anywhere: they are memory, which no call points to."""

    def _setup(self, entries: int) -> int:
        return _over(lambda at: int80(libc.NR_IO_URING_SETUP, entries, at), self.params)

    def _enter(self, to_submit: int, wait: int, flags: int, limit: io_uring_getevents_arg) -> int:
        size = ctypes.sizeof(limit)
        return _over(
            lambda at: int80(libc.NR_IO_URING_ENTER, self.fd, to_submit, wait, flags, at, size), limit
        )

    def register(self, opcode: int, argument: Argument = 0, nr_args: int = 0) -> int:
        """As Ring's."""
        return _over(lambda at: int80(libc.NR_IO_URING_REGISTER, self.fd, opcode, at, nr_args), argument)


def mmap2(length: int, prot: int, flags: int, fd: int, offset: int) -> int:
    """mmap() of a 32-bit program, to which the offset is told in pages: the address, or -errno."""
    res = int80(_NR_MMAP2, 0, length, prot, flags, fd, offset // 4096)
    return res if -4096 < res < 0 else res & 0xFFFFFFFF
