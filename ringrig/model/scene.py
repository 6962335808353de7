"""The kernel's side of a described transfer: makes group, buffers and file, issues the request, reads back."""

from __future__ import annotations

import ctypes
import fcntl
import os
import termios
from collections.abc import Sequence
from io import FileIO
from typing import NamedTuple

from ringrig.model.checks import Traits
from ringrig.model.sources import SECTOR, open_source
from ringrig.model.subject import Subject
from ringrig.model.transfer import (
    ON_STORAGE,
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
from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.group import Group, legacy, remove_legacy
from ringrig.uring.requests import Vector, cancel, limit, run_out, selecting
from ringrig.uring.ring import Cqe

BGID, SPARE_BGID = 7, 900
_FILL = 0xA5
_REQUEST, _OTHER, _TIMEOUT = 1, 2, 3
_KERNEL_ADDR = 0xFFFF888000000000
OPCODES = {
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
        self._canary = 0
        self._before = b""
        if stock is not None:
            self._furnish(stock)

    def _furnish(self, stock: Stock) -> None:
        sizes = [buffer.size for buffer in stock.buffers]
        self._canary = 64 if any(size % SECTOR for size in sizes) else SECTOR
        self._room = self._canary + sum(size + self._canary for size in sizes)
        self._base = self.arena.anon(self._room)
        ctypes.memset(self._base, _FILL, self._room)
        at = self._base + self._canary
        for buffer in stock.buffers:
            self._at[buffer.bid], self._sizes[buffer.bid] = at, buffer.size
            at += buffer.size + self._canary
        if stock.kind is Kind.RING:
            self.group = Group(self.ring, self.arena, bgid=BGID, entries=stock.entries)
            assert self.group.register() == 0
            self.subject.owns(BGID)
            self.group.spend(stock.start)
        elif not stock.buffers:
            self._provide(self.arena.anon(64), 64, 0)
            assert remove_legacy(self.ring, bgid=BGID, count=1) == 1
        for buffer in stock.buffers:
            place = {Place.GOOD: self._at[buffer.bid], Place.NULL: 0, Place.KERNEL: _KERNEL_ADDR}
            addr = self.arena.unmapped(buffer.size) if buffer.place is Place.UNMAPPED else place[buffer.place]
            self._provide(addr, buffer.size, buffer.bid)
        if self.group is not None:
            self.group.memory.producer += stock.again

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
        """Buffers of the stock that the ring's head is beyond, where the kernel tells."""
        if self.group is None or self.stock is None or "pbuf_status" not in self.traits:
            return None
        return self.group.head() - self.stock.start & 0xFFFF

    def transfer(self, call: Transfer) -> tuple[tuple[Reply, ...], bytes]:
        """The request alone: its completions, and what the other end got."""
        near, far = open_source(call.file, self.arena)
        self._near = near
        self._supply(call, far)
        replies = self._finish(call, far, self._queue(call, near))
        sent = (far.read(1 << 16) or b"") if call.op is Op.SEND and not far.closed and far.readable() else b""
        return replies, sent

    def side_by_side(self, call: Transfer, *, count: int) -> list[Reply]:
        """`count` such transfers at once, each with a file of its own; if they wait, all do before data comes."""
        files = [open_source(call.file, self.arena) for _ in range(count)]
        queued = 0
        for near, far in files:
            self._near, self._fed = near, 0
            self._supply(call, far)
            queued += self._queue(call, near)
        self._submit(queued)
        if call.then:
            assert settled(lambda: self.ring.armed(OPCODES[call.op]), count) == count
            for _, far in files:
                self._fed = call.ready
                self._feed(far, call.more)
        return self._replies(self.ring.complete(count))

    def begin(self, call: Transfer) -> FileIO:
        """Issue a request that finds nothing, and see it wait; the other end of its file."""
        near, far = open_source(call.file, self.arena)
        self._near = near
        self._before = self._image()
        self._submit(self._queue(call, near))
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

    def _supply(self, call: Transfer, far: FileIO) -> None:
        """What is there before the request."""
        if call.op is Op.SEND:
            for bid, at in self._at.items():
                ctypes.memmove(at, outgoing(bid, self._sizes[bid]), self._sizes[bid])
        elif call.file in ON_STORAGE:
            os.pwrite(far.fileno(), incoming(0, call.ready), 0)
            os.fdatasync(far.fileno())
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

    def _queue(self, call: Transfer, fd: int) -> int:
        """The request and what it is linked with: so many SQEs."""
        if call.behind_failure:
            failing = self.ring.sqe()
            failing.opcode, failing.fd, failing.user_data = c.IORING_OP_READ, -1, _OTHER
            failing.flags = c.IOSQE_IO_LINK
        vector = None
        if call.op in {Op.READV, Op.RECVMSG, Op.RECVMSG_MULTISHOT}:
            vector = self.vector(call.length)
            self._kept.append(vector)
        sqe = selecting(self.ring, OPCODES[call.op], fd, bgid=BGID, length=call.length, vector=vector)
        sqe.user_data = _REQUEST
        sqe.msg_flags = call.op_flags
        if not call.op.reads:
            sqe.ioprio = c.IORING_RECV_MULTISHOT * call.op.multishot
        sqe.flags |= c.IOSQE_ASYNC * (call.issue is Issue.IO_WQ)
        sqe.flags |= (c.IOSQE_CQE_SKIP_SUCCESS | c.IOSQE_IO_HARDLINK) * call.skip_success
        limited = Then.TIMEOUT in call.then
        if limited:
            limit(self.ring, sqe, own=_TIMEOUT)
        return 1 + call.behind_failure + limited

    def _submit(self, queued: int) -> None:
        taken = self.ring.submit()  # a poller may have been faster
        assert taken == queued or self.ring.params.flags & c.IORING_SETUP_SQPOLL

    def _finish(self, call: Transfer, far: FileIO, queued: int) -> tuple[Reply, ...]:
        """Completions, to the last; `call.then` happens when the request is seen to wait."""
        if call.skip_success:
            return self._unseen()
        self._submit(queued)
        replies: tuple[Reply, ...] = ()
        for event in call.then:
            replies += self._until_it_waits(call)
            if ended(replies):
                return replies
            if event is Then.DATA:
                self._feed(far, call.more)
            elif event is Then.EOF:
                far.close()
            elif event is Then.TIMEOUT:
                run_out(self.ring, _TIMEOUT, own=_OTHER)
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
        found: list[Reply] = []

        def armed() -> int:
            self.ring.submit()  # with IORING_SETUP_DEFER_TASKRUN completions come in here only
            yes = self.ring.armed(OPCODES[call.op]) > 0 and not self._unread()
            found.extend(self._replies(self.ring.cqes()))
            return yes or ended(found)

        assert settled(armed, 1), f"{call} does not wait; completions: {found}"
        return tuple(found)

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
        return tuple(filled), tuple(f"offset {at - self._canary}" for at in sorted(stray))

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
        page = self.arena.anon(libc.PAGE_SIZE)
        registered = bufring.register(self.ring, addr=page, bgid=SPARE_BGID)
        unregistered = bufring.unregister(self.ring, SPARE_BGID)
        self.ring.sqe()
        return Afterwards(registered, unregistered, self.ring.complete()[0].res)
