"""What one io_uring must show while many requests, of several groups of both kinds, come and go.

Which calls succeed is spec.py's to say, what a request does with the first buffer of its group course.py's. Here
stands what lies between them: whose buffer is first by then, what is left of it, and what is in the files.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace

from ringrig.model.calls import Memory, registration, unregistration
from ringrig.model.checks import Traits
from ringrig.model.course import expect
from ringrig.model.holdings import CANARY, FILES, PATTERN, SLAB, File, Item, Pool, Slots, Waiting
from ringrig.model.mapping import Mmap, expect_mmap
from ringrig.model.spec import Model, Outcome
from ringrig.model.state import BGID_ARRAY
from ringrig.model.transfer import (
    RECVMSG_HEADER,
    Buffer,
    Issue,
    Kind,
    Op,
    Reply,
    Result,
    Source,
    Stock,
    Then,
    Transfer,
    incoming,
)
from ringrig.uring import consts as c
from ringrig.uring.layout import MERGED
from ringrig.uring.memory import pages

STICKY = frozenset({Op.READ, Op.READV, Op.RECV, Op.RECV_MULTISHOT})
"""Operations whose length is the request's own to change."""
CANCELLED = (Then.CANCEL,)


class World:
    """Follows one io_uring: each method returns what must come of a step, and what is to be seen moves with it."""

    def __init__(self, traits: Traits) -> None:
        self.traits, self.calls = traits, Model(traits)
        self.memory = bytearray(PATTERN)
        self.pools: dict[int, Pool] = {}
        self.files = {name: File(source=kind, at=17 * at) for at, (name, kind) in enumerate(FILES.items())}
        self.sent = b""
        """What the other end of the last request's socket got."""
        self.next_place = CANARY
        """Offset that the next buffer gets."""
        self._old_heads: dict[int, int] = {}

    def register(self, bgid: int, *, entries: int, flags: int, min_left: int) -> Outcome:
        """A ring without buffers. Its tail is the application's to set: to where the kernel's head is."""
        memory = Memory.NULL if flags & c.IOU_PBUF_RING_MMAP else Memory.ANON
        call = registration(bgid=bgid, entries=entries, flags=flags, min_left=min_left, memory=memory)
        outcome = self.calls.register_pbuf_ring(call)
        if outcome.res == 0:
            head = self._old_heads.get(bgid, 0)
            self.calls.consumed(bgid=bgid, buffers=head)
            slots = Slots(entries=[None] * entries, tail=head)
            incremental = bool(flags & c.IOU_PBUF_RING_INC)
            self.pools[bgid] = Pool(slots=slots, incremental=incremental, min_left=min_left)
        elif self.calls.state.find(bgid) is None:
            self.pools.pop(bgid, None)
        return outcome

    def unregister(self, bgid: int) -> Outcome:
        group = self.calls.state.find(bgid)
        outcome = self.calls.unregister_pbuf_ring(unregistration(bgid=bgid))
        if outcome.res == 0:
            del self.pools[bgid]
            if "stale_head" in self.traits and bgid < BGID_ARRAY and group is not None:
                self._old_heads[bgid] = group.head
        return outcome

    def provide(self, bgid: int, *, bid: int, count: int, size: int) -> int:
        """`count` buffers behind each other, numbered from `bid` on."""
        at = self._room(count * size)
        res = self.calls.provide_buffers(bgid=bgid, count=count)
        if res == 0:
            pool = self.pools.setdefault(bgid, Pool())
            pool.items += [
                Item(bid=bid + number, at=at + number * size, left=size) for number in range(count)
            ]
        return res

    def remove(self, bgid: int, *, count: int) -> int:
        res = self.calls.remove_buffers(bgid=bgid, count=count)
        if res > 0:
            del self.pools[bgid].items[:res]
        return res

    def publish(self, bgid: int, *, bid: int, size: int) -> int:
        """Where the buffer lies."""
        assert not self.full(bgid), "there is no slot for it"
        pool, at = self.pools[bgid], self._room(size)
        assert pool.slots is not None
        pool.items.append(Item(bid=bid, at=at, left=size))
        pool.slots.entries[pool.slots.tail % len(pool.slots.entries)] = (at, size, bid)
        pool.slots.tail = pool.slots.tail + 1 & 0xFFFF
        return at

    def full(self, bgid: int) -> bool:
        """Nothing can be published: no ring, or all its slots are in use."""
        pool = self.pools.get(bgid)
        return pool is None or pool.slots is None or len(pool.items) >= len(pool.slots.entries)

    def mmap(self, bgid: int) -> int:
        """mmap() of the group's ring, a page: 0 or -errno."""
        groups = self.calls.state.groups.items()
        in_kernel = {
            known: pages(MERGED.size(group.entries))
            for known, group in groups
            if group.flags & c.IOU_PBUF_RING_MMAP
        }
        return expect_mmap(Mmap(bgid=bgid), in_kernel, self.traits)

    def request(self, call: Transfer, name: str, bgid: int) -> list[Reply]:
        """A request of the file of that name; no other waits for it."""
        file = self.files[name]
        assert file.waiting is None, "another request waits for it: which one would be woken is not said"
        return self._go_on(Waiting(call=call, bgid=bgid), file)

    def feed(self, name: str, length: int) -> list[Reply]:
        """`length` bytes come."""
        file = self.files[name]
        file.unread += length
        return self._woken(file)

    def end(self, name: str) -> list[Reply]:
        """The other end closes."""
        file = self.files[name]
        file.ended = True
        return self._woken(file)

    def cancel(self, name: str) -> list[Reply]:
        """What waits for the file is cancelled."""
        file = self.files[name]
        request, file.waiting = file.waiting, None
        if request is None:
            return []
        if request.held is None:
            return [Reply(res=-errno.ECANCELED)]
        return [Reply(res=-errno.ECANCELED, bid=request.held.bid, buf_more=request.buf_more)]

    def _woken(self, file: File) -> list[Reply]:
        request, file.waiting = file.waiting, None
        return [] if request is None else self._go_on(request, file)

    def _room(self, length: int) -> int:
        at = self.next_place
        self.next_place += length + CANARY
        assert self.next_place <= SLAB, "the slab is used up"
        return at

    def crowded(self, length: int) -> bool:
        """No room for another buffer of that length."""
        return self.next_place + length + CANARY > SLAB

    def _go_on(self, request: Waiting, file: File) -> list[Reply]:
        """As far as it gets with what is in the file."""
        replies: list[Reply] = []
        self.sent = b""
        polled = self._left_to_poll(request)
        # Of data and the end, both there as io-wq arms poll, the end is never told where the socket says that the
        # data was all.
        ended = file.ended and not (polled and file.unread and self._told(file))
        again = not polled or file.unread or ended
        while again:
            came = self._round(request, file)
            replies += came
            again = bool(came) and came[-1].more and (file.unread or ended or self._no_room(request, file))
            if came and came[-1].more and "receive_length_sticks" not in self.traits:
                request.call = replace(request.call, length=0)  # io_mshot_prep_retry()
                if not again and not self._told(file):
                    self._found_nothing(request)
        file.waiting = request if not replies or replies[-1].more else None
        return replies

    def _found_nothing(self, request: Waiting) -> None:
        """It had a buffer, and no data came: what that would have held is the most that it will take.

        io_uring/rw.c __io_import_iovec(): rw->len; io_uring/net.c io_recv_buf_select(): sr->len
        """
        pool = self.pools.get(request.bgid)
        if "waiting_length_sticks" in self.traits and request.call.op in STICKY and pool and pool.items:
            request.call = replace(request.call, length=self._asked(request, pool.items[0]))

    def _no_room(self, request: Waiting, file: File) -> bool:
        """Having got something, it looks for more, and fails at once as the next buffer cannot take the header."""
        pool = self.pools.get(request.bgid)
        if request.call.op is not Op.RECVMSG_MULTISHOT or self._told(file) or pool is None:
            return False
        return any(item.left < RECVMSG_HEADER.size for item in pool.items[:1])

    def _told(self, file: File) -> bool:
        """The kernel knows with each receive what is left in the file."""
        return "unix_inq" in self.traits and file.source is Source.SOCKET

    def _left_to_poll(self, request: Waiting) -> bool:
        """io_uring/io_uring.c io_wq_submit_work(): io-wq arms poll for multishot requests, and selects nothing."""
        in_io_wq = request.call.op.multishot and request.call.issue is Issue.IO_WQ
        if not in_io_wq or "multishot_in_io_wq" in self.traits:
            return False
        request.call = replace(request.call, issue=Issue.LOCKED)
        return True

    def _round(self, request: Waiting, file: File) -> Sequence[Reply]:
        """The request tries once: its completion, or none if it waits from now on."""
        pool = self.pools.get(request.bgid)
        items = [] if pool is None else pool.items
        kind = request.kind if request.held or pool is None else pool.kind
        if request.held is not None:
            items = [request.held, *items]
        known = request.held is not None or self.calls.state.find(request.bgid) is not None
        buffers = tuple(Buffer(bid=item.bid, size=item.left) for item in items)
        stock = Stock(kind=kind, buffers=buffers) if known else None
        ready = file.unread
        if (
            items
            and "receive_length_sticks" in self.traits
            and request.call.op in {Op.RECV, Op.RECV_MULTISHOT}
        ):
            request.call = replace(request.call, length=self._asked(request, items[0]))
        if request.call.op.multishot and items:
            room = items[0].left - RECVMSG_HEADER.size * (request.call.op is Op.RECVMSG_MULTISHOT)
            # A round takes one buffer; without room for the header it fails before it looks for data.
            ready = min(ready, max(1, room), request.call.length or ready) if room >= 0 else 1
        call = replace(request.call, source=file.source, ready=ready, eof=file.ended)
        result = expect(call, stock, self.traits)
        if not result.replies:
            if expect(replace(call, then=CANCELLED), stock, self.traits).replies[-1].bid is not None:
                self._hold(request, file)
            else:
                self._found_nothing(request)
            return ()
        first, *rest = result.replies
        reply = self._settle(request, file, result, first, taken=len(result.left) < len(buffers))
        # course.py has it look for another buffer at once, and find none: not so if this one is not used up.
        return [reply] if pool is not None and pool.items else [reply, *rest]

    def _hold(self, request: Waiting, file: File) -> None:
        """It keeps the first buffer while it waits; of a ring, that one is gone."""
        if request.held is not None:
            return
        pool = self.pools[request.bgid]
        first = pool.items[0]
        length = self._asked(request, first)
        request.held, request.kind = Item(bid=first.bid, at=first.at, left=length), pool.kind
        request.buf_more = self._use(request.bgid, length)

    def _settle(self, request: Waiting, file: File, result: Result, reply: Reply, *, taken: bool) -> Reply:
        """One completion: bytes go where they must, and the buffer too if it is taken."""
        call, held = request.call, request.held
        if taken or result.filled:
            item = held or self.pools[request.bgid].items[0]
            moved = self._fill(call, file, item, result)
            if call.op is Op.SEND:
                moved = max(0, reply.res)
                self.sent = bytes(self.memory[item.at : item.at + moved])
            if held is not None:
                buf_more = request.buf_more
            else:
                at_once = not file.source.pollable or call.op is Op.SEND or call.issue is Issue.IO_WQ
                used = self._asked(request, item) if at_once and not call.op.multishot else moved
                buf_more = self._use(request.bgid, used)
            reply = replace(reply, buf_more=buf_more)
        request.held = None
        told = self._told(file) and call.op is not Op.SEND
        return replace(reply, nonempty=told and reply.res > 0 and file.unread > 0)

    def _fill(self, call: Transfer, file: File, item: Item, result: Result) -> int:
        """Bytes of the stream go into the buffer: how many were written to it, a header included."""
        for _, data in result.filled:
            header = RECVMSG_HEADER.size * (call.op is Op.RECVMSG_MULTISHOT)
            count = len(data) - header
            body = data[header:] if file.source is Source.ZERO else incoming(file.at, count)
            self.memory[item.at : item.at + len(data)] = data[:header] + body
            if file.source is not Source.ZERO:
                file.at, file.unread = file.at + count, file.unread - count
            return len(data)
        return 0

    def _asked(self, request: Waiting, item: Item) -> int:
        """Bytes of the buffer that the request may have."""
        return min(request.call.length or item.left, item.left)

    def _use(self, bgid: int, length: int) -> bool:
        """`length` bytes of the first buffer are used up; is something left of it (F_BUF_MORE)?

        io_uring/kbuf.c io_kbuf_commit(), io_kbuf_inc_commit(): only of an incremental ring; others go whole.
        """
        pool = self.pools[bgid]
        item = pool.items[0]
        if pool.incremental:
            assert pool.slots is not None
            head = (pool.slots.tail - len(pool.items)) % len(pool.slots.entries)
            entry = pool.slots.entries[head]
            assert entry is not None
            if not length:
                return True
            if item.left - length >= max(1, pool.min_left):
                item.at, item.left = item.at + length, item.left - length
                pool.slots.entries[head] = (item.at, item.left, item.bid)
                return True
            pool.slots.entries[head] = (entry[0], 0, item.bid)
        pool.items.pop(0)
        group = self.calls.state.groups[bgid]
        if pool.kind is Kind.RING:
            self.calls.consumed(bgid=bgid, buffers=1)
        else:
            self.calls.state = self.calls.state.having(bgid, replace(group, buffers=len(pool.items)))
        return False
