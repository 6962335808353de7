"""What a bundle leaves in the memory that a ring's requests use again: a vector, and how long that is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.model.shelf import Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import incoming
from ringrig.uring import consts as c
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("bundle"), pytest.mark.ends_within(3)]

BUNDLE = c.IORING_RECVSEND_BUNDLE


def test_a_long_vector_finds_no_more_than_is_published(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """TCP, eight buffers of 16 bytes for a bundle; then two for one without a length, and 64 bytes: 32 of them come.

    The vector of eight would hold the two entries behind the tail, too, which are written and not published.
    io_ring_buffers_peek(): nr_avail
    """
    shelf, wire = Shelf(ring, dict.fromkeys(range(20, 32), 16), published=8), make_wire(tcp=True)
    wire.feed(incoming(0, 128))
    shelf.queue(c.IORING_OP_RECV, wire.near, length=128, ioprio=BUNDLE)
    found = shelf.to_the_end()
    for bid in range(28, 32):
        shelf.provide(bid)
    shelf.group.memory.producer -= 2
    wire.feed(incoming(128, 64))

    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=BUNDLE)
    found += shelf.to_the_end()

    assert [(reply.res, reply.bid, reply.more) for reply in found] == [(128, 20, False), (32, 28, False)]
    assert (shelf.head(), wire.unread()) == (10, 32)
    assert b"".join(shelf.written().values()) == incoming(0, 160)


def test_a_receive_has_the_vector_of_a_send(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """A SEND of four buffers, then a RECV without a length, which gets four others and no more.

    Both have their memory from one place: io_send() says there how long its vector is.
    """
    shelf = Shelf(ring, dict.fromkeys(range(20, 30), 16), published=4)
    stream, out, back = shelf.load(), make_wire(), make_wire()
    shelf.queue(c.IORING_OP_SEND, out.near, ioprio=BUNDLE)
    sent = shelf.to_the_end()
    for bid in range(24, 30):
        shelf.provide(bid)
    shelf.group.memory.producer -= 2
    back.feed(b"\x5a" * 96)

    shelf.queue(c.IORING_OP_RECV, back.near, ioprio=BUNDLE)
    got = shelf.to_the_end()

    assert [(reply.res, reply.bid, reply.more) for reply in sent + got] == [(64, 20, False), (64, 24, False)]
    assert out.received() == stream[:64]
    assert (shelf.head(), back.unread()) == (8, 32)
    assert b"".join(shelf.written().values()) == stream[:64] + b"\x5a" * 64 + stream[128:]
