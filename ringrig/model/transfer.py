"""Transfers: requests that select a buffer, described; and what they must give, by the kernel's traits.

A transfer takes the first buffer of its group's stock, or none. What can differ between kernels is when the
buffer is gone for good ("committed") and whether a request that moved no byte reports it: that is written
here once, with the function of the kernel that decides.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass, field
from enum import Enum

from ringrig.model.checks import Traits
from ringrig.model.spec import name_of
from ringrig.uring import consts as c

RECVMSG_HEADER = struct.Struct("<4I")
"""struct io_uring_recvmsg_out: namelen, controllen, payloadlen, flags."""


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
    WRITE_END = "the write end of a pipe"
    NOT_A_SOCKET = "a pipe where a socket is wanted"
    CLOSED = "a closed descriptor"

    @property
    def pollable(self) -> bool:
        """The file has ->poll (file_can_poll())."""
        return self not in {Source.ZERO, Source.FILE}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    bid: int
    size: int = 64
    place: Place = Place.GOOD


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """A group and the buffers in it, first to go first."""

    kind: Kind
    buffers: tuple[Buffer, ...] = ()

    @property
    def bids(self) -> tuple[int, ...]:
        return tuple(buffer.bid for buffer in self.buffers)


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
    then: Then | None = None
    more: int = 0
    """Bytes that come with Then.DATA."""
    msg_flags: int = 0
    skip_success: bool = False

    @property
    def file(self) -> Source:
        return self.source or (Source.PIPE if self.op.reads else Source.SOCKET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One completion: `bid` where IORING_CQE_F_BUFFER is set, the other flags under their names."""

    res: int
    bid: int | None = None
    more: bool = False
    nonempty: bool = False
    other: int = 0

    @classmethod
    def of(cls, res: int, flags: int) -> Reply:
        """What a CQE says."""
        known = c.IORING_CQE_F_BUFFER | c.IORING_CQE_F_MORE | c.IORING_CQE_F_SOCK_NONEMPTY
        has_bid = flags & c.IORING_CQE_F_BUFFER
        low = flags & 0xFFFF if has_bid else flags
        return cls(
            res=res,
            bid=flags >> c.IORING_CQE_BUFFER_SHIFT if has_bid else None,
            more=bool(flags & c.IORING_CQE_F_MORE),
            nonempty=bool(flags & c.IORING_CQE_F_SOCK_NONEMPTY),
            other=low & ~known,
        )

    def __repr__(self) -> str:
        said = [name_of(self.res)]
        if self.bid is not None:
            said.append(f"bid {self.bid}")
        said += [word for word, on in (("more", self.more), ("nonempty", self.nonempty)) if on]
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
    return bytes(1 + (start + at) % 97 for at in range(length))


def outgoing(bid: int, size: int) -> bytes:
    """What stands in buffer `bid` before a SEND."""
    return bytes((bid + at) & 0x7F for at in range(size))


_RW, _NET, _KBUF, _POLL = (f"io_uring/{name}.c" for name in ("rw", "net", "kbuf", "poll"))


def expect(call: Transfer, stock: Stock | None, traits: Traits) -> Result:
    """What the kernel must give. `stock` None: nobody ever made the group."""
    return _Course(call, stock, traits).result()


class _Course:
    """One transfer on its way, on a kernel with `traits`."""

    def __init__(self, call: Transfer, stock: Stock | None, traits: Traits) -> None:
        self.call, self.traits = call, traits
        self.ring = stock is not None and stock.kind is Kind.RING
        self.buffers = list(stock.buffers) if stock is not None else []
        self.known = stock is not None
        self.replies: list[Reply] = []
        self.filled: list[tuple[int, bytes]] = []
        self.sent = b""
        self.moved = 0
        self.taken = 0

    def result(self) -> Result:
        why = self._multishot() if self.call.op.multishot else self._single()
        shown = [one for one in self.replies if not (self.call.skip_success and one.res >= 0)]
        return Result(
            replies=tuple(shown),
            left=tuple(buffer.bid for buffer in self.buffers),
            filled=tuple(self.filled),
            sent=self.sent,
            head=self.taken if self.ring and "pbuf_status" in self.traits else None,
            why=why,
        )

    def _no_buffer(self) -> str:
        missing = errno.ENOENT if self.call.op is Op.SEND and not self.known else errno.ENOBUFS
        self.replies.append(Reply(res=-missing))
        return f"{_KBUF} io_buffer_select(), io_buffers_select(): no buffer"

    @property
    def _at_selection(self) -> bool:
        """A ring's buffer is gone as it is selected: nothing would protect it until the request completes."""
        call = self.call
        return self.ring and (call.issue is Issue.IO_WQ or not call.file.pollable or call.op is Op.SEND)

    def _take(self, *, shown: bool, gone: bool, advance: bool | None = None) -> int | None:
        """The first buffer's bid if `shown`; `gone`: it leaves the stock. `advance`: the head, if not alike."""
        buffer = self.buffers[0]
        if gone:
            del self.buffers[0]
            self.taken += 1
        return buffer.bid if shown else None

    def _fail(self, error: int, *, lost: bool) -> None:
        """A failure after the selection; `lost`: the buffer is reported and gone, else it stays."""
        self.replies.append(Reply(res=-error, bid=self._take(shown=lost, gone=lost)))

    def _error_loses(self) -> bool:
        """A transfer that was tried and failed: does the buffer go with it?

        io_recv(), io_recvmsg() recycle, which puts a legacy buffer back and undoes a ring's selection unless
        it was committed; io_read() does so on later kernels, with a ring's buffer only.
        """
        if self._at_selection or self.call.op is Op.SEND:
            return True
        if not self.call.op.reads:
            return False
        return not (self.ring and "read_error_keeps_ring_buffer" in self.traits)

    def _single(self) -> str:
        call = self.call
        if call.file is Source.CLOSED:
            self.replies.append(Reply(res=-errno.EBADF))
            return "io_uring/io_uring.c io_assign_file(): before anything else"
        if call.file is Source.NOT_A_SOCKET:
            self.replies.append(Reply(res=-errno.ENOTSOCK))
            return f"{_NET} sock_from_file(): before the selection"
        if not self.buffers:
            return self._no_buffer()
        if why := self._bad_place():
            return why
        if call.file is Source.WRITE_END:
            self._fail(errno.EBADF, lost=self._error_loses())
            return f"{_RW} io_rw_init_file(): the file is not open for reading, after the selection"
        if call.op is Op.SEND:
            return self._send()
        if call.ready or call.eof or not call.file.pollable:
            self._arrives(call.ready)
            return f"{_RW} kiocb_done(), {_NET} io_recv_finish(): the buffer goes with the completion"
        return self._waits()

    def _bad_place(self) -> str:
        """Addresses that the selection itself does not like."""
        call, place = self.call, self.buffers[0].place
        if place is Place.KERNEL and self.ring and "bad_addr_is_enobufs" in self.traits:
            self.replies.append(Reply(res=-(errno.EFAULT if call.op is Op.SEND else errno.ENOBUFS)))
            return f"{_KBUF} io_ring_buffer_select(): access_ok(), before the buffer is taken"
        if place is Place.NULL and call.op is not Op.SEND:
            lost = self._null_loses()
            if lost and call.op is Op.RECVMSG and not self._at_selection and self._null_recvmsg_leaks():
                self.replies.append(Reply(res=-errno.ENOBUFS, bid=self.buffers[0].bid))
                return f"{_NET} io_recvmsg() returns without recycling: reported, not consumed"
            self._fail(errno.ENOBUFS, lost=lost)
            return "io_buffer_select()'s callers: a NULL address is no buffer"
        return ""

    def _null_loses(self) -> bool:
        if "null_addr_recycled" not in self.traits or self.call.op is Op.RECVMSG:
            return True
        return self._error_loses()

    def _null_recvmsg_leaks(self) -> bool:
        return self.ring and "null_addr_recycled" in self.traits

    def _length(self) -> int:
        size = self.buffers[0].size
        if self.call.length == 0 and "zero_length_stays" not in self.traits:
            return size
        return min(self.call.length, size)

    def _send(self) -> str:
        call, buffer = self.call, self.buffers[0]
        # A legacy buffer goes as it is: io_provided_buffers_select() is given 0 as the length wanted.
        length = self._length() if self.ring else buffer.size
        if buffer.place is not Place.GOOD:
            self._fail(errno.EFAULT, lost=True)
        elif call.eof:
            self._fail(errno.EPIPE, lost=True)
        else:
            self.replies.append(Reply(res=length, bid=self._take(shown=True, gone=True)))
            self.sent = outgoing(buffer.bid, buffer.size)[:length]
        return f"{_KBUF} io_buffers_select(): committed as it is selected"

    def _arrives(self, ready: int, *, more: bool = False, header: bool = False) -> None:
        """`ready` bytes, or the end, for the buffer that is first now."""
        call, buffer = self.call, self.buffers[0]
        head = RECVMSG_HEADER.size if header else 0
        count = min(ready, self._length() - head)
        if call.file is Source.ZERO:
            count = self._length()
        if count and buffer.place is not Place.GOOD:
            self._fail(errno.EFAULT, lost=self._error_loses())
            return
        if not count and not call.op.reads and not self._at_selection:
            self.replies.append(Reply(res=0))  # io_recv() recycles what moved no byte
            return
        data = bytes(count) if call.file is Source.ZERO else incoming(self.moved, count)
        self.moved += count
        if header:
            data = RECVMSG_HEADER.pack(0, 0, count, 0) + data
        nonempty = "unix_inq" in self.traits and call.file is Source.SOCKET and ready > count
        bid = self._take(shown=True, gone=True)
        self.replies.append(Reply(res=len(data), bid=bid, more=more, nonempty=nonempty))
        if data:
            self.filled.append((buffer.bid, data))

    def _waits(self) -> str:
        """There is nothing to read yet."""
        call = self.call
        if call.msg_flags & socket.MSG_DONTWAIT:
            lost = self._at_selection or "dontwait_keeps_buffer" not in self.traits
            self._fail(errno.EAGAIN, lost=lost)
            return f"{_NET} io_recv(): -EAGAIN that may not be waited for"
        if call.then is Then.CANCEL:
            legacy_read = not self.ring and call.op.reads
            held = legacy_read and "poll_arm_returns_legacy_buffer" not in self.traits
            self._fail(errno.ECANCELED, lost=self._at_selection or held)
            return f"{_POLL} io_arm_poll_handler(), {_RW} io_read(): what a waiting request holds"
        if call.then is not None:
            self._arrives(call.more if call.then is Then.DATA else 0)
            return f"{_KBUF} io_buffer_select(): once more when woken"
        return "nothing came: it still waits"

    def _multishot(self) -> str:
        """Buffer after buffer while there is data; then it waits, or has run out of buffers."""
        call = self.call
        header = call.op is Op.RECVMSG_MULTISHOT
        if not self.buffers:
            return self._no_buffer()
        rest = call.ready
        while rest:
            if not self.buffers:
                return self._no_buffer()
            room = self.buffers[0].size - (RECVMSG_HEADER.size if header else 0)
            committed = self._arrives_more(rest, header=header)
            rest -= min(rest, room)
            assert committed
        if call.then is Then.CANCEL:
            # Only 6.1's io-wq runs the attempt that finds nothing, with a buffer committed for it.
            held = call.issue is Issue.IO_WQ and self.ring and "multishot_in_io_wq" in self.traits
            self._fail(errno.ECANCELED, lost=held)
        return f"{_NET} io_recv_finish(), {_RW} io_read_mshot()"

    def _arrives_more(self, rest: int, *, header: bool) -> bool:
        self._arrives(rest, more=True, header=header)
        return True
