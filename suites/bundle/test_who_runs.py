"""Bundles and incremental rings on io_urings that differ in who runs a request: the answers are the same."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from ringrig.model.params import rings
from ringrig.model.shelf import Shelf, spread
from ringrig.model.subject import Subject
from ringrig.model.transfer import Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("bundle"), pytest.mark.ends_within(3)]

FOUR = {9: 64, 300: 64, 0x8000: 64, 4: 64}
each_ring = pytest.mark.parametrize("flags", rings())


@each_ring
def test_a_bundle_that_waited(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire], flags: int
) -> None:
    """A bundle of 256 waits, 100 bytes come: one completion of two buffers, the head moved by two.

    io_recv(), issued again by whoever runs what was woken; io_bundle_nbufs()
    """
    subject = make_ring(flags=flags)
    shelf, wire = Shelf(subject, FOUR), make_wire()
    shelf.queue(c.IORING_OP_RECV, wire.near, length=256, ioprio=c.IORING_RECVSEND_BUNDLE)
    subject.ring.submit()
    assert settled(lambda: subject.ring.armed(c.IORING_OP_RECV), 1) == 1

    wire.send(incoming(0, 100))

    assert shelf.to_the_end() == [Reply(res=100, bid=9)]
    assert shelf.written() == spread(FOUR, (64, 36))
    assert shelf.head() == 2
    assert shelf.left() == [(0x8000, 64), (4, 64)]


@each_ring
def test_a_bundle_is_sent(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire], flags: int
) -> None:
    """SEND of a bundle of four buffers: one completion of 256 bytes, all of them at the other end, the head at the tail."""
    subject = make_ring(flags=flags)
    shelf, wire = Shelf(subject, FOUR), make_wire()
    stream = shelf.load()

    shelf.queue(c.IORING_OP_SEND, wire.near, ioprio=c.IORING_RECVSEND_BUNDLE)

    assert shelf.to_the_end() == [Reply(res=256, bid=9)]
    assert wire.received() == stream
    assert shelf.head() == 4
    assert shelf.group.read(length=1).res == -errno.ENOBUFS


@pytest.mark.parametrize("then", ["nothing", "another_ring"])
@each_ring
def test_a_waiting_bundle_goes_by_the_id(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire], flags: int, then: str
) -> None:
    """A bundle waits, its ring goes and nothing or another comes under the id; then 100 bytes: -ENOENT, or two new buffers.

    The old one's memory is as it was. io_buffers_peek(), io_buffers_select()
    """
    subject = make_ring(flags=flags)
    shelf, wire = Shelf(subject, FOUR), make_wire()
    shelf.queue(c.IORING_OP_RECV, wire.near, length=256, ioprio=c.IORING_RECVSEND_BUNDLE)
    subject.ring.submit()
    assert settled(lambda: subject.ring.armed(c.IORING_OP_RECV), 1) == 1
    assert shelf.group.unregister() == 0
    new = Shelf(subject, {70: 64, 3: 64, 71: 64}) if then == "another_ring" else None

    wire.send(incoming(0, 100))

    want = Reply(res=100, bid=70) if new else Reply(res=-errno.ENOENT)
    assert shelf.to_the_end() == [want]
    assert shelf.written() == {}
    assert wire.unread() == (0 if new else 100)
    if new:
        assert new.written() == spread(new.sizes, (64, 36))
        assert new.head() == 2
        assert new.left() == [(71, 64)]
