"""Rounds of a receive bundle that something cuts short: TCP's urgent data, and the last buffer before the index wraps."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.model.shelf import BGID, Shelf, spread
from ringrig.model.subject import Subject
from ringrig.model.transfer import Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.group import Group
from ringrig.uring.requests import selecting
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("bundle"), pytest.mark.ends_within(3)]

FOUR = {9: 64, 300: 64, 0x8000: 64, 4: 64}
LAP = 1 << 16
REQUEST, LINKED = 1, 2


def test_a_round_that_ends_early_is_the_last(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """TCP: 40 bytes, an urgent one, 100 more, for two buffers of 64: 40, of one buffer, although more is there.

    Behind a buffer that is not full nothing may be appended: its rest would be a gap in the stream.
    io_recv_finish(): iov_iter_count(); liburing #1409. Fixed by 3a08988123c8 (6.12.36).
    """
    shelf, wire = Shelf(ring, FOUR), make_wire(tcp=True)
    wire.send(incoming(0, 40))
    wire.urge()
    wire.send(incoming(40, 100))

    shelf.queue(c.IORING_OP_RECV, wire.near, length=128, ioprio=c.IORING_RECVSEND_BUNDLE)
    found = shelf.to_the_end()

    assert found == [Reply(res=40, bid=9, nonempty=True)]
    assert shelf.written() == spread(FOUR, (40,))
    assert shelf.head() == 1
    assert shelf.left() == list(FOUR.items())[1:]


def test_an_appended_round_of_nothing_takes_no_buffer(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """TCP: 64 bytes, an urgent one and the end, for buffers of 64: 64, of one buffer.

    Two are said to be left (the urgent byte, the end), so that a round is appended; it gets nothing.
    io_bundle_nbufs(): no data, no buffers
    """
    shelf, wire = Shelf(ring, FOUR), make_wire(tcp=True)
    wire.send(incoming(0, 64))
    wire.urge()
    wire.end()

    shelf.queue(c.IORING_OP_RECV, wire.near, length=64, ioprio=c.IORING_RECVSEND_BUNDLE)
    found = shelf.to_the_end()

    assert [(reply.res, reply.bid, reply.more) for reply in found] == [(64, 9, False)]
    assert shelf.head() == 1
    assert shelf.written() == spread(FOUR, (64,))
    assert shelf.left() == list(FOUR.items())[1:]


@pytest.mark.parametrize("slot", [4, LAP - 1], ids=["anywhere", "tail_wraps"])
def test_the_last_buffer_is_known_to_be(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire], slot: int
) -> None:
    """IOSQE_ASYNC over TCP: one buffer, at that index, 160 bytes: 64, with F_SOCK_NONEMPTY, and the linked NOP runs.

    No round is appended that would find no buffer and fail the request. io_ring_buffer_select(): REQ_F_BL_EMPTY;
    live: `head + 1 == tail`, where head is 65535 and tail 0.
    Fixed by (__u16)(head + 1) in io_ring_buffer_select() (6.12.117). Live in 6.18, 7.2.
    """
    ring = make_ring(LAP // 2)
    group = Group(ring.ring, ring.arena, bgid=BGID)
    assert group.register() == 0
    ring.owns(BGID)
    group.spend(slot)
    group.publish(5)
    wire = make_wire(tcp=True)
    wire.feed(incoming(0, 160))
    sqe = selecting(ring.ring, c.IORING_OP_RECV, wire.near, bgid=BGID, length=64)
    sqe.ioprio, sqe.user_data = c.IORING_RECVSEND_BUNDLE, REQUEST
    sqe.flags |= c.IOSQE_ASYNC | c.IOSQE_IO_LINK
    ring.ring.sqe().user_data = LINKED

    found = {cqe.user_data: Reply.of(cqe.res, cqe.flags) for cqe in ring.ring.complete(2)}

    assert found == {REQUEST: Reply(res=64, bid=5, nonempty=True), LINKED: Reply(res=0)}, (
        f"of the last buffer, at index {slot}: {found}"
    )
    assert group.content(5, 64) == incoming(0, 64)
