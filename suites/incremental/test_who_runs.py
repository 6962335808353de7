"""Incremental rings on io_urings that differ in who runs a request: each piece moves its buffer on all the same."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace

import pytest

from ringrig.model.params import receives, rings
from ringrig.model.shelf import Rest, Shelf, spread
from ringrig.model.subject import Subject
from ringrig.model.transfer import Op, Reply, incoming
from ringrig.model.waiting import receive, told, waits
from ringrig.uring import consts as c
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("inc"), pytest.mark.ends_within(3)]

TWO = {300: 64, 2: 64}


@pytest.mark.parametrize("later", [False, True], ids=["there", "later"])
@pytest.mark.parametrize("op", receives(Op.READV, Op.RECVMSG_MULTISHOT))
@pytest.mark.parametrize("flags", rings())
def test_two_pieces_and_the_end_of_the_buffer(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire], flags: int, op: Op, later: bool
) -> None:
    """24 bytes, then the 40 that are left, there or later: F_BUF_MORE with the first alone, then the head moves by one.

    io_kbuf_inc_commit(), as each completion is posted by whoever runs the request
    """
    subject = make_ring(flags=flags)
    shelf, wire = Shelf(subject, TWO, flags=c.IOU_PBUF_RING_INC), make_wire()
    for done, length in ((0, 24), (24, 40)):
        begins = done == 0 or not op.multishot
        if not later:
            wire.send(incoming(done, length))
        if begins:
            receive(shelf, op, wire)
        if later:
            subject.ring.submit()
            assert waits(subject.ring, op)
            wire.send(incoming(done, length))

        assert shelf.some(1) == [replace(told(op, 300, length), buf_more=done == 0)]
        assert shelf.rests() == [Rest(300, 24, 40 if done == 0 else 0), Rest(2, 0, 64)]
        assert shelf.head() == (done > 0)
    if op.multishot:
        assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
    assert shelf.written() == spread(TWO, (64,))
    assert shelf.left() == [(2, 64)]
