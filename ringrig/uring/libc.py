"""Raw system calls. Like the kernel, every function returns a negative errno rather than raising."""

from __future__ import annotations

import ctypes
import os
from typing import Final

NR_MREMAP: Final = 25
NR_IO_URING_SETUP: Final = 425
NR_IO_URING_ENTER: Final = 426
NR_IO_URING_REGISTER: Final = 427
NR_FSOPEN: Final = 430
NR_FSCONFIG: Final = 431
NR_FSMOUNT: Final = 432
NR_PIDFD_GETFD: Final = 438
NR_MEMFD_SECRET: Final = 447

PAGE_SIZE: Final = os.sysconf("SC_PAGESIZE")

PROT_NONE: Final = 0
PROT_READ: Final = 1
PROT_WRITE: Final = 2
PROT_EXEC: Final = 4
MAP_SHARED: Final = 0x01
MAP_PRIVATE: Final = 0x02
MAP_FIXED: Final = 0x10
MAP_32BIT: Final = 0x40
MAP_ANONYMOUS: Final = 0x20
MAP_NORESERVE: Final = 0x4000
MAP_POPULATE: Final = 0x8000
MAP_HUGETLB: Final = 0x40000
MREMAP_MAYMOVE: Final = 1
MREMAP_FIXED: Final = 2
MREMAP_DONTUNMAP: Final = 4

_libc = ctypes.CDLL(None, use_errno=True)

# Eight-byte arguments throughout: ctypes cuts each Python int to its low 64 bits without a word, which lets a
# test pass any bit pattern (fd -1, nr_args 2**32-1, a pointer into the kernel half).
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long] * 7

_mmap = _libc.mmap
_mmap.restype = ctypes.c_long
_mmap.argtypes = [ctypes.c_long, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_munmap = _libc.munmap
_munmap.argtypes = [ctypes.c_long, ctypes.c_size_t]
_mprotect = _libc.mprotect
_mprotect.argtypes = [ctypes.c_long, ctypes.c_size_t, ctypes.c_int]
_signal = _libc.signal
_signal.restype = ctypes.c_void_p
_signal.argtypes = [ctypes.c_int, ctypes.c_void_p]


def syscall(  # noqa: PLR0917
    number: int,
    first: int = 0,
    second: int = 0,
    third: int = 0,
    fourth: int = 0,
    fifth: int = 0,
    sixth: int = 0,
) -> int:
    """System call `number`; the result, or -errno."""
    res: int = _syscall(number, first, second, third, fourth, fifth, sixth)
    return -ctypes.get_errno() if res == -1 else res


def io_uring_setup(entries: int, params: int) -> int:
    """`params` is the address of an io_uring_params. A new fd or -errno (io_uring/io_uring.c)."""
    return syscall(NR_IO_URING_SETUP, entries, params)


def io_uring_enter(  # noqa: PLR0917
    fd: int, to_submit: int, min_complete: int, flags: int, arg: int = 0, size: int = 0
) -> int:
    """SQEs consumed, or -errno."""
    return syscall(NR_IO_URING_ENTER, fd, to_submit, min_complete, flags, arg, size)


def io_uring_register(fd: int, opcode: int, arg: int, nr_args: int) -> int:
    """`arg` is any 64-bit number, taken as a pointer. >= 0 or -errno (io_uring/register.c)."""
    return syscall(NR_IO_URING_REGISTER, fd, opcode, arg, nr_args)


def mmap(  # noqa: PLR0917
    length: int, prot: int, flags: int, fd: int = -1, offset: int = 0, addr: int = 0
) -> int:
    """The address, or -errno."""
    res: int = _mmap(addr, length, prot, flags, fd, offset)
    return -ctypes.get_errno() if res == -1 else res


def munmap(addr: int, length: int) -> int:
    """0 or -errno."""
    res: int = _munmap(addr, length)
    return -ctypes.get_errno() if res == -1 else res


def mremap(addr: int, old: int, new: int, flags: int = 0, to: int = 0) -> int:
    """A mapping of `old` bytes made `new` bytes long, or moved: its address, or -errno."""
    return syscall(NR_MREMAP, addr, old, new, flags, to)


def mprotect(addr: int, length: int, prot: int) -> int:
    """0 or -errno."""
    res: int = _mprotect(addr, length, prot)
    return -ctypes.get_errno() if res == -1 else res


def signal(number: int, handler: int) -> None:
    """What stands at address `handler` takes the signal: machine code, where Python's own could not run any more."""
    _signal(number, handler)
