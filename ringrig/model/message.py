"""Multishot RECVMSG: one buffer a datagram, with a header, the sender's name and control data before the bytes.

The names of a case's sockets are the kernel's own choice (bind() of an empty address), of one length all.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from ringrig.model.transfer import RECVMSG_HEADER, Reply, incoming

CONTROL = struct.Struct("<QiiIII")
"""struct cmsghdr (length, level, type), and the struct ucred of SCM_CREDENTIALS."""
_SCM_CREDENTIALS = 2
_CONTROL_SPACE = 32
_CMSGHDR = 16
_FILL = b"\xa5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Datagram:
    """`length` bytes; `named`: its sender has an address."""

    length: int
    named: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """A multishot RECVMSG on a datagram socket. `name`, `control`: the room that its msghdr reserves.

    `size`: of each buffer. `credentials`: the socket wants SCM_CREDENTIALS with each datagram (SO_PASSCRED).
    """

    datagrams: tuple[Datagram, ...]
    size: int = 256
    name: int = 0
    control: int = 0
    credentials: bool = False
    msg_flags: int = 0

    @property
    def before(self) -> int:
        """Bytes of a buffer that come before the datagram's."""
        return RECVMSG_HEADER.size + self.name + self.control


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """`replies`, and by bid what was written of the buffers; `goes_on`: the request waits for more datagrams."""

    replies: tuple[Reply, ...]
    written: dict[int, bytes]
    goes_on: bool


def expect_messages(call: Messages, bids: Sequence[int], sender: bytes) -> Received:
    """What must come; `sender` is the struct sockaddr of the named. Credentials are this process's.

    io_uring/net.c io_recvmsg_prep_multishot(), io_recvmsg_multishot(); net/core/scm.c put_cmsg().
    """
    replies: list[Reply] = []
    written: dict[int, bytes] = {}
    at = 0
    for number, datagram in enumerate(call.datagrams):
        if number == len(bids):
            replies.append(Reply(res=-errno.ENOBUFS))
            break
        room = call.size - call.before
        if room < 0:
            replies.append(Reply(res=-errno.EFAULT))
            break
        copied = min(datagram.length, room)
        told = datagram.length if call.msg_flags & socket.MSG_TRUNC else copied
        name = sender if datagram.named and call.name else b""
        control = _control(call)
        flags = call.msg_flags & socket.MSG_CMSG_CLOEXEC
        flags |= socket.MSG_TRUNC * (datagram.length > room)
        flags |= socket.MSG_CTRUNC * (call.credentials and call.control < CONTROL.size)
        used = min(_CONTROL_SPACE, call.control) if control else 0
        written[bids[number]] = b"".join((
            RECVMSG_HEADER.pack(len(name), used, told, flags),
            name[: call.name].ljust(call.name, _FILL),
            control.ljust(call.control, _FILL),
            incoming(at, copied),
        )).rstrip(_FILL)  # fmt: skip
        at += datagram.length
        more = told > 0
        replies.append(Reply(res=call.before + copied, bid=bids[number], more=more))
        if not more:
            break
    return Received(replies=tuple(replies), written=written, goes_on=replies[-1].more)


def _control(call: Messages) -> bytes:
    """As much of the credentials as there is room for, if the header of the control data fits."""
    if not call.credentials or call.control < _CMSGHDR:
        return b""
    length = min(CONTROL.size, call.control)
    said = (length, socket.SOL_SOCKET, _SCM_CREDENTIALS, os.getpid(), os.geteuid(), os.getegid())
    return CONTROL.pack(*said)[:length]
