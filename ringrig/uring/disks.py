"""Disks whose reads complete later: loop devices over memory, and null_blk, which can be polled (IORING_SETUP_IOPOLL).

They are made for a case and go with it. Root is wanted, and kconfigs/disks where the kernel is built here.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ringrig.uring.memory import Arena, Unavailable

SECTOR = 512
"""What O_DIRECT counts in: offsets, lengths and addresses are multiples of it."""
DELAY = 0.02
"""Seconds until a PolledDisk answers who does not poll it."""

_LOOP_CTL_GET_FREE: Final = 0x4C82
_LOOP_CONFIGURE: Final = 0x4C0A
_LOOP_CONFIG = struct.Struct("<II 40x 12xI 264x")
"""struct loop_config: fd, block_size; of its loop_info64 lo_flags."""
_LO_FLAGS_AUTOCLEAR: Final = 4
_NULL_BLK = {
    "size": 1,  # MiB
    "memory_backed": 1,
    "blocksize": SECTOR,
    "submit_queues": 1,
    "poll_queues": 1,
    "irqmode": 2,  # NULL_IRQ_TIMER
    "completion_nsec": int(DELAY * 1e9),
    "power": 1,
}
"""Attributes of a disk, in the order they are set."""


def loop_control(arena: Arena) -> int:
    """Who hands out loop devices; Unavailable where nobody does."""
    return arena.own(_open_device(arena, "loop-control", os.O_RDWR))


def loop_disk(arena: Arena, data: bytes) -> int:
    """A loop device over `data` (whole sectors), opened past the page cache; it goes as it is closed."""
    backing = arena.memfd(len(data))
    os.pwrite(backing, data, 0)
    number = fcntl.ioctl(loop_control(arena), _LOOP_CTL_GET_FREE)
    disk = arena.own(_open_device(arena, f"loop{number}", os.O_RDONLY | os.O_DIRECT))
    fcntl.ioctl(disk, _LOOP_CONFIGURE, _LOOP_CONFIG.pack(backing, SECTOR, _LO_FLAGS_AUTOCLEAR))
    return disk


def null_blk_folder(arena: Arena) -> int:
    """Where disks of null_blk's are made, in configfs; Unavailable where there is no null_blk."""
    try:
        return arena.own(os.open("nullb", os.O_RDONLY | os.O_DIRECTORY, dir_fd=arena.mount("configfs")))
    except FileNotFoundError as error:
        raise Unavailable(error.errno, "no null_blk in configfs") from error


class PolledDisk:
    """A disk of null_blk's that holds `data`; `fd` is opened past the page cache. close() takes it away."""

    def __init__(self, arena: Arena, data: bytes) -> None:
        self.fd = -1
        self._folder = null_blk_folder(arena)
        self._name = f"ringrig{os.getpid()}"
        os.mkdir(self._name, dir_fd=self._folder)
        try:
            for attribute, value in _NULL_BLK.items():
                self._attribute(attribute, value)
            by_name = Path("/sys/block", self._name).exists()  # 6.1 numbers them
            disk = self._name if by_name else f"nullb{self._attribute('index')}"
            with os.fdopen(_open_device(arena, disk, os.O_WRONLY), "wb", buffering=0) as node:
                node.write(data)
                os.fsync(node.fileno())
            self.fd = _open_device(arena, disk, os.O_RDONLY | os.O_DIRECT)
        except OSError:
            self.close()
            raise

    def _attribute(self, name: str, value: int | None = None) -> int:
        """What an attribute says, or, after it has been set, its new value."""
        fd = os.open(f"{self._name}/{name}", os.O_RDWR, dir_fd=self._folder)
        with os.fdopen(fd, "rb+", buffering=0) as file:
            if value is not None:
                file.write(b"%d\n" % value)
                return value
            return int(file.read(32))

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self._attribute("power", 0)
        os.rmdir(self._name, dir_fd=self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_device(arena: Arena, name: str, flags: int) -> int:
    """From a devtmpfs of one's own: no program need have made a node for it. Unavailable without such a device."""
    try:
        return os.open(name, flags | os.O_CLOEXEC, dir_fd=arena.mount("devtmpfs"))
    except OSError as error:
        raise Unavailable(error.errno, f"{name}: {error.strerror}") from error
