"""The kernel that an agent finds itself on."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import tempfile
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)


def raise_loopback() -> None:
    """Bring `lo` up in a guest of ours: nothing else has (SIOCSIFFLAGS; net/core/dev_ioctl.c)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))


def notes() -> str | None:
    """The kernel's own ELF notes in hex: its GNU build-id is among them (kernel/ksysfs.c, notes_read)."""
    try:
        return Path("/sys/kernel/notes").read_bytes().hex()
    except OSError:
        return None


def refusal() -> str:
    """Why io_uring cannot be used here at all; empty when it can (io_uring_setup in io_uring/io_uring.c)."""
    fd = _libc.syscall(425, 1, ctypes.create_string_buffer(120))
    if fd >= 0:
        os.close(fd)
        return ""
    why = os.strerror(ctypes.get_errno())
    switch = Path("/proc/sys/kernel/io_uring_disabled")
    return f"{why}, kernel.io_uring_disabled={switch.read_text().strip()}" if switch.exists() else why


def kernel_lock() -> int:
    """A lock that all rigs on this kernel share: oracles that watch the whole kernel need it to themselves,
    case by case.
    """
    path = Path(tempfile.gettempdir(), f"ringrig-{os.getuid()}.lock")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
