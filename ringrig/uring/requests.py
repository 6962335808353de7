"""SQEs of requests that select a buffer, and the structures some of them point to (include/linux/socket.h)."""

from __future__ import annotations

import ctypes
from ctypes import Structure, c_int32, c_uint32, c_uint64
from typing import Any

from ringrig.uring import consts as c
from ringrig.uring.ring import Ring
from ringrig.uring.structs import io_uring_sqe, kernel_timespec

CURRENT_POSITION = 0xFFFFFFFFFFFFFFFF
"""sqe->off of a file without positions."""
_AN_HOUR, _NOTHING = kernel_timespec(3600, 0), kernel_timespec(0, 0)


class iovec(Structure):
    """struct iovec, 64 bit."""

    iov_base: int
    iov_len: int
    _fields_ = (("iov_base", c_uint64), ("iov_len", c_uint64))


class user_msghdr(Structure):
    """struct user_msghdr, 64 bit."""

    msg_name: int
    msg_namelen: int
    msg_iov: int
    msg_iovlen: int
    msg_control: int
    msg_controllen: int
    msg_flags: int
    _fields_ = (
        ("msg_name", c_uint64),
        ("msg_namelen", c_int32),
        ("_pad", c_uint32),
        ("msg_iov", c_uint64),
        ("msg_iovlen", c_uint64),
        ("msg_control", c_uint64),
        ("msg_controllen", c_uint64),
        ("msg_flags", c_uint32),
        ("_pad2", c_uint32),
    )


_every: list[Vector] = []


class Vector:
    """`count` iovecs of `length` bytes each and a msghdr over them; lives as long as the process.

    RECVMSG writes to its header when it completes, which a request that waits may do at any time: when a failed
    case's socket is closed, or while its io_uring ends. Memory of Python's that was freed must not be there then.
    """

    iovecs: ctypes.Array[Any]
    header: Any

    def __init__(self, length: int, *, count: int = 1) -> None:
        _every.append(self)
        self.iovecs = (iovec * max(count, 1))(*(iovec(iov_len=length) for _ in range(count)))
        self.header = user_msghdr(msg_iov=ctypes.addressof(self.iovecs), msg_iovlen=count)
        self.count = count


def selecting(
    ring: Ring, opcode: int, fd: int, *, bgid: int, length: int = 0, vector: Vector | None = None
) -> io_uring_sqe:
    """The next SQE of `ring`, with IOSQE_BUFFER_SELECT; READV and RECVMSG want a `vector`."""
    sqe = ring.sqe()
    sqe.opcode, sqe.fd, sqe.buf_group, sqe.flags = opcode, fd, bgid, c.IOSQE_BUFFER_SELECT
    if opcode in {c.IORING_OP_READ, c.IORING_OP_READV, c.IORING_OP_READ_MULTISHOT}:
        sqe.off = CURRENT_POSITION
    if vector is None:
        sqe.len = length
    elif opcode == c.IORING_OP_READV:
        sqe.addr, sqe.len = ctypes.addressof(vector.iovecs), vector.count
    else:
        sqe.addr, sqe.len = ctypes.addressof(vector.header), 1
    return sqe


def cancel(ring: Ring, user_data: int, *, own: int) -> io_uring_sqe:
    """IORING_OP_ASYNC_CANCEL of the request with `user_data`; its own completion carries `own`."""
    sqe = ring.sqe()
    sqe.opcode, sqe.fd, sqe.addr, sqe.user_data = c.IORING_OP_ASYNC_CANCEL, -1, user_data, own
    return sqe


def limit(ring: Ring, sqe: io_uring_sqe, *, own: int) -> None:
    """IORING_OP_LINK_TIMEOUT of an hour for the request in `sqe`, the last one queued; its own completion carries `own`."""
    sqe.flags |= c.IOSQE_IO_LINK
    timeout = ring.sqe()
    timeout.opcode, timeout.fd, timeout.user_data = c.IORING_OP_LINK_TIMEOUT, -1, own
    timeout.addr, timeout.len = ctypes.addressof(_AN_HOUR), 1


def run_out(ring: Ring, timeout: int, *, own: int) -> None:
    """Let the linked timeout with that user_data be over now: IORING_LINK_TIMEOUT_UPDATE to 0."""
    sqe = ring.sqe()
    sqe.opcode, sqe.fd, sqe.user_data = c.IORING_OP_TIMEOUT_REMOVE, -1, own
    sqe.addr, sqe.addr2 = timeout, ctypes.addressof(_NOTHING)
    sqe.timeout_flags = c.IORING_TIMEOUT_UPDATE | c.IORING_LINK_TIMEOUT_UPDATE
