"""Bundles that take the last buffers of a group while its head, of 16 bits, goes from 65535 to 0: as on every other lap."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.model.shelf import Shelf, spread
from ringrig.model.subject import Subject
from ringrig.model.transfer import Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("bundle"), pytest.mark.ends_within(3)]

FOUR = {9: 64, 300: 64, 0x8000: 64, 4: 64}
LAP = 1 << 16


@pytest.fixture(params=[4, LAP - 2], ids=["anywhere", "head_wraps"])
def shelf(make_ring: Callable[..., Subject], request: pytest.FixtureRequest) -> Shelf:
    """Four buffers of 64 bytes, of which the first lies in that slot of the lap."""
    return Shelf(make_ring(LAP // 2), FOUR, start=request.param)


@pytest.mark.parametrize("length", [0, 100], ids=["everything", "length_within_the_second"])
def test_a_send_ends_with_the_last_buffer(shelf: Shelf, make_wire: Callable[..., Wire], length: int) -> None:
    """All four in one completion, or the first and then the rest: the last one has no F_MORE.

    io_ring_buffers_peek(): REQ_F_BL_EMPTY; io_send_finish()
    """
    wire, stream = make_wire(), shelf.load()

    shelf.queue(c.IORING_OP_SEND, wire.near, length=length, ioprio=c.IORING_RECVSEND_BUNDLE)
    found = shelf.to_the_end()

    whole = [Reply(res=256, bid=9)]
    assert found == ([Reply(res=64, bid=9, more=True), Reply(res=192, bid=300)] if length else whole)
    assert wire.received() == stream
    assert shelf.left() == []


def test_a_receive_ends_with_the_last_buffer(shelf: Shelf, make_wire: Callable[..., Wire]) -> None:
    """300 bytes over TCP, 256 wanted: one completion, of all four. io_recv_finish(): REQ_F_BL_EMPTY"""
    wire = make_wire(tcp=True)
    wire.feed(incoming(0, 300))

    shelf.queue(c.IORING_OP_RECV, wire.near, length=256, ioprio=c.IORING_RECVSEND_BUNDLE)

    assert [(reply.res, reply.bid, reply.more) for reply in shelf.to_the_end()] == [(256, 9, False)]
    assert shelf.written() == spread(FOUR, (64,) * 4)
    assert shelf.left() == []


@pytest.mark.needs("recv_multishot")
def test_a_multishot_ends_with_the_last_buffer(shelf: Shelf, make_wire: Callable[..., Wire]) -> None:
    """TCP: 64 bytes wake it and take the first buffer; of 300 more the three that are left take 192, and it ends.

    io_recv_finish(): REQ_F_BL_EMPTY; io_mshot_prep_retry()
    """
    wire = make_wire(tcp=True)
    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=c.IORING_RECVSEND_BUNDLE | c.IORING_RECV_MULTISHOT)
    shelf.ring.submit()
    wire.send(incoming(0, 64))
    first = shelf.some(1)
    wire.send(incoming(64, 300))
    found = shelf.to_the_end()

    assert [*first, *found] == [Reply(res=64, bid=9, more=True), Reply(res=192, bid=300, nonempty=True)]
    assert shelf.written() == spread(FOUR, (64,) * 4)
    assert shelf.left() == []
