"""The files that transfers name: the request's end, and the other one."""

from __future__ import annotations

import os
import socket
from io import FileIO

from ringrig.model.transfer import Source
from ringrig.uring.memory import Arena

SECTOR = 512
"""What O_DIRECT counts in: offsets, lengths and addresses are multiples of it."""


def open_source(source: Source, arena: Arena) -> tuple[int, FileIO]:
    """The request's descriptor, and its other end (of a file the file itself); Unavailable without a disk."""
    if source is Source.SOCKET:
        ours, other = socket.socketpair(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        return arena.own(ours.detach()), FileIO(other.detach(), "r+")
    if source is Source.ZERO:
        near = arena.own(os.open("/dev/zero", os.O_RDONLY | os.O_CLOEXEC))
        return near, FileIO(os.dup(near), "r")
    if source is Source.FILE:
        near = arena.own(os.memfd_create("ringrig"))
        return near, FileIO(os.dup(near), "r+")
    if source is Source.WRITE_ONLY:
        file = FileIO(os.memfd_create("ringrig"), "r+")
        return arena.own(_again(file.fileno(), os.O_WRONLY)), file
    if source is Source.DIRECT:
        buffered = arena.disk_file()
        near = arena.own(_again(buffered, os.O_RDONLY | os.O_DIRECT))
        return near, FileIO(os.dup(buffered), "r+")
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    if source is Source.CLOSED:
        os.close(reader)
        return reader, FileIO(writer, "w")
    if source is Source.WRITE_END:
        return arena.own(writer), FileIO(reader, "r")
    if source is Source.FIFO:  # opened by its name a pipe does not get FMODE_NOWAIT: fs/pipe.c fifo_open()
        near = _again(reader, os.O_RDONLY)
        os.close(reader)
        return arena.own(near), FileIO(writer, "w")
    return arena.own(reader), FileIO(writer, "w")


def _again(fd: int, flags: int) -> int:
    """The same file, opened once more."""
    return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)
