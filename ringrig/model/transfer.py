"""Transfers: requests that select a buffer, described in words that the model and the driver both know."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from enum import Enum

from ringrig.model.spec import name_of
from ringrig.uring import consts as c

RECVMSG_HEADER = struct.Struct("<4I")
"""struct io_uring_recvmsg_out: namelen, controllen, payloadlen, flags."""

_CYCLE = bytes(range(1, 98))


class Op(Enum):
    """Operations that take IOSQE_BUFFER_SELECT."""

    READ = "read"
    READV = "readv"
    RECV = "recv"
    RECVMSG = "recvmsg"
    SEND = "send"
    READ_MULTISHOT = "read_multishot"
    RECV_MULTISHOT = "recv_multishot"
    RECVMSG_MULTISHOT = "recvmsg_multishot"

    @property
    def multishot(self) -> bool:
        return self.name.endswith("MULTISHOT")

    @property
    def reads(self) -> bool:
        """Through io_uring/rw.c; the others through io_uring/net.c."""
        return self.name.startswith("READ")


NEEDS = {
    Op.SEND: "send_select",
    Op.READ_MULTISHOT: "read_multishot",
    Op.RECV_MULTISHOT: "recv_multishot",
    Op.RECVMSG_MULTISHOT: "recv_multishot",
}
"""The capability (ringrig/uring/probe.py) that an operation is left out without."""


class Issue(Enum):
    """Who issues the request: the submitter, under uring_lock, or an io-wq worker, without (IOSQE_ASYNC)."""

    LOCKED = "locked"
    IO_WQ = "io_wq"


class Kind(Enum):
    RING = "ring"
    LEGACY = "legacy"


class Source(Enum):
    """What the request names as its file."""

    PIPE = "a pipe that does not block"
    SOCKET = "a stream socket"
    ZERO = "/dev/zero"
    FILE = "a regular file"
    DIRECT = "a file on disk, past the page cache (O_DIRECT)"
    FIFO = "a pipe that blocks, and cannot be asked not to"
    WRITE_END = "the write end of a pipe"
    WRITE_ONLY = "a regular file that is open for writing alone"
    NOT_A_SOCKET = "a pipe where a socket is wanted"
    CLOSED = "a closed descriptor"

    @property
    def pollable(self) -> bool:
        """The file has ->poll (file_can_poll())."""
        return self not in {Source.ZERO, Source.WRITE_ONLY, *ON_STORAGE}


ON_STORAGE = frozenset({Source.FILE, Source.DIRECT})
"""Files that hold what is to be read before the request, and then end."""


class Place(Enum):
    """Where a buffer lies."""

    GOOD = "memory"
    NULL = "address 0"
    UNMAPPED = "nothing mapped"
    KERNEL = "the kernel half"


class Then(Enum):
    """What happens once the request waits."""

    DATA = "data comes"
    EOF = "the other end closes"
    CANCEL = "it is cancelled"
    TIMEOUT = "its linked timeout runs out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    bid: int
    size: int = 64
    place: Place = Place.GOOD


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """A group and the buffers in it, first to go first.

    Of a ring: `start` slots were used before; `again`: so many slots more are published than were filled, which
    are those of the first buffers once more.
    """

    kind: Kind
    buffers: tuple[Buffer, ...] = ()
    start: int = 0
    again: int = 0

    @property
    def entries(self) -> int:
        """Slots of the ring."""
        return max(8, 1 << (len(self.buffers) - 1).bit_length())


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """`ready` bytes wait in the file (a SEND: there is room); `then` follows once the request waits.

    `eof`: the other end has closed. `length`: of the SQE, of its one iovec, or of its msghdr's.
    """

    op: Op
    issue: Issue = Issue.LOCKED
    source: Source | None = None
    length: int = 0
    ready: int = 0
    eof: bool = False
    then: tuple[Then, ...] = ()
    more: int = 0
    """Bytes that come with Then.DATA."""
    op_flags: int = 0
    """sqe->msg_flags; of a read rw_flags."""
    skip_success: bool = False
    behind_failure: bool = False
    """A request that fails is linked before it."""

    @property
    def file(self) -> Source:
        return self.source or (Source.PIPE if self.op.reads else Source.SOCKET)

    @property
    def nowait(self) -> bool:
        """It may not wait."""
        return bool(self.op_flags & (c.RWF_NOWAIT if self.op.reads else socket.MSG_DONTWAIT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One completion: `bid` where IORING_CQE_F_BUFFER is set, the other flags under their names."""

    res: int
    bid: int | None = None
    more: bool = False
    nonempty: bool = False
    buf_more: bool = False
    other: int = 0

    @classmethod
    def of(cls, res: int, flags: int) -> Reply:
        """What a CQE says."""
        known = c.IORING_CQE_F_BUFFER | c.IORING_CQE_F_MORE | c.IORING_CQE_F_SOCK_NONEMPTY
        known |= c.IORING_CQE_F_BUF_MORE
        has_bid = flags & c.IORING_CQE_F_BUFFER
        low = flags & 0xFFFF if has_bid else flags
        return cls(
            res=res,
            bid=flags >> c.IORING_CQE_BUFFER_SHIFT if has_bid else None,
            more=bool(flags & c.IORING_CQE_F_MORE),
            nonempty=bool(flags & c.IORING_CQE_F_SOCK_NONEMPTY),
            buf_more=bool(flags & c.IORING_CQE_F_BUF_MORE),
            other=low & ~known,
        )

    def __repr__(self) -> str:
        said = [name_of(self.res)]
        if self.bid is not None:
            said.append(f"bid {self.bid}")
        words = ("more", "nonempty", "buf_more")
        said += [word for word in words if getattr(self, word)]
        if self.other:
            said.append(f"flags {self.other:#x}")
        return f"<{' '.join(said)}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All that user space can see of a transfer: completions, bytes and what is left of the stock.

    `filled`: bid and content, for buffers that were written; `sent`: what the other end got. `head`: how far
    the ring's head moved, where the kernel tells. `stray`: writes outside of buffers (none is right).
    """

    replies: tuple[Reply, ...]
    left: tuple[int, ...]
    filled: tuple[tuple[int, bytes], ...] = ()
    sent: bytes = b""
    head: int | None = None
    stray: tuple[str, ...] = ()
    why: str = field(default="", compare=False)

    def against(self, got: Result) -> list[str]:
        """What of `got` is wrong, a line each, and the rule that decides."""
        lines = [
            f"{name}: got {getattr(got, name)!r}, want {getattr(self, name)!r}"
            for name in ("replies", "left", "head", "filled", "sent", "stray")
            if getattr(got, name) != getattr(self, name)
        ]
        return [*lines, f"by {self.why}"]


def incoming(start: int, length: int) -> bytes:
    """Bytes `start` to `start + length` of what the other end sends: no two neighbours alike, none 0xA5."""
    first = start % len(_CYCLE)
    return (_CYCLE * (length // len(_CYCLE) + 2))[first : first + length]


def outgoing(bid: int, size: int) -> bytes:
    """What stands in buffer `bid` before a SEND."""
    return bytes((bid + at) & 0x7F for at in range(size))
