"""RECV with IORING_RECVSEND_BUNDLE: which buffers one completion takes, and what stays where.

Without IORING_CQE_F_BUFFER for each buffer the application counts them itself: from the first bid on, in the
ring's order, as many as `res` bytes fill.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from ringrig.model.shelf import BGID, Shelf, spread, to_the_end
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.group import Group
from ringrig.uring.requests import selecting
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("bundle"), pytest.mark.ends_within(3)]

FOUR = {9: 64, 300: 64, 0x8000: 64, 4: 64}
MIXED = {7: 10, 6: 20, 5: 30, 4: 40}
LARGE_FIRST = {5: 64, 0: 16, 1: 16, 2: 16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """`fed` bytes wait, a bundle of `length` is asked for: bytes that go into the first, second, … buffer.

    `appended`: the same, where the socket tells what is left in it, so that a second round follows.
    """

    sizes: Mapping[int, int]
    length: int
    fed: int
    pieces: tuple[int, ...]
    appended: tuple[int, ...] | None = None


TAKES = {
    "one_buffer": Take(sizes=FOUR, length=64, fed=64, pieces=(64,)),
    "two_buffers": Take(sizes=FOUR, length=128, fed=128, pieces=(64, 64)),
    "all_buffers": Take(sizes=FOUR, length=256, fed=256, pieces=(64, 64, 64, 64)),
    "ends_within_the_first": Take(sizes=FOUR, length=256, fed=10, pieces=(10,)),
    "ends_within_the_second": Take(sizes=FOUR, length=256, fed=100, pieces=(64, 36)),
    "ends_with_the_second": Take(sizes=FOUR, length=256, fed=128, pieces=(64, 64)),
    "length_within_the_first": Take(sizes=FOUR, length=40, fed=100, pieces=(40,)),
    "length_within_the_second": Take(sizes=FOUR, length=100, fed=200, pieces=(64,)),
    "longer_than_the_ring": Take(sizes=FOUR, length=1000, fed=300, pieces=(64, 64, 64, 64)),
    "mixed_to_the_brim": Take(sizes=MIXED, length=60, fed=60, pieces=(10, 20, 30)),
    "mixed_to_the_brim_and_more": Take(
        sizes=MIXED, length=60, fed=100, pieces=(10, 20, 30), appended=(10, 20, 30, 40)
    ),
    "mixed_length_within_the_last": Take(sizes=MIXED, length=75, fed=200, pieces=(10, 20, 30)),
    "mixed_ends_within_the_third": Take(sizes=MIXED, length=100, fed=31, pieces=(10, 20, 1)),
    "large_first": Take(sizes=LARGE_FIRST, length=100, fed=200, pieces=(64, 16), appended=(64, 16, 16, 16)),
    "rest_for_one_more": Take(sizes=FOUR, length=64, fed=128, pieces=(64,), appended=(64, 64)),
    "rest_for_one_and_a_half": Take(sizes=FOUR, length=64, fed=160, pieces=(64,), appended=(64, 64)),
    "rest_for_a_part": Take(sizes=FOUR, length=64, fed=74, pieces=(64,), appended=(64, 10)),
    "rest_for_two_after_two": Take(
        sizes=FOUR, length=128, fed=256, pieces=(64, 64), appended=(64, 64, 64, 64)
    ),
    "rest_for_more_than_there_is": Take(
        sizes={9: 64, 8: 64}, length=64, fed=300, pieces=(64,), appended=(64, 64)
    ),
    "rest_of_one_byte": Take(sizes=FOUR, length=64, fed=65, pieces=(64,)),
}


@pytest.mark.parametrize("take", TAKES.values(), ids=TAKES)
def test_a_bundle_fills_buffers_in_order(ring: Subject, wire: Wire, told: bool, take: Take) -> None:
    """One completion: all its bytes, the first bid, the head moved by the buffers that have bytes in them.

    A last buffer that the length would cut is left out, unless it is the first; nothing is appended then.
    io_ring_buffers_peek(), io_bundle_nbufs(), io_recv_finish(). Over TCP the buffers lie around the ring's end.
    Fixed by 70f4886bcbb9 (6.12.94, 7.1-rc). Fixed by "net: only consider msg_inq if larger than 1" (6.12.36).
    Fixed by 178b8ff66ff8 (6.12.36). Fixed by 26ec15e4b0c1 (6.12.35).
    """
    pieces = take.appended if told and take.appended else take.pieces
    total = sum(pieces)
    shelf = Shelf(ring, take.sizes, start=6 if wire.tcp else 0)
    wire.feed(incoming(0, take.fed))

    shelf.queue(c.IORING_OP_RECV, wire.near, length=take.length, ioprio=c.IORING_RECVSEND_BUNDLE)
    found = shelf.to_the_end()

    assert found == [Reply(res=total, bid=next(iter(take.sizes)), nonempty=told and take.fed > total)]
    assert shelf.written() == spread(take.sizes, pieces)
    assert shelf.head() == len(pieces)
    assert [(rest.used, rest.left) for rest in shelf.rests()] == [(0, size) for size in take.sizes.values()]
    assert wire.unread() == take.fed - total
    assert shelf.left() == list(take.sizes.items())[len(pieces) :]


def test_more_than_256_buffers(ring: Subject, wire: Wire, told: bool) -> None:
    """300 buffers of 4 bytes for 1200: a round takes 256 of them, the appended one the rest.

    PEEK_MAX_IMPORT in io_ring_buffers_peek()
    """
    sizes = {1000 + at: 4 for at in range(300)}
    count = 300 if told else 256
    shelf = Shelf(ring, sizes)
    wire.feed(incoming(0, 1200))

    shelf.queue(c.IORING_OP_RECV, wire.near, length=1200, ioprio=c.IORING_RECVSEND_BUNDLE)
    found = shelf.to_the_end()

    assert found == [Reply(res=4 * count, bid=1000)]
    assert shelf.head() == count
    assert shelf.written() == spread(sizes, (4,) * count)


def test_bundles_of_growing_and_shrinking_size(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """2, 4, 3 and 1 buffers: each bundle has what is published for it, whatever the one before it had.

    The vector is kept with the request's memory and used again: free_iov, free_iov_nr in io_recv_buf_select().
    """
    sizes = {100 + at: 16 for at in range(10)}
    shelf = Shelf(ring, sizes, published=0)
    first = 0
    for count in (2, 4, 3, 1):
        wire = make_wire()
        for bid in range(100 + first, 100 + first + count):
            shelf.provide(bid)
        wire.feed(incoming(16 * first, 16 * count) + b"behind")

        shelf.queue(c.IORING_OP_RECV, wire.near, length=200, ioprio=c.IORING_RECVSEND_BUNDLE)
        found = shelf.to_the_end()

        assert [(reply.res, reply.bid) for reply in found] == [(16 * count, 100 + first)]
        first += count
        assert shelf.head() == first
        assert shelf.written() == spread(sizes, (16,) * first)


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("multishot", [0, c.IORING_RECV_MULTISHOT], ids=["once", "multishot"])
def test_no_buffer(ring: Subject, make_wire: Callable[..., Wire], kind: Kind, multishot: int) -> None:
    """Data and an empty group: -ENOBUFS alone, and the data stays. io_buffers_peek()"""
    shelf, wire = Shelf(ring, {3: 64}, kind=kind), make_wire()
    assert shelf.left() == [(3, 64)]
    wire.feed(b"data")

    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=c.IORING_RECVSEND_BUNDLE | multishot)
    found = shelf.to_the_end()

    assert found == [Reply(res=-errno.ENOBUFS)]
    assert wire.unread() == 4


LEGACY = {
    "one_buffer": Take(sizes=FOUR, length=64, fed=64, pieces=(64,)),
    "a_part_is_asked_for": Take(sizes=FOUR, length=40, fed=100, pieces=(40,), appended=(40, 60)),
    "several_are_asked_for": Take(sizes=FOUR, length=200, fed=200, pieces=(64,), appended=(64, 64)),
    "ends_within_the_first": Take(sizes=FOUR, length=200, fed=10, pieces=(10,)),
    "without_length": Take(sizes=FOUR, length=0, fed=200, pieces=(64,), appended=(64, 64)),
    "last_buffer": Take(sizes={8: 64}, length=64, fed=200, pieces=(64,)),
}


@pytest.mark.parametrize("take", LEGACY.values(), ids=LEGACY)
def test_a_bundle_of_provided_buffers_has_one_a_round(
    ring: Subject, wire: Wire, told: bool, take: Take
) -> None:
    """A group of provided buffers: one, and one more where the socket tells that more has come.

    io_buffers_peek() knows no more for them; io_recv_finish() appends all the same. Fixed by f274495aea7b (6.10.8).
    """
    pieces = take.appended if told and take.appended else take.pieces
    total = sum(pieces)
    shelf = Shelf(ring, take.sizes, kind=Kind.LEGACY)
    wire.feed(incoming(0, take.fed))

    shelf.queue(c.IORING_OP_RECV, wire.near, length=take.length, ioprio=c.IORING_RECVSEND_BUNDLE)
    found = shelf.to_the_end()

    assert found == [Reply(res=total, bid=next(iter(take.sizes)), nonempty=told and take.fed > total)]
    assert shelf.written() == spread(take.sizes, pieces)
    assert wire.unread() == take.fed - total
    assert shelf.left() == list(take.sizes.items())[len(pieces) :]


def test_without_length_the_first_buffer_counts(ring: Subject, wire: Wire, told: bool) -> None:
    """200 bytes, four buffers of 64, no length: one buffer, and what the append round finds room for.

    io_recv_buf_select(): max_len 0 and one segment, until msg_inq says what is left.
    """
    shelf = Shelf(ring, FOUR)
    wire.feed(incoming(0, 200))

    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=c.IORING_RECVSEND_BUNDLE)
    found = shelf.to_the_end()

    pieces = (64, 64, 64) if told else (64,)
    assert found == [Reply(res=sum(pieces), bid=9, nonempty=told)]
    assert shelf.written() == spread(FOUR, pieces)
    assert shelf.head() == len(pieces)


def test_without_length_nothing_of_another_request_counts(
    ring: Subject, make_wire: Callable[..., Wire], wire: Wire, told: bool
) -> None:
    """A RECV over TCP leaves 236 bytes unread; a bundle without length on another socket begins as on a new ring.

    io_recvmsg_prep_setup(): msg_inq = 0; the request's memory is used again
    """
    shelf, other = Shelf(ring, {1: 64, **FOUR}), make_wire(tcp=True)
    other.feed(incoming(0, 300))
    shelf.queue(c.IORING_OP_RECV, other.near, length=64)
    assert shelf.to_the_end() == [Reply(res=64, bid=1, nonempty=True)]
    wire.feed(incoming(64, 200))

    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=c.IORING_RECVSEND_BUNDLE)
    found = shelf.to_the_end()

    pieces = (64, 64, 64) if told else (64,)
    assert found == [Reply(res=sum(pieces), bid=9, nonempty=told)]
    assert shelf.written() == spread(shelf.sizes, (64, *pieces))


def test_without_length_a_large_buffer_is_filled(ring: Subject, wire: Wire) -> None:
    """10,000 bytes into a buffer of as many, no length asked for: all of it. io_ring_buffers_peek(): INT_MAX"""
    sizes = {3: 10_000, 4: 64}
    shelf = Shelf(ring, sizes)
    wire.feed(incoming(0, 10_000))

    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=c.IORING_RECVSEND_BUNDLE)
    found = shelf.to_the_end()

    assert found == [Reply(res=10_000, bid=3)]
    assert shelf.written() == spread(sizes, (10_000,))


def test_without_length_the_longest_buffer_waits(ring: Subject, wire: Wire) -> None:
    """A buffer of 4 GiB less a byte, no length, and nothing there yet: it waits, and takes the 40 bytes that come.

    io_ring_buffers_peek(): INT_MAX; a length of -1 to the socket's int would end it at once, with 0 (sock_rcvlowat())
    """
    group = Group(ring.ring, ring.arena)
    assert group.register() == 0
    ring.owns(group.bgid)
    group.publish(5, size=0xFFFFFFFF)

    selecting(ring.ring, c.IORING_OP_RECV, wire.near, bgid=group.bgid).ioprio = c.IORING_RECVSEND_BUNDLE
    assert ring.ring.submit() == 1
    assert ring.ring.cqes() == []
    wire.send(incoming(0, 40))

    assert to_the_end(ring.ring) == [Reply(res=40, bid=5)]
    assert (group.content(5, 64), group.head()) == (incoming(0, 40) + bytes(24), 1)


@pytest.mark.parametrize("length", [0, 100], ids=["no_length", "length"])
def test_no_group(ring: Subject, wire: Wire, length: int) -> None:
    """Nobody made the group: -ENOENT (a plain RECV says -ENOBUFS). io_buffers_peek()"""
    wire.feed(b"data")

    selecting(
        ring.ring, c.IORING_OP_RECV, wire.near, bgid=700, length=length
    ).ioprio = c.IORING_RECVSEND_BUNDLE

    assert to_the_end(ring.ring) == [Reply(res=-errno.ENOENT)]


def test_a_length_of_zero_at_the_head(ring: Subject, wire: Wire) -> None:
    """The first entry has length 0, a length is asked for: -ENOBUFS, and it stays, no division by it. Fixed by e0ee967630c8 (6.10.7)."""
    shelf = Shelf(ring, {4: 0, 5: 64})
    wire.feed(b"data")

    shelf.queue(c.IORING_OP_RECV, wire.near, length=64, ioprio=c.IORING_RECVSEND_BUNDLE)
    found = shelf.to_the_end()

    assert found == [Reply(res=-errno.ENOBUFS)]
    assert (shelf.head(), wire.unread()) == (0, 4)


def test_a_length_of_zero_behind_the_head(ring: Subject, wire: Wire) -> None:
    """64, 0 and 64 bytes, 200 wait: the first buffer alone; then the empty one is first, which is -ENOBUFS.

    The append round fails, but what is there is reported. io_recv_finish() with IO_SR_MSG_RETRY
    """
    sizes = {4: 64, 5: 0, 6: 64}
    shelf = Shelf(ring, sizes)
    wire.feed(incoming(0, 200))

    shelf.queue(c.IORING_OP_RECV, wire.near, length=128, ioprio=c.IORING_RECVSEND_BUNDLE)
    found = shelf.to_the_end()

    assert [(reply.res, reply.bid) for reply in found] == [(64, 4)]
    assert shelf.written() == spread(sizes, (64,))
    assert (shelf.head(), wire.unread()) == (1, 136)


def test_io_wq_takes_one_buffer_a_round(ring: Subject, wire: Wire, told: bool) -> None:
    """IOSQE_ASYNC: one buffer, as nothing would protect several, and one more where the socket tells of more.

    io_recv_buf_select(): IO_URING_F_UNLOCKED. The first bid is the group's id: see the next case.
    """
    sizes = {BGID: 64, 300: 64, 4: 64}
    shelf = Shelf(ring, sizes)
    wire.feed(incoming(0, 160))

    shelf.queue(c.IORING_OP_RECV, wire.near, length=200, ioprio=c.IORING_RECVSEND_BUNDLE, flags=c.IOSQE_ASYNC)
    found = shelf.to_the_end()

    pieces = (64, 64) if told else (64,)
    assert found == [Reply(res=sum(pieces), bid=BGID, nonempty=told)]
    assert shelf.written() == spread(sizes, pieces)
    assert shelf.head() == len(pieces)


def test_io_wq_has_the_vector_of_an_earlier_bundle(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """A bundle of four leaves its vector with the memory that an IOSQE_ASYNC one then uses, and io-wq gives both back, once.

    Twice is noticed by KASAN alone. io_netmsg_recycle(): IO_URING_F_UNLOCKED
    """
    sizes = {**FOUR, 50: 64, 51: 64}
    shelf, wire = Shelf(ring, sizes), make_wire()
    for done, length, flags in ((0, 256, 0), (256, 64, c.IOSQE_ASYNC)):
        wire.feed(incoming(done, length))
        shelf.queue(c.IORING_OP_RECV, wire.near, length=length, ioprio=c.IORING_RECVSEND_BUNDLE, flags=flags)
        [reply] = shelf.to_the_end()
        assert reply.res == length
    assert shelf.written() == spread(sizes, (64,) * 5)
    assert shelf.left() == [(51, 64)]


def test_io_wq_appends_from_its_own_group(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """IOSQE_ASYNC over TCP, first bid 9, and there is a group 9: the second round must not touch it.

    io_recv_finish() appends with req->buf_index, which 6.12's __io_put_kbuf_ring() leaves at the bid of a buffer
    that was committed at selection; later kernels select from sr->buf_group. Open in 6.12.
    """
    shelf, wire = Shelf(ring, {9: 64, 10: 64, 11: 64}), make_wire(tcp=True)
    other = Group(ring.ring, ring.arena, bgid=9)
    assert other.register() == 0
    ring.owns(9)
    other.publish(1, 2)
    wire.feed(incoming(0, 160))

    shelf.queue(c.IORING_OP_RECV, wire.near, length=64, ioprio=c.IORING_RECVSEND_BUNDLE, flags=c.IOSQE_ASYNC)
    found = shelf.to_the_end()

    assert other.head() == 0, f"group 9 lost {other.head()} buffer(s) to a bundle over group 7, bid 9"
    assert found == [Reply(res=128, bid=9, nonempty=True)]
    assert shelf.written() == spread(shelf.sizes, (64, 64))
