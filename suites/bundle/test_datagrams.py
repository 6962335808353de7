"""Bundles over datagrams, which end where the message does: over several buffers, cut, and with its full length told."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import pytest

from ringrig.model.shelf import Shelf, spread
from ringrig.model.subject import Subject
from ringrig.model.transfer import Reply, incoming
from ringrig.uring import consts as c

pytestmark = [pytest.mark.needs("bundle"), pytest.mark.ends_within(3)]

FOUR = {9: 64, 300: 64, 0x8000: 64, 4: 64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A datagram of `sent` bytes, a bundle of `length`: bytes that go into the first, second, … buffer."""

    sent: int
    length: int
    pieces: tuple[int, ...]


TABLE = {
    "within_the_first": Message(sent=10, length=256, pieces=(10,)),
    "over_two": Message(sent=100, length=256, pieces=(64, 36)),
    "all_four": Message(sent=256, length=256, pieces=(64, 64, 64, 64)),
    "cut_by_the_length": Message(sent=200, length=128, pieces=(64, 64)),
    "cut_within_the_first": Message(sent=200, length=40, pieces=(40,)),
    "cut_by_the_ring": Message(sent=300, length=1000, pieces=(64, 64, 64, 64)),
    "cut_by_what_the_first_holds": Message(sent=300, length=0, pieces=(64,)),
}


@pytest.mark.parametrize("msg_flags", [0, socket.MSG_TRUNC], ids=["plain", "told_so"])
@pytest.mark.parametrize("message", TABLE.values(), ids=TABLE)
def test_a_message_over_several_buffers(ring: Subject, message: Message, msg_flags: int) -> None:
    """One completion with the first bid; the head moves by the buffers that have bytes in them, not by what MSG_TRUNC says
    was cut. The next bundle begins behind them, with the next message.

    io_recv(): consumed; io_bundle_nbufs(); 6028b543884f
    """
    near, far = socket.socketpair(type=socket.SOCK_DGRAM)
    shelf = Shelf(ring, FOUR)
    stored = sum(message.pieces)
    with near, far:
        far.send(incoming(0, message.sent))
        shelf.queue(
            c.IORING_OP_RECV,
            near.fileno(),
            length=message.length,
            ioprio=c.IORING_RECVSEND_BUNDLE,
            msg_flags=msg_flags,
        )
        found = shelf.to_the_end()
        head = shelf.head()
        far.send(b"next")
        shelf.queue(c.IORING_OP_RECV, near.fileno(), length=64, ioprio=c.IORING_RECVSEND_BUNDLE)
        after = shelf.to_the_end()

    assert found == [Reply(res=message.sent if msg_flags else stored, bid=9)]
    assert head == len(message.pieces)
    if head < len(FOUR):
        bid = [*FOUR][head]
        assert after == [Reply(res=4, bid=bid)]
        assert shelf.written() == {**spread(FOUR, message.pieces), bid: b"next"}
    else:
        assert shelf.written() == spread(FOUR, message.pieces)
