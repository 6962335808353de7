"""The kernel's side of a described transfer: makes group, buffers and file, issues the request, reads back."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import termios
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from ringrig.model.checks import Traits
from ringrig.model.subject import Subject
from ringrig.model.transfer import (
    Issue,
    Kind,
    Op,
    Place,
    Reply,
    Result,
    Source,
    Stock,
    Then,
    Transfer,
    incoming,
    outgoing,
)
from ringrig.uring import bufring
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.group import Group, legacy, remove_legacy
from ringrig.uring.requests import Vector, cancel, selecting
from ringrig.uring.ring import Cqe

BGID, SPARE_BGID = 7, 900
_CANARY, _FILL = 64, 0xA5
_REQUEST, _OTHER = 1, 2
_KERNEL_ADDR = 0xFFFF888000000000
_OPCODES = {
    Op.READ: c.IORING_OP_READ,
    Op.READV: c.IORING_OP_READV,
    Op.RECV: c.IORING_OP_RECV,
    Op.RECVMSG: c.IORING_OP_RECVMSG,
    Op.SEND: c.IORING_OP_SEND,
    Op.READ_MULTISHOT: c.IORING_OP_READ_MULTISHOT,
    Op.RECV_MULTISHOT: c.IORING_OP_RECV,
    Op.RECVMSG_MULTISHOT: c.IORING_OP_RECVMSG,
}


def ended(replies: Sequence[Reply]) -> bool:
    """The last completion of a request is among them."""
    return bool(replies) and not replies[-1].more


class Afterwards(NamedTuple):
    """What a ring in good order answers to a registration, to its undoing and to a request."""

    registered: int = 0
    unregistered: int = 0
    nop: int = 0


class Scene:
    """A group with its stock on a Subject's ring. Buffers lie between canaries, all bytes 0xA5."""

    def __init__(self, subject: Subject, stock: Stock | None, traits: Traits) -> None:
        self.subject, self.stock, self.traits = subject, stock, traits
        self.ring, self.arena = subject.ring, subject.arena
        self.group: Group | None = None
        self._at: dict[int, int] = {}
        self._sizes: dict[int, int] = {}
        self._fed = 0
        self._kept: list[object] = []
        self._base, self._room, self._near = 0, 0, -1
        self._before = b""
        if stock is not None:
            self._furnish(stock)

    def _furnish(self, stock: Stock) -> None:
        self._room = _CANARY + sum(buffer.size + _CANARY for buffer in stock.buffers)
        self._base = self.arena.anon(self._room)
        ctypes.memset(self._base, _FILL, self._room)
        at = self._base + _CANARY
        for buffer in stock.buffers:
            self._at[buffer.bid], self._sizes[buffer.bid] = at, buffer.size
            at += buffer.size + _CANARY
        if stock.kind is Kind.RING:
            entries = max(8, 1 << (len(stock.buffers) - 1).bit_length())
            self.group = Group(self.ring, self.arena, bgid=BGID, entries=entries)
            assert self.group.register() == 0
            self.subject.owns(BGID)
        elif not stock.buffers:
            self._provide(self.arena.anon(64), 64, 0)
            assert remove_legacy(self.ring, bgid=BGID, count=1) == 1
        for buffer in stock.buffers:
            place = {Place.GOOD: self._at[buffer.bid], Place.NULL: 0, Place.KERNEL: _KERNEL_ADDR}
            addr = self.arena.unmapped(buffer.size) if buffer.place is Place.UNMAPPED else place[buffer.place]
            self._provide(addr, buffer.size, buffer.bid)

    def _provide(self, addr: int, size: int, bid: int) -> None:
        if self.group is not None:
            self.group.memory.publish(addr, size, bid)
        else:
            assert legacy(self.ring, bgid=BGID, addr=addr, size=size, count=1, bid=bid) == 0

    def run(self, call: Transfer) -> Result:
        """The transfer to its end; then what is left of the stock, which uses it up."""
        replies, sent = self.transfer(call)
        filled, stray = self.written()
        head = self.head()
        return Result(replies=replies, left=self.left(), filled=filled, sent=sent, head=head, stray=stray)

    def head(self) -> int | None:
        """How far the ring's head is, where the kernel tells."""
        return self.group.head() if self.group is not None and "pbuf_status" in self.traits else None

    def transfer(self, call: Transfer) -> tuple[tuple[Reply, ...], bytes]:
        """The request alone: its completions, and what the other end got."""
        near, far = self._file(call)
        self._near = near
        self._supply(call, far)
        self._queue(call, near)
        replies = self._finish(call, far)
        sent = (far.read(1 << 16) or b"") if call.op is Op.SEND and not far.closed and far.readable() else b""
        return replies, sent

    def side_by_side(self, call: Transfer, *, count: int) -> list[Reply]:
        """`count` such transfers at once, each with a file of its own; if they wait, all do before data comes."""
        files = [self._file(call) for _ in range(count)]
        for near, far in files:
            self._near, self._fed = near, 0
            self._supply(call, far)
            self._queue(call, near)
        assert self.ring.submit() == count
        if call.then:
            waiting = self._waiting_line(call)
            assert settled(lambda: self._fdinfo().count(waiting), count) == count
            for _, far in files:
                self._fed = call.ready
                self._feed(far, call.more)
        return self._replies(self.ring.complete(count))

    def begin(self, call: Transfer) -> FileIO:
        """Issue a request that finds nothing, and see it wait; the other end of its file."""
        near, far = self._file(call)
        self._near = near
        self._queue(call, near)
        assert self.ring.submit() == 1
        assert self._until_it_waits(call) == ()
        return far

    def end(self, far: FileIO, length: int) -> tuple[Reply, ...]:
        """Data for the request that begin() left waiting: its completions."""
        self._feed(far, length)
        return self._to_the_end()

    def next_bid(self) -> int | None:
        """The buffer that a READ of /dev/zero gets now; it is used up."""
        with FileIO("/dev/zero") as zero:
            selecting(self.ring, c.IORING_OP_READ, zero.fileno(), bgid=BGID, length=1)
            return self.ring.complete()[0].bid

    def _file(self, call: Transfer) -> tuple[int, FileIO]:
        """The request's descriptor, and its other end (of a file the file itself)."""
        source = call.file
        if source is Source.SOCKET:
            ours, other = socket.socketpair(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            return self.arena.own(ours.detach()), FileIO(other.detach(), "r+")
        if source is Source.ZERO:
            near = os.open("/dev/zero", os.O_RDONLY | os.O_CLOEXEC)
        elif source is Source.FILE:
            near = os.memfd_create("ringrig")
        else:
            reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            if source is Source.CLOSED:
                os.close(reader)
                return reader, FileIO(writer, "w")
            if source is Source.WRITE_END:
                return self.arena.own(writer), FileIO(reader, "r")
            return self.arena.own(reader), FileIO(writer, "w")
        return self.arena.own(near), FileIO(os.dup(near), "r")

    def _supply(self, call: Transfer, far: FileIO) -> None:
        """What is there before the request."""
        if call.op is Op.SEND:
            for bid, at in self._at.items():
                ctypes.memmove(at, outgoing(bid, self._sizes[bid]), self._sizes[bid])
        elif call.file is Source.FILE:
            os.pwrite(far.fileno(), incoming(0, call.ready), 0)
        elif call.ready and call.file is not Source.ZERO:
            self._feed(far, call.ready)
        if call.eof:
            far.close()
        self._before = self._image()

    def _feed(self, far: FileIO, length: int) -> None:
        assert far.write(incoming(self._fed, length)) == length
        self._fed += length

    def vector(self, length: int, *, count: int = 1) -> Vector:
        """Iovecs and msghdr as the program has them."""
        return Vector(length, count=count)

    def _queue(self, call: Transfer, fd: int) -> None:
        vector = None
        if call.op in {Op.READV, Op.RECVMSG, Op.RECVMSG_MULTISHOT}:
            vector = self.vector(call.length)
            self._kept.append(vector)
        sqe = selecting(self.ring, _OPCODES[call.op], fd, bgid=BGID, length=call.length, vector=vector)
        sqe.user_data = _REQUEST
        if not call.op.reads:
            sqe.msg_flags = call.msg_flags
            sqe.ioprio = c.IORING_RECV_MULTISHOT * call.op.multishot
        sqe.flags |= c.IOSQE_ASYNC * (call.issue is Issue.IO_WQ)
        sqe.flags |= (c.IOSQE_CQE_SKIP_SUCCESS | c.IOSQE_IO_HARDLINK) * call.skip_success

    def _finish(self, call: Transfer, far: FileIO) -> tuple[Reply, ...]:
        """Completions, to the last; `call.then` happens when the request is seen to wait."""
        if call.skip_success:
            return self._unseen()
        assert self.ring.submit() == 1
        replies: tuple[Reply, ...] = ()
        for event in call.then:
            replies += self._until_it_waits(call)
            if ended(replies):
                return replies
            if event is Then.DATA:
                self._feed(far, call.more)
            elif event is Then.EOF:
                far.close()
            else:
                cancel(self.ring, _REQUEST, own=_OTHER)
        return replies + self._to_the_end()

    def _unseen(self) -> tuple[Reply, ...]:
        """Of a request with IOSQE_CQE_SKIP_SUCCESS and IOSQE_IO_HARDLINK: a NOP behind it tells when it is done."""
        self.ring.sqe().user_data = _OTHER
        found: list[Reply] = []
        while True:
            cqes = self.ring.complete()
            found += self._replies(cqes)
            if any(cqe.user_data == _OTHER for cqe in cqes):
                return tuple(found)

    def _to_the_end(self) -> tuple[Reply, ...]:
        """Completions up to the request's last."""
        found: list[Reply] = []
        while not ended(found):
            found += self._replies(self.ring.complete())
        return tuple(found)

    def _until_it_waits(self, call: Transfer) -> tuple[Reply, ...]:
        """Completions until the request has ended, or is armed for poll and all that was ready is used.

        The ring's fdinfo tells (io_uring_show_fdinfo()); an io-wq worker may still be on the way there.
        """
        waiting = self._waiting_line(call)
        found: list[Reply] = []

        def armed() -> int:
            yes = waiting in self._fdinfo() and not self._unread()
            found.extend(self._replies(self.ring.cqes()))
            return yes or ended(found)

        assert settled(armed, 1), f"{call} does not wait; completions: {found}"
        return tuple(found)

    def _waiting_line(self, call: Transfer) -> str:
        return f"  op={_OPCODES[call.op]}, task_works=0\n"

    def _fdinfo(self) -> str:
        return Path(f"/proc/self/fdinfo/{self.ring.fd}").read_text()

    def _unread(self) -> int:
        count = ctypes.c_int()
        fcntl.ioctl(self._near, termios.FIONREAD, count)
        return count.value

    def _replies(self, cqes: list[Cqe]) -> list[Reply]:
        # Where AF_UNIX does not count what is queued, msg_inq is what it was; 6.1 does not even set it before.
        doubtful = 0 if "unix_inq" in self.traits else c.IORING_CQE_F_SOCK_NONEMPTY
        return [Reply.of(cqe.res, cqe.flags & ~doubtful) for cqe in cqes if cqe.user_data == _REQUEST]

    def written(self) -> tuple[tuple[tuple[int, bytes], ...], tuple[str, ...]]:
        """What buffers hold that changed, up to the last byte that did; and changes outside of buffers."""
        image = self._image()
        changed = [
            at for at, (now, before) in enumerate(zip(image, self._before, strict=True)) if now != before
        ]
        filled, stray = [], set(changed)
        for bid, at in self._at.items():
            start = at - self._base
            mine = [one for one in changed if start <= one < start + self._sizes[bid]]
            if mine:
                filled.append((bid, image[start : mine[-1] + 1]))
                stray -= set(mine)
        return tuple(filled), tuple(f"offset {at - _CANARY}" for at in sorted(stray))

    def _image(self) -> bytes:
        return ctypes.string_at(self._base, self._room) if self._room else b""

    def left(self) -> tuple[int, ...]:
        """The bids that are still to be had, in their order; takes them."""
        if self.stock is None:
            return ()
        if self.group is not None:  # entries that cannot be used would end the count: good memory for all
            room = self.arena.anon(64)
            for slot in range(self.group.entries):
                self.group.memory.write(slot, room, 64, self.group.entry(slot).bid)
        found: list[int] = []
        while (bid := self.next_bid()) is not None:
            found.append(bid)
        return tuple(found)

    def afterwards(self) -> Afterwards:
        """Asks the ring for one thing of each kind; it answers Afterwards() if it is in good order."""
        page = self.arena.anon(4096)
        registered = bufring.register(self.ring, addr=page, bgid=SPARE_BGID)
        unregistered = bufring.unregister(self.ring, SPARE_BGID)
        self.ring.sqe()
        return Afterwards(registered, unregistered, self.ring.complete()[0].res)
