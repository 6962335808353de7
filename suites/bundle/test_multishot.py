"""RECV with IORING_RECVSEND_BUNDLE and IORING_RECV_MULTISHOT: several completions of several buffers each."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from ringrig.model.shelf import Rest, Shelf, spread
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.group import Group
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("bundle", "recv_multishot"), pytest.mark.ends_within(3)]

EIGHT = {9: 64, 300: 64, 0x8000: 64, 4: 64, 5: 64, 0: 64, 1: 64, 2: 64}
TWO = {9: 64, 300: 64}
BUNDLES = c.IORING_RECVSEND_BUNDLE | c.IORING_RECV_MULTISHOT


def test_each_completion_begins_behind_the_last(ring: Subject, wire: Wire, told: bool) -> None:
    """200 bytes at once: three buffers and 8 bytes of a fourth; 90 more later, into the buffers behind.

    Where the socket tells, the first two rounds make one completion (64, and what fits of 136), the next takes the
    rest; else each takes one buffer. io_recv_finish(), io_mshot_prep_retry()
    """
    shelf = Shelf(ring, EIGHT)
    wire.feed(incoming(0, 200))
    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=BUNDLES)

    found = shelf.some(2 if told else 4)

    if told:
        assert found == [Reply(res=192, bid=9, more=True, nonempty=True), Reply(res=8, bid=4, more=True)]
    else:
        assert found == [
            *(Reply(res=64, bid=bid, more=True) for bid in (9, 300, 0x8000)),
            Reply(res=8, bid=4, more=True),
        ]
    assert shelf.head() == 4
    wire.send(incoming(200, 40))
    assert shelf.some(1) == [Reply(res=40, bid=5, more=True)]
    assert shelf.head() == 5
    assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
    assert shelf.written() == spread(EIGHT, (64, 64, 64, 8, 40))
    assert shelf.left() == [(0, 64), (1, 64), (2, 64)]


def test_later_rounds_take_what_is_in_the_socket(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """TCP: two waves of 128 bytes, each two buffers and one completion with its own bid and its own bytes.

    io_mshot_prep_retry(): nothing of the appended round before counts; msg_inq says how many buffers to take
    """
    shelf, wire = Shelf(ring, EIGHT), make_wire(tcp=True)
    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=BUNDLES)
    shelf.ring.submit()
    found = []
    for wave in range(3):
        wire.send(incoming(128 * wave, 128))
        found += shelf.some(1)

    assert found == [Reply(res=128, bid=bid, more=True) for bid in (9, 0x8000, 5)]
    assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
    assert shelf.written() == spread(EIGHT, (64,) * 6)
    assert shelf.head() == 6


def test_a_round_after_a_short_one_takes_all(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """TCP, 464 bytes; buffers so large and small that the first completion leaves 184: the next one takes 180.

    io_recv_buf_select(): a round without length asks for what msg_inq says is left. Fixed by 178b8ff66ff8 (6.12.36).
    """
    sizes = dict(zip(range(50, 60), (64, 200, 16, 16, 16, 100, 16, 16, 16, 64), strict=True))
    shelf, wire = Shelf(ring, sizes), make_wire(tcp=True)
    wire.feed(incoming(0, 464))
    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=BUNDLES)

    found = shelf.some(2)

    assert found[:2] == [
        Reply(res=280, bid=50, more=True, nonempty=True),
        Reply(res=180, bid=53, more=True, nonempty=True),
    ]


def test_the_last_buffer_ends_it(ring: Subject, wire: Wire, told: bool) -> None:
    """Two buffers, 300 bytes: the completion that takes the last has no F_MORE, and no -ENOBUFS follows.

    io_recv_finish(): REQ_F_BL_EMPTY
    """
    shelf = Shelf(ring, TWO)
    wire.feed(incoming(0, 300))
    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=BUNDLES)

    found = shelf.to_the_end()

    if told:
        assert found == [Reply(res=128, bid=9, nonempty=True)]
    else:
        assert found == [Reply(res=64, bid=9, more=True), Reply(res=64, bid=300)]
    assert shelf.written() == spread(TWO, (64, 64))
    assert (shelf.head(), wire.unread()) == (2, 172)


@pytest.mark.parametrize("published", [1, 2], ids=["one", "two"])
def test_what_came_while_it_waited_counts(ring: Subject, wire: Wire, published: int) -> None:
    """It waits with one or two buffers in sight; six and more are published; 64 bytes, and again: it goes on each time.

    That a buffer was the last one is true of the moment it is taken, not of when the request looked and had to wait.
    io_ring_buffers_peek(): REQ_F_BL_EMPTY; live from 6.12 to 7.3. Open.
    """
    shelf = Shelf(ring, EIGHT, published=published)
    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=BUNDLES)
    assert shelf.ring.submit() == 1
    for bid in list(EIGHT)[published:]:
        shelf.provide(bid)

    wire.send(incoming(0, 64))
    first = shelf.some(1)

    assert first == [Reply(res=64, bid=9, more=True)], f"with {8 - published} more published: {first}"
    wire.send(incoming(64, 64))
    assert shelf.some(1) == [Reply(res=64, bid=300, more=True)]
    assert shelf.head() == 2
    assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
    assert shelf.written() == spread(EIGHT, (64, 64))
    assert shelf.left() == list(EIGHT.items())[2:]


def test_the_end_of_the_stream_ends_it(ring: Subject, wire: Wire) -> None:
    """40 bytes and the end: 40 with F_MORE, then 0 without a buffer. io_recv(): mshot_finished"""
    shelf = Shelf(ring, EIGHT)
    wire.feed(incoming(0, 40))
    wire.end()
    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=BUNDLES)

    found = shelf.to_the_end()

    assert [(reply.res, reply.bid, reply.more) for reply in found] == [(40, 9, True), (0, None, False)]
    assert shelf.written() == spread(EIGHT, (40,))
    assert shelf.left() == list(EIGHT.items())[1:]


def test_provided_buffers(ring: Subject, wire: Wire, told: bool) -> None:
    """Eight provided buffers, 100 bytes, then 64: one buffer a round, and none twice. io_kbuf_drop_legacy()"""
    shelf = Shelf(ring, EIGHT, kind=Kind.LEGACY)
    wire.feed(incoming(0, 100))
    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=BUNDLES)

    found = shelf.some(1 if told else 2)
    wire.send(incoming(100, 60))
    found += shelf.some(1)

    first = [Reply(res=100, bid=9, more=True)]
    one_by_one = [Reply(res=64, bid=9, more=True), Reply(res=36, bid=300, more=True)]
    assert found == [*(first if told else one_by_one), Reply(res=60, bid=0x8000, more=True)]
    assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
    assert shelf.written() == spread(EIGHT, (64, 36, 60))
    assert shelf.left() == list(EIGHT.items())[3:]


@pytest.mark.parametrize("group", ["other_groups_have_buffers", "alone"])
def test_rounds_stay_in_their_group(ring: Subject, make_wire: Callable[..., Wire], group: str) -> None:
    """Bids that are other groups' ids: each round takes from group 7. sr->buf_group

    Fixed by "net: cache the buffer group value for multishot receives" (6.1.9).
    """
    shelf, wire = Shelf(ring, {20: 64, 21: 64, 22: 64}), make_wire(tcp=True)
    others = []
    if group != "alone":
        for bgid in (20, 21, 22):
            others.append(Group(ring.ring, ring.arena, bgid=bgid))
            assert others[-1].register() == 0
            ring.owns(bgid)
            others[-1].publish(1, 2)
    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=c.IORING_RECV_MULTISHOT)
    wire.feed(incoming(0, 160))

    found = shelf.some(3)

    assert found == [
        Reply(res=64, bid=20, more=True, nonempty=True),
        Reply(res=64, bid=21, more=True, nonempty=True),
        Reply(res=32, bid=22, more=True),
    ]
    assert [other.head() for other in others] == [0] * len(others)


def test_running_out_says_nothing_of_the_socket(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """TCP, without the bundle's flag, one buffer, 200 bytes: 64 with F_SOCK_NONEMPTY, then -ENOBUFS and no flag.

    io_recv(): msg_inq = -1 where no buffer was found
    """
    shelf, wire = Shelf(ring, {3: 64}), make_wire(tcp=True)
    wire.feed(incoming(0, 200))
    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=c.IORING_RECV_MULTISHOT)

    assert shelf.to_the_end() == [
        Reply(res=64, bid=3, more=True, nonempty=True),
        Reply(res=-errno.ENOBUFS),
    ]


@pytest.mark.needs("inc")
def test_over_an_incremental_ring(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """TCP, waves of 24, 60 and 44 bytes: F_BUF_MORE as long as the last buffer of a completion has room.

    The second wave takes 40 + 20 bytes, by an appended round or by two segments. io_kbuf_inc_commit().
    Fixed by ed46f39c47eb (CVE-2026-53191; 6.12.94).
    """
    sizes = {9: 64, 300: 64, 4: 64}
    shelf, wire = Shelf(ring, sizes, flags=c.IOU_PBUF_RING_INC), make_wire(tcp=True)
    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=BUNDLES)
    shelf.ring.submit()
    found = []
    done = 0
    for wave in (24, 60, 44):
        wire.send(incoming(done, wave))
        found += shelf.some(1)
        done += wave

    assert found == [
        Reply(res=24, bid=9, more=True, buf_more=True),
        Reply(res=60, bid=9, more=True, buf_more=True),
        Reply(res=44, bid=300, more=True),
    ]
    assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
    assert shelf.written() == spread(sizes, (64, 64))
    assert shelf.rests() == [Rest(9, 24, 0), Rest(300, 20, 0), Rest(4, 0, 64)]
