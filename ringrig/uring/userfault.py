"""Memory whose first touch waits: a request that copies to or from it stands still in the middle (userfaultfd(2)).

What the kernel does to others meanwhile is then no matter of chance. A request that its submitter runs holds
uring_lock all the while; one of io-wq's does not.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
from ctypes import Structure, c_int64, c_uint64

from ringrig.uring import libc
from ringrig.uring.libc import PAGE_SIZE, PROT_NONE
from ringrig.uring.memory import Arena, Unavailable

_NR_USERFAULTFD = 323
_UFFD_API, _UFFDIO_REGISTER_MODE_MISSING = 0xAA, 1


class _Api(Structure):
    _fields_ = (("api", c_uint64), ("features", c_uint64), ("ioctls", c_uint64))


class _Range(Structure):
    _fields_ = (("start", c_uint64), ("len", c_uint64))


class _Register(Structure):
    _fields_ = (("start", c_uint64), ("len", c_uint64), ("mode", c_uint64), ("ioctls", c_uint64))


class _ZeroPage(Structure):
    _fields_ = (("start", c_uint64), ("len", c_uint64), ("mode", c_uint64), ("zeropage", c_int64))


def _iowr(number: int, argument: type[Structure], *, direction: int = 3) -> int:
    return direction << 30 | ctypes.sizeof(argument) << 16 | 0xAA << 8 | number


_UFFDIO_API, _UFFDIO_REGISTER = _iowr(0x3F, _Api), _iowr(0x00, _Register)
_UFFDIO_WAKE, _UFFDIO_ZEROPAGE = _iowr(0x02, _Range, direction=2), _iowr(0x04, _ZeroPage)


class StandstillPage:
    """A page of `arena` at `addr` that is not there until let_go() or fail(), once. Unavailable where the
    kernel has no userfaultfd for us.
    """

    def __init__(self, arena: Arena) -> None:
        fd = libc.syscall(_NR_USERFAULTFD, os.O_CLOEXEC | os.O_NONBLOCK)
        if fd < 0:
            raise Unavailable(-fd, f"userfaultfd(): {os.strerror(-fd)}")
        self._fd, self._arena = arena.own(fd), arena
        self.addr = arena.anon(PAGE_SIZE)
        fcntl.ioctl(fd, _UFFDIO_API, _Api(api=_UFFD_API))
        whole = _Register(start=self.addr, len=PAGE_SIZE, mode=_UFFDIO_REGISTER_MODE_MISSING)
        fcntl.ioctl(fd, _UFFDIO_REGISTER, whole)

    def touched(self, *, seconds: float = 10.0) -> bool:
        """Wait until somebody stands still in the page."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def let_go(self) -> None:
        """The page is there, all zero: whoever waits goes on."""
        fcntl.ioctl(self._fd, _UFFDIO_ZEROPAGE, _ZeroPage(start=self.addr, len=PAGE_SIZE))

    def fail(self) -> None:
        """The page cannot be had: a copy that waits gets -EFAULT."""
        self._arena.protect(self.addr, PAGE_SIZE, PROT_NONE)
        fcntl.ioctl(self._fd, _UFFDIO_WAKE, _Range(start=self.addr, len=PAGE_SIZE))
