"""Buffers between pages that nobody may touch, used to their very ends: SEND, multishots, bundles, pieces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ctypes import memmove, memset, string_at

import pytest

from ringrig.model.course import expect, meaningless
from ringrig.model.increments import Increments
from ringrig.model.profiles import Profile
from ringrig.model.scene import OPCODES
from ringrig.model.shelf import BGID, Rest, spread, to_the_end
from ringrig.model.subject import Subject
from ringrig.model.transfer import (
    NEEDS,
    RECVMSG_HEADER,
    Buffer,
    Issue,
    Kind,
    Op,
    Reply,
    Stock,
    Transfer,
    incoming,
    outgoing,
)
from ringrig.model.waiting import without_nonempty
from ringrig.uring import consts as c
from ringrig.uring import libc
from ringrig.uring.group import Group, Pipe, legacy
from ringrig.uring.requests import Vector, selecting
from ringrig.uring.structs import io_uring_sqe
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(3)

PAGE = libc.PAGE_SIZE
MULTISHOTS = [pytest.param(op, id=op.value, marks=pytest.mark.needs(NEEDS[op])) for op in Op if op.multishot]
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
each_issue = pytest.mark.parametrize("issue", Issue, ids=lambda issue: issue.value)


class Fenced:
    """Group 7 of a Subject: buffers of `sizes` (bid: bytes, a page at most), each at the end of a page of 0xA5 with PROT_NONE around."""

    def __init__(
        self, subject: Subject, sizes: Mapping[int, int], *, kind: Kind = Kind.RING, flags: int = 0
    ) -> None:
        self.ring, self.sizes, self.kind = subject.ring, dict(sizes), kind
        self.group = Group(self.ring, subject.arena, bgid=BGID, flags=flags)
        if kind is Kind.RING:
            assert self.group.register() == 0
            subject.owns(BGID)
        self._end: dict[int, int] = {}
        for bid, size in sizes.items():
            base = subject.arena.anon(3 * PAGE)
            for guard in (base, base + 2 * PAGE):
                subject.arena.protect(guard, PAGE, libc.PROT_NONE)
            memset(base + PAGE, 0xA5, PAGE)
            self._end[bid] = base + 2 * PAGE
            if kind is Kind.RING:
                self.group.memory.publish(self.address_of(bid), size, bid)
            else:
                addr = self.address_of(bid)
                assert legacy(self.ring, bgid=BGID, addr=addr, size=size, count=1, bid=bid) == 0

    def address_of(self, bid: int) -> int:
        return self._end[bid] - self.sizes[bid]

    def load(self) -> None:
        """Fill all buffers, for a SEND."""
        for bid, size in self.sizes.items():
            memmove(self.address_of(bid), outgoing(bid, size), size)

    def pages(self) -> dict[int, bytes]:
        """All of each buffer's page."""
        return {bid: string_at(end - PAGE, PAGE) for bid, end in self._end.items()}

    def filled(self, held: Mapping[int, bytes]) -> dict[int, bytes]:
        """What the pages must say if these buffers hold that from their start on, and others nothing."""
        return {
            bid: (held.get(bid, b"").ljust(size, b"\xa5")).rjust(PAGE, b"\xa5")
            for bid, size in self.sizes.items()
        }

    def rests(self) -> list[Rest]:
        """What the ring's entries say."""
        entries = [self.group.entry(slot) for slot in range(len(self.sizes))]
        return [Rest(entry.bid, entry.addr - self.address_of(entry.bid), entry.len) for entry in entries]

    def left(self) -> tuple[int, ...]:
        """The bids that are still to be had, in their order; takes them."""
        found = []
        while (bid := self.group.read(length=1).bid) is not None:
            found.append(bid)
        return tuple(found)

    def queue(self, call: Transfer, fd: int) -> io_uring_sqe:
        vector = Vector(call.length) if call.op is Op.RECVMSG_MULTISHOT else None
        sqe = selecting(self.ring, OPCODES[call.op], fd, bgid=BGID, length=call.length, vector=vector)
        sqe.ioprio = c.IORING_RECV_MULTISHOT * (call.op.multishot and not call.op.reads)
        sqe.flags |= c.IOSQE_ASYNC * (call.issue is Issue.IO_WQ)
        return sqe

    def stock(self) -> Stock:
        """The same, for the model."""
        return Stock(
            kind=self.kind, buffers=tuple(Buffer(bid=bid, size=size) for bid, size in self.sizes.items())
        )


@pytest.mark.needs("send_select")
@each_kind
@each_issue
@pytest.mark.parametrize("length", [PAGE, 2 * PAGE], ids=["a_page", "more_than_it_has"])
def test_a_page_is_sent(  # noqa: PLR0917
    ring: Subject, make_wire: Callable[..., Wire], profile: Profile, length: int, issue: Issue, kind: Kind
) -> None:
    """SEND of a page with nothing before and behind: the other end gets it whole, not a byte more, and there is no -EFAULT.

    io_ring_buffers_peek(), io_provided_buffers_select(): the length is the buffer's; import_ubuf()
    """
    fenced, wire = Fenced(ring, {5: PAGE, 2: PAGE}, kind=kind), make_wire()
    fenced.load()
    call = Transfer(op=Op.SEND, issue=issue, length=length)
    want, before = expect(call, fenced.stock(), profile.traits), fenced.pages()

    fenced.queue(call, wire.near)
    found = to_the_end(ring.ring)

    assert tuple(found) == want.replies == (Reply(res=PAGE, bid=5),)
    assert wire.received() == want.sent
    assert fenced.pages() == before
    if want.head is not None:
        assert fenced.group.head() == want.head
    assert fenced.left() == want.left == (2,)


@each_kind
@each_issue
@pytest.mark.parametrize("op", MULTISHOTS)
def test_the_last_round_ends_at_the_guard_page(  # noqa: PLR0917
    ring: Subject,
    make_wire: Callable[..., Wire],
    pipe: Pipe,
    profile: Profile,
    op: Op,
    issue: Issue,
    kind: Kind,
) -> None:
    """Buffers of a page, a page, 1000 bytes and 100, and more data than they hold: each round ends where its buffer does.

    io_mshot_prep_retry(), io_recvmsg_multishot(), io_read_mshot(): no length of a round before, a header included
    """
    sizes = {5: PAGE, 0xFFFF: PAGE, 0: 1000, 2: 100}
    fenced = Fenced(ring, sizes, kind=kind)
    header = RECVMSG_HEADER.size * (op is Op.RECVMSG_MULTISHOT)
    ready = sum(size - header for size in sizes.values()) + 77
    call = Transfer(op=op, issue=issue, ready=ready)
    if why := meaningless(call, fenced.stock(), profile.traits):
        pytest.skip(why)
    want, wire = expect(call, fenced.stock(), profile.traits), make_wire()
    (pipe if op.reads else wire).feed(incoming(0, ready))

    fenced.queue(call, pipe.reader if op.reads else wire.near)
    found = to_the_end(ring.ring)

    assert [reply.res for reply in want.replies[:-1]] == [PAGE, PAGE, 1000, 100]
    told = without_nonempty if op is Op.RECVMSG_MULTISHOT else list
    assert told(found) == told(want.replies)
    assert fenced.pages() == fenced.filled(dict(want.filled))
    if want.head is not None:
        assert fenced.group.head() == want.head
    if not op.reads:
        assert wire.unread() == 77
    assert fenced.left() == want.left == ()


@pytest.mark.needs("bundle")
@each_kind
@each_issue
@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
def test_a_bundle_ends_at_the_guard_page(  # noqa: PLR0917
    ring: Subject, make_wire: Callable[..., Wire], profile: Profile, tcp: bool, issue: Issue, kind: Kind
) -> None:
    """Two pages apart from each other, each with nothing around, and 100 bytes more than they hold: both are filled, the rest waits.

    io_ring_buffers_peek(): an iovec for each buffer. Of a legacy group, and by io-wq, it is one, and one more where the socket
    tells that more is there: io_recv_finish(). The first bid is the group's id: test_io_wq_appends_from_its_own_group.
    """
    fenced, wire = Fenced(ring, {BGID: PAGE, 2: PAGE}, kind=kind), make_wire(tcp=tcp)
    told = tcp or "unix_inq" in profile.traits
    taken = 2 if told or (kind is Kind.RING and issue is Issue.LOCKED) else 1
    wire.feed(incoming(0, 2 * PAGE + 100))

    sqe = fenced.queue(Transfer(op=Op.RECV, issue=issue, length=3 * PAGE), wire.near)
    sqe.ioprio = c.IORING_RECVSEND_BUNDLE
    found = to_the_end(ring.ring)

    assert found == [Reply(res=taken * PAGE, bid=BGID, nonempty=told)]
    assert fenced.pages() == fenced.filled(spread(fenced.sizes, (PAGE,) * taken))
    assert wire.unread() == (2 - taken) * PAGE + 100
    if kind is Kind.RING:
        assert fenced.group.head() == taken
        assert fenced.rests() == [Rest(BGID, 0, PAGE), Rest(2, 0, PAGE)]
    assert fenced.left() == (BGID, 2)[taken:]


@pytest.mark.needs("inc")
@pytest.mark.parametrize("op", [Op.READ, Op.RECV], ids=lambda op: op.value)
@pytest.mark.parametrize("flags", [0, c.IOU_PBUF_RING_MMAP], ids=["user", "kernel"])
def test_pieces_up_to_the_guard_page(  # noqa: PLR0917
    ring: Subject, make_wire: Callable[..., Wire], pipe: Pipe, profile: Profile, flags: int, op: Op
) -> None:
    """All but a byte of a page in two pieces, then a page asked for: the one byte that is left, and the next page from its start.

    io_ring_buffer_select(): no more than what is left of the entry; io_kbuf_inc_commit()
    """
    sizes = {5: PAGE, 2: PAGE}
    fenced, wire = Fenced(ring, sizes, flags=c.IOU_PBUF_RING_INC | flags), make_wire()
    model, unread = Increments(sizes), 2 * PAGE + 100
    (pipe if op.reads else wire).feed(incoming(0, unread))
    told = not op.reads and "unix_inq" in profile.traits

    for length in (PAGE - 96, 95, PAGE, 2 * PAGE):
        bid, piece = model.bid, min(length, model.room)
        unread -= piece
        fenced.queue(Transfer(op=op, length=length), pipe.reader if op.reads else wire.near)
        found = to_the_end(ring.ring)

        assert found == [Reply(res=piece, bid=bid, buf_more=model.take(piece), nonempty=told)]
        assert (fenced.rests(), fenced.group.head()) == (model.rests(), model.head)
        assert fenced.pages() == fenced.filled(model.written())
    assert (unread, model.head) == (100, 2)
    assert fenced.left() == ()
