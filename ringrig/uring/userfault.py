"""Memory whose first touch blocks until the case says how it ends: userfaultfd(2)."""

from __future__ import annotations

import fcntl
import os
import select
import struct

from ringrig.uring import libc
from ringrig.uring.memory import Unavailable

_NR_USERFAULTFD = 323
_API, _MISSING = 0xAA, 1
_UFFDIO_API, _UFFDIO_REGISTER = 0xC018AA3F, 0xC020AA00
_MESSAGE = 32


class FaultingPage:
    """A page that is not there yet. Whoever touches it waits, the kernel's own copies too (root), for fill() or fail().

    Unavailable where the kernel has no userfaultfd, or not for this user.
    """

    def __init__(self) -> None:
        self.fd = libc.syscall(_NR_USERFAULTFD, os.O_CLOEXEC | os.O_NONBLOCK)
        if self.fd < 0:
            raise Unavailable(-self.fd, f"userfaultfd(): {os.strerror(-self.fd)}")
        fcntl.ioctl(self.fd, _UFFDIO_API, struct.pack("<3Q", _API, 0, 0))
        prot, kind = libc.PROT_READ | libc.PROT_WRITE, libc.MAP_PRIVATE | libc.MAP_ANONYMOUS
        self.addr = libc.mmap(libc.PAGE_SIZE, prot, kind)
        fcntl.ioctl(self.fd, _UFFDIO_REGISTER, struct.pack("<4Q", self.addr, libc.PAGE_SIZE, _MISSING, 0))

    def touched(self) -> None:
        """Returns once somebody waits."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        if not poll.poll(10_000):
            raise TimeoutError("nobody touched the page")
        os.read(self.fd, _MESSAGE)

    def fill(self) -> None:
        """A page of zeros is there: who waited goes on. fs/userfaultfd.c userfaultfd_release()"""
        os.close(self.fd)

    def fail(self) -> None:
        """Nothing is there any more: who waited gets -EFAULT."""
        self.unmap()
        os.close(self.fd)

    def unmap(self) -> None:
        """Give the page back."""
        libc.munmap(self.addr, libc.PAGE_SIZE)
