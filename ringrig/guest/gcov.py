"""The kernel's own counters of what it executed (CONFIG_GCOV_KERNEL, kernel/gcov/fs.c): read and set to zero after each case.

Standard library only.
"""

from __future__ import annotations

import base64
import ctypes
import os
import time
import zlib
from pathlib import Path

_DEBUGFS = Path("/sys/kernel/debug")
_SYS_MEMBARRIER, _GLOBAL = 324, 1
_SETTLE_SECONDS = 0.002
_libc = ctypes.CDLL(None, use_errno=True)


class Counters:
    """The counters of every file that was built to have some."""

    def __init__(self) -> None:
        """RuntimeError: this kernel has none."""
        top = _DEBUGFS / "gcov"
        if not top.exists():
            _libc.mount(b"none", bytes(_DEBUGFS), b"debugfs", 0, None)
        self._files = {file.stem: str(file) for file in top.rglob("*.gcda")}
        if not self._files:
            raise RuntimeError(f"{top} has no counters: the kernel needs --config gcov")
        self._reset = os.open(top / "reset", os.O_WRONLY | os.O_CLOEXEC)
        self.drop()
        self._zero = {name: _read(path) for name, path in self._files.items()}

    def drop(self) -> None:
        """Forget what was counted: the agent's own requests, which find out what the kernel can."""
        _let_rings_go()
        os.write(self._reset, b"0")

    def take(self, *, settled: bool = True) -> dict[str, str]:
        """What was counted since the last call, by object file (without .o); those with nothing but zeros are left out.

        Each is a .gcda file, deflated, in base64. `settled`: after what closed rings leave behind has gone.
        """
        if settled:
            _let_rings_go()
        found = {name: _read(path) for name, path in self._files.items()}
        os.write(self._reset, b"0")
        return {
            name: base64.b64encode(zlib.compress(data, 1)).decode()
            for name, data in found.items()
            if data != self._zero[name]
        }


def _let_rings_go() -> None:
    """Wait for what a closed ring leaves to a work queue: its buffers go one or two RCU grace periods later
    (io_uring/io_uring.c, io_ring_exit_work; percpu_ref_kill()).
    """
    for _ in range(2):
        _libc.syscall(_SYS_MEMBARRIER, _GLOBAL, 0, 0)
        time.sleep(_SETTLE_SECONDS)


def _read(path: str) -> bytes:
    """The counters as they are when the file is opened (gcov_seq_open() copies them)."""
    fd, data = os.open(path, os.O_RDONLY | os.O_CLOEXEC), b""
    try:
        while part := os.read(fd, 1 << 16):
            data += part
    finally:
        os.close(fd)
    return data
