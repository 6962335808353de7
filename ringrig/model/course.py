"""What a transfer must give, by the kernel's traits.

A transfer takes the first buffer of its group's stock, or none. What differs between kernels is when the
buffer is gone for good ("committed"), and whether a request that moved no byte reports it; the function of
the kernel that decides is named in the result.
"""

from __future__ import annotations

import errno

from ringrig.model.checks import Traits
from ringrig.model.transfer import (
    RECVMSG_HEADER,
    Buffer,
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

_RW, _NET, _KBUF, _POLL = (f"io_uring/{name}.c" for name in ("rw", "net", "kbuf", "poll"))


def expect(call: Transfer, stock: Stock | None, traits: Traits) -> Result:
    """What the kernel must give. `stock` None: nobody ever made the group."""
    return _Course(call, stock, traits).result()


def meaningless(call: Transfer, stock: Stock | None, traits: Traits) -> str:
    """Why there is nothing to expect, or ""."""
    if call.op.multishot and call.issue is Issue.IO_WQ and Then.TIMEOUT in call.then:
        return "io_wq_submit_work() has a multishot wait for poll, and does not start its linked timeout"
    if call.op.multishot and call.issue is Issue.IO_WQ and call.nowait:
        return "io_wq_submit_work() has a multishot wait for poll before it looks at RWF_NOWAIT"
    if (
        call.op.multishot
        and stock
        and stock.buffers
        and stock.kind is Kind.RING
        and "zero_length_stays" in traits
    ):
        return "a multishot receive selects with length 0, which gets it nothing from this kernel's rings"
    return ""


class _Course:
    """One transfer on its way: the stock shrinks, completions come."""

    def __init__(self, call: Transfer, stock: Stock | None, traits: Traits) -> None:
        self.call, self.traits = call, traits
        self.known = stock is not None
        self.ring = stock is not None and stock.kind is Kind.RING
        self.buffers = [*stock.buffers, *stock.buffers[: stock.again]] if stock is not None else []
        self.replies: list[Reply] = []
        self.filled: list[tuple[int, bytes]] = []
        self.sent = b""
        self.in_io_wq = call.issue is Issue.IO_WQ
        # A multishot that io-wq has to run, as the file may block, is a single one: io_wq_submit_work().
        self.goes_on = call.op.multishot and not (self.in_io_wq and call.file is Source.FIFO)
        self.moved = 0
        self.short = False
        self.taken = 0

    def result(self) -> Result:
        why = self._refused() or self._go()
        skipped = self.call.skip_success and not self.short and self.replies[-1].res >= 0
        return Result(
            replies=() if skipped else tuple(self.replies),
            left=tuple(buffer.bid for buffer in self.buffers),
            filled=tuple(self.filled),
            sent=self.sent,
            head=self.taken if self.ring and "pbuf_status" in self.traits else None,
            why=why,
        )

    def _refused(self) -> str:
        """What ends the request before a buffer is looked for."""
        if self.call.behind_failure:
            return self._say(-errno.ECANCELED, "io_uring/timeout.c io_fail_links(): it is never issued")
        if self.call.file is Source.CLOSED:
            return self._say(-errno.EBADF, "io_uring/io_uring.c io_assign_file(): before anything else")
        if self.call.file is Source.NOT_A_SOCKET:
            return self._say(-errno.ENOTSOCK, f"{_NET} sock_from_file(): before the selection")
        if self.call.op is Op.READ_MULTISHOT and not self.call.file.pollable:
            return self._say(-errno.EBADFD, f"{_RW} io_read_mshot(), io_wq_submit_work(): nothing to poll")
        return ""

    def _go(self) -> str:
        call = self.call
        if why := self._no_buffer():
            return why
        if call.op is Op.SEND:
            return self._send()
        if call.file in {Source.WRITE_END, Source.WRITE_ONLY}:
            return self._fail(
                errno.EBADF, f"{_RW} io_rw_init_file(): not open for reading, after the selection"
            )
        if call.op.reads and call.nowait and "pipe_nowait_refused" in self.traits:
            return self._fail(errno.EOPNOTSUPP, f"{_RW} io_rw_init_file(): kiocb_set_rw_flags()")
        rest = call.ready
        if rest or call.eof or not call.file.pollable:
            why = self._arrives(rest)
            while call.op.multishot and self.replies[-1].more and (rest := call.ready - self.moved):
                why = self._no_buffer() or self._arrives(rest)
            if not self.replies[-1].more:
                return why
        elif call.nowait:
            return self._would_block()
        why = "nothing came: it still waits"
        for event in call.then:
            why = self._event(event)
            if not self.replies[-1].more:
                break
        return why

    def _say(self, res: int, why: str, bid: int | None = None) -> str:
        self.replies.append(Reply(res=res, bid=bid))
        return why

    def _take(self) -> int:
        """The first buffer leaves the stock."""
        self.taken += 1
        return self.buffers.pop(0).bid

    def _fail(self, error: int, why: str, *, loses: bool | None = None) -> str:
        """Failed after the selection: the buffer is reported and gone, or neither."""
        loses = self._failure_loses if loses is None else loses
        return self._say(-error, why, self._take() if loses else None)

    @property
    def _at_selection(self) -> bool:
        """A ring's buffer is gone as it is selected where nothing would protect it until the end."""
        call = self.call
        unlocked = self.in_io_wq and (not self.goes_on or "multishot_in_io_wq" in self.traits)
        return self.ring and (unlocked or not call.file.pollable or call.op is Op.SEND)

    @property
    def _failure_loses(self) -> bool:
        """Does the buffer go with a request that was tried and failed?

        io_recv() and io_recvmsg() recycle: a legacy buffer goes back, a ring's selection is undone unless it
        was committed. io_read() does so on later kernels, for a ring's buffer alone.
        """
        if self._at_selection or self.call.op is Op.SEND:
            return True
        if not self.call.op.reads:
            return False
        return not (self.ring and "read_error_keeps_ring_buffer" in self.traits)

    @property
    def _tried_early(self) -> bool:
        """The address has been looked at, and the buffer given back, before io-wq gets the request."""
        early = "async_readv_selects_early" in self.traits
        return early and self.call.op is Op.READV and self.call.issue is Issue.IO_WQ

    def _no_buffer(self) -> str:
        """-ENOBUFS and its kin, or "" with a buffer to go on with."""
        send = self.call.op is Op.SEND
        if not self.buffers:
            missing = errno.ENOENT if send and not self.known else errno.ENOBUFS
            return self._say(-missing, f"{_KBUF} io_buffer_select(), io_buffers_select(): no buffer")
        place = self.buffers[0].place
        if place is Place.KERNEL and self.ring:
            if "bad_addr_is_enobufs" in self.traits:
                refusal = errno.EFAULT if send else errno.ENOBUFS
                return self._say(
                    -refusal, f"{_KBUF} io_ring_buffer_select(): access_ok() before the buffer is taken"
                )
            if "bad_addr_refused" in self.traits:
                return self._say(-errno.EFAULT, f"{_KBUF} io_ring_buffer_select(): refused as it is selected")
        ring_send = self.ring and send  # io_ring_buffers_peek() does not look at the address
        if place is Place.NULL and not ring_send and "null_addr_tried" not in self.traits:
            # Like any failure: always for READ, for RECV since it recycles; RECVMSG does so of a ring alone.
            op = self.call.op
            recycles = op in {Op.READ, Op.READV} or (
                "null_addr_recycled" in self.traits and (op is Op.RECV or (op is Op.RECVMSG and self.ring))
            )
            stays = self._tried_early or (recycles and not self._failure_loses)
            return self._fail(
                errno.ENOBUFS, "io_buffer_select()'s callers: no address, no buffer", loses=not stays
            )
        return ""

    def _length(self, buffer: Buffer) -> int:
        """Bytes that may go into it."""
        wanted = self.call.length
        if wanted == 0 and not (self.ring and "zero_length_stays" in self.traits):
            return buffer.size
        return min(wanted, buffer.size)

    def _send(self) -> str:
        why = f"{_KBUF} io_buffers_select(): committed as it is selected"
        buffer = self.buffers[0]
        if buffer.place is not Place.GOOD:
            return self._fail(errno.EFAULT, why)
        if self.call.eof:
            return self._fail(errno.EPIPE, why)
        # A legacy buffer goes whole: io_provided_buffers_select() is given 0 as the length that is wanted.
        length = self._length(buffer) if self.ring else buffer.size
        self.sent = outgoing(buffer.bid, buffer.size)[:length]
        return self._say(length, why, self._take())

    def _arrives(self, ready: int) -> str:
        """`ready` bytes, or the end of the stream, for the buffer that is first now."""
        call, buffer = self.call, self.buffers[0]
        header = RECVMSG_HEADER.size if call.op is Op.RECVMSG_MULTISHOT else 0
        room = self._length(buffer) - header
        if room < 0:
            return self._fail(errno.EFAULT, f"{_NET} io_recvmsg_prep_multishot(): no room for the header")
        count = room if call.file is Source.ZERO else min(ready, room)
        if count and buffer.place is not Place.GOOD:
            loses = self._failure_loses and not (buffer.place is Place.KERNEL and self._tried_early)
            return self._fail(errno.EFAULT, "access_ok(), or the copy to the buffer, fails", loses=loses)
        nonempty = "unix_inq" in self.traits and call.file is Source.SOCKET and ready > count
        if (
            count == 0
            and not header
            and not (call.op.reads and not call.op.multishot)
            and not self._at_selection
        ):
            self.replies.append(Reply(res=0, nonempty=nonempty))
            return f"{_NET} io_recv(), {_RW} io_read_mshot(): recycle where no byte moved"
        data = bytes(count) if call.file is Source.ZERO else incoming(self.moved, count)
        if header:
            data = RECVMSG_HEADER.pack(0, 0, count, 0) + data
        self.moved += count
        self.short = call.op.reads and count < room  # a failure to io_uring/rw.c: it is not skipped
        more = self.goes_on and count > 0
        self.replies.append(Reply(res=len(data), bid=self._take(), more=more, nonempty=nonempty))
        if data:
            self.filled.append((buffer.bid, data))
        if more and not self.buffers and not call.op.reads and "unix_inq" not in self.traits:
            return self._no_buffer()  # it looks for more, as it cannot tell whether more is there
        return f"{_RW} kiocb_done(), {_NET} io_recv_finish(): the buffer goes with the completion"

    def _would_block(self) -> str:
        if self.call.op in {Op.READ, Op.READV}:
            return self._fail(errno.EAGAIN, f"{_RW} io_read(): -EAGAIN, and REQ_F_NOWAIT")
        keeps = self.call.op is Op.READ_MULTISHOT or "dontwait_keeps_buffer" in self.traits
        why = f"{_NET} io_recv(), {_RW} io_read_mshot(): -EAGAIN, and REQ_F_NOWAIT"
        return self._fail(errno.EAGAIN, why, loses=self._at_selection or not keeps)

    def _event(self, event: Then) -> str:
        """Something happens to a request that waits."""
        call = self.call
        if event in {Then.CANCEL, Then.TIMEOUT}:
            read = call.op in {Op.READ, Op.READV}
            held = read and not self.ring and "poll_arm_returns_legacy_buffer" not in self.traits
            tried = (
                call.op is Op.READV and call.file is not Source.FIFO
            )  # which is asked first whether it is ready
            held = held or (tried and "waiting_readv_keeps_buffer" in self.traits)
            why = f"{_POLL} io_arm_poll_handler(), {_RW} io_read(): what a waiting request holds"
            return self._fail(errno.ECANCELED, why, loses=self._at_selection or held)
        why = self._no_buffer() or self._arrives(call.more if event is Then.DATA else 0)
        self.in_io_wq = self.in_io_wq and not self.goes_on  # woken, it goes on in the submitter's task
        return why
