"""Memory of every shape a case wants to show the kernel, all of it given back by one Arena.close()."""

from __future__ import annotations

import ctypes
import os
import tempfile

from ringrig.uring import libc
from ringrig.uring.libc import (
    MAP_32BIT,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_HUGETLB,
    MAP_PRIVATE,
    MAP_SHARED,
    PAGE_SIZE,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
)

_RW = PROT_READ | PROT_WRITE
_ANON = MAP_PRIVATE | MAP_ANONYMOUS
_FSCONFIG_CMD_CREATE = 6
_HUGEPAGE = 2 << 20


class Unavailable(OSError):
    """This machine cannot make memory of that shape; the text says what is missing."""


def pages(length: int) -> int:
    """Bytes rounded up to whole pages, at least one."""
    return max(1, -(-length // PAGE_SIZE)) * PAGE_SIZE


class Arena:
    """Owns mappings and descriptors; addresses stay valid until close(). `low`: all below 4 GiB (x86)."""

    def __init__(self, *, low: bool = False) -> None:
        self._where = MAP_32BIT if low else 0
        self._maps: list[tuple[int, int]] = []
        self._fds: list[int] = []

    def map(self, length: int, *, prot: int = _RW, flags: int = _ANON, fd: int = -1, hint: int = 0) -> int:
        """The address of a new mapping of `length` bytes, `hint` if nothing is there; OSError where the kernel refuses."""
        addr = libc.mmap(length, prot, flags | self._where, fd, addr=hint)
        if addr < 0:
            raise OSError(-addr, f"mmap of {length} bytes: {os.strerror(-addr)}")
        self._maps.append((addr, length))
        return addr

    def anon(self, length: int, *, prot: int = _RW, shared: bool = False) -> int:
        """Whole pages of anonymous memory, all zero."""
        return self.map(pages(length), prot=prot, flags=MAP_SHARED | MAP_ANONYMOUS if shared else _ANON)

    def guarded(self, length: int) -> int:
        """Address of `length` bytes whose end is a page's end, with PROT_NONE behind."""
        room = pages(length)
        base = self.map(room + PAGE_SIZE)
        self.protect(base + room, PAGE_SIZE, PROT_NONE)
        return base + room - length

    def unmapped(self, length: int) -> int:
        """An address range of this process that nothing is mapped at."""
        base = libc.mmap(pages(length), PROT_NONE, _ANON | self._where)
        libc.munmap(base, pages(length))
        return base

    def half_unmapped(self, length: int) -> int:
        """Whole pages, the last of them unmapped (two pages at least)."""
        room = max(pages(length), 2 * PAGE_SIZE)
        base = self.map(room)
        self.unmap(base + room - PAGE_SIZE, PAGE_SIZE)
        return base

    def unmap(self, addr: int, length: int) -> int:
        """munmap() of whole pages of an own mapping: 0 or -errno. What comes there later is somebody else's, and stays."""
        if (res := libc.munmap(addr, length)) < 0:
            return res
        end, kept = addr + length, []
        for at, size in self._maps:
            if at <= addr and end <= at + size:
                kept += [
                    (first, last - first) for first, last in ((at, addr), (end, at + size)) if first < last
                ]
            else:
                kept.append((at, size))
        self._maps = kept
        return res

    def protect(self, addr: int, length: int, prot: int) -> None:
        """mprotect(); OSError where the kernel refuses."""
        if (res := libc.mprotect(addr, length, prot)) < 0:
            raise OSError(-res, f"mprotect: {os.strerror(-res)}")

    def overlay(self, addr: int, length: int, fd: int) -> None:
        """Put a shared mapping of `fd` over part of an own mapping."""
        if (res := libc.mmap(length, _RW, MAP_SHARED | MAP_FIXED, fd, 0, addr)) < 0:
            raise OSError(-res, f"mmap: {os.strerror(-res)}")

    def of_file(self, fd: int, length: int, *, shared: bool) -> int:
        """A mapping of `fd`, which is made long enough."""
        os.ftruncate(fd, pages(length))
        return self.map(pages(length), flags=MAP_SHARED if shared else MAP_PRIVATE, fd=fd)

    def memfd(self, length: int) -> int:
        """A memfd (tmpfs) of whole pages."""
        fd = self.own(os.memfd_create("ringrig"))
        os.ftruncate(fd, pages(length))
        return fd

    def hugetlb(self, length: int) -> int:
        """2 MiB pages; Unavailable where none is free (the caller reserves them)."""
        room = -(-length // _HUGEPAGE) * _HUGEPAGE
        try:
            return self.map(room, flags=_ANON | MAP_HUGETLB)
        except OSError as error:
            raise Unavailable(error.errno, f"no free 2 MiB page: {error.strerror}") from error

    def secret(self, length: int) -> int:
        """memfd_secret() memory, which get_user_pages() must refuse; Unavailable where it is switched off."""
        fd = libc.syscall(libc.NR_MEMFD_SECRET, 0)
        if fd < 0:
            raise Unavailable(-fd, f"memfd_secret(): {os.strerror(-fd)}")
        self.own(fd)
        return self.of_file(fd, length, shared=True)

    def ramfs_file(self) -> int:
        """A file on a ramfs mounted nowhere; generic_file_vm_ops has page_mkwrite, so dirt is tracked."""
        return self.own(os.open("ring", os.O_RDWR | os.O_CREAT, 0o600, dir_fd=self.mount("ramfs")))

    def mount(self, kind: str) -> int:
        """The root of a file system of that kind, mounted nowhere; Unavailable where it cannot be had."""
        with_name = ctypes.create_string_buffer(kind.encode())
        fs = libc.syscall(libc.NR_FSOPEN, ctypes.addressof(with_name), 0)
        if fs < 0:
            raise Unavailable(-fs, f"fsopen({kind}): {os.strerror(-fs)}")
        self.own(fs)
        if (res := libc.syscall(libc.NR_FSCONFIG, fs, _FSCONFIG_CMD_CREATE)) < 0:
            raise Unavailable(-res, f"fsconfig({kind}): {os.strerror(-res)}")
        mount = libc.syscall(libc.NR_FSMOUNT, fs)
        if mount < 0:
            raise Unavailable(-mount, f"fsmount({kind}): {os.strerror(-mount)}")
        return self.own(mount)

    def disk_file(self) -> int:
        """A nameless file on ext4, xfs, btrfs or f2fs, else Unavailable."""
        for folder in (tempfile.gettempdir(), "/var/tmp", "/root"):
            if _fs_type(folder) in {"ext4", "xfs", "btrfs", "f2fs"}:
                return self.own(os.open(folder, os.O_RDWR | os.O_TMPFILE, 0o600))
        raise Unavailable(0, "no ext4, xfs, btrfs or f2fs at hand")

    def own(self, fd: int) -> int:
        """Close `fd` together with the arena."""
        self._fds.append(fd)
        return fd

    def adopt(self, addr: int, length: int) -> None:
        """Unmap what somebody else mapped together with the arena."""
        self._maps.append((addr, length))

    def close(self) -> None:
        """Unmap and close everything."""
        for addr, length in self._maps:
            libc.munmap(addr, length)
        for fd in self._fds:
            os.close(fd)
        self._maps.clear()
        self._fds.clear()


def _fs_type(folder: str) -> str:
    """The type /proc/self/mounts gives for the mount `folder` is on; "" if the folder cannot be written."""
    if not os.access(folder, os.W_OK):
        return ""
    best, kind = "", ""
    with open("/proc/self/mounts", encoding="utf-8") as table:  # noqa: PTH123
        for line in table:
            _, where, fs, *_ = line.split(" ")
            inside = folder == where or folder.startswith(where.rstrip("/") + "/")
            if inside and len(where) >= len(best):
                best, kind = where, fs
    return kind
