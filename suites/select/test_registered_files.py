"""IOSQE_FIXED_FILE: sqe->fd is no descriptor but an index into the ring's registered files."""

from __future__ import annotations

import array
import errno
import os
from collections.abc import Callable

import pytest

from ringrig.model.params import receives
from ringrig.model.shelf import BGID, Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Op, Reply, incoming
from ringrig.model.waiting import payloads, receive, told, waits, without_nonempty
from ringrig.uring import consts as c
from ringrig.uring.group import remove_legacy
from ringrig.uring.ring import Ring
from ringrig.uring.structs import io_uring_rsrc_update
from ringrig.uring.wire import Wire, stuff

pytestmark = pytest.mark.ends_within(3)

BIDS = (5, 300, 2, 9)
SLOT, EMPTY, BEYOND = 1, 2, 4
_LENGTH = 20
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
each_receive = pytest.mark.parametrize("op", receives())


def register(ring: Ring, fd: int) -> None:
    """Four slots, of which SLOT has the file and the others none."""
    table = array.array("i", [-1, fd, -1, -1])
    assert ring.register(c.IORING_REGISTER_FILES, table.tobytes(), len(table)) == 0


def queue(shelf: Shelf, op: Op, wire: Wire, *, slot: int = SLOT, flags: int = 0) -> None:
    """A receive of that sort of what is registered there."""
    sqe = receive(shelf, op, wire, length=_LENGTH, flags=flags | c.IOSQE_FIXED_FILE)
    sqe.fd = slot


@each_kind
@pytest.mark.parametrize("blocks", [False, True], ids=["nonblocking", "blocking"])
@pytest.mark.parametrize("flags", [0, c.IOSQE_ASYNC], ids=["locked", "io_wq"])
@each_receive
def test_it_waits_for_its_data(  # noqa: PLR0917
    ring: Subject, make_wire: Callable[..., Wire], op: Op, flags: int, blocks: bool, kind: Kind
) -> None:
    """A receive of a registered socket with nothing in it, which has O_NONBLOCK or not: it waits, and has what comes; and so again.

    io_file_get_fixed(): io_slot_flags(), without which a file with O_NONBLOCK is -EAGAIN
    """
    shelf, wire = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind), make_wire()
    os.set_blocking(wire.near, blocks)
    register(ring.ring, wire.near)
    found = []
    for at in range(2):
        if not at or not op.multishot:
            queue(shelf, op, wire, flags=flags)
            assert ring.ring.submit() == 1
            assert waits(ring.ring, op)
        wire.send(incoming(_LENGTH * at, _LENGTH))
        found += shelf.some(1)

    assert without_nonempty(found) == [told(op, bid, _LENGTH) for bid in BIDS[:2]]
    if op.multishot:
        assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
    assert payloads(shelf, op) == {bid: incoming(_LENGTH * at, _LENGTH) for at, bid in enumerate(BIDS[:2])}
    assert [bid for bid, _ in shelf.left()] == list(BIDS[2:])


@each_kind
@each_receive
def test_a_file_that_waits_is_kept(ring: Subject, make_wire: Callable[..., Wire], op: Op, kind: Kind) -> None:
    """A receive waits, and its slot is emptied: it has what comes; the next one is -EBADF, and no buffer goes.

    __io_sqe_files_update(); io_file_get_fixed() takes hold of the slot's node
    """
    shelf, wire = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind), make_wire()
    register(ring.ring, wire.near)
    queue(shelf, op, wire)
    assert ring.ring.submit() == 1
    assert waits(ring.ring, op)

    none = array.array("i", [-1])
    update = io_uring_rsrc_update(offset=SLOT, data=none.buffer_info()[0])
    assert ring.ring.register(c.IORING_REGISTER_FILES_UPDATE, update, 1) == 1
    wire.send(incoming(0, _LENGTH))
    assert shelf.some(1) == [told(op, BIDS[0], _LENGTH)]
    if op.multishot:
        assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
    wire.feed(incoming(_LENGTH, _LENGTH))
    queue(shelf, op, wire)

    assert shelf.to_the_end() == [Reply(res=-errno.EBADF)]
    assert wire.unread() == _LENGTH
    assert payloads(shelf, op) == {BIDS[0]: incoming(0, _LENGTH)}
    assert [bid for bid, _ in shelf.left()] == list(BIDS[1:])


@each_kind
@pytest.mark.parametrize(
    "slot", [EMPTY, BEYOND, 1 << 20, -1], ids=["empty", "beyond", "far_beyond", "minus_one"]
)
@each_receive
def test_where_no_file_is(
    ring: Subject, make_wire: Callable[..., Wire], op: Op, slot: int, kind: Kind
) -> None:
    """A slot without a file, an index behind the last: -EBADF, and no buffer goes. io_file_get_fixed()"""
    shelf, wire = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind), make_wire()
    register(ring.ring, wire.near)
    wire.feed(incoming(0, _LENGTH))
    queue(shelf, op, wire, slot=slot)

    assert shelf.to_the_end() == [Reply(res=-errno.EBADF)]
    assert (wire.unread(), shelf.written()) == (_LENGTH, {})
    assert [bid for bid, _ in shelf.left()] == list(BIDS)


@pytest.mark.needs("send_select")
@each_kind
@pytest.mark.parametrize("full", [False, True], ids=["room", "full"])
def test_a_send_by_a_registered_socket(
    ring: Subject, make_wire: Callable[..., Wire], full: bool, kind: Kind
) -> None:
    """A SEND of the first buffer by a registered socket, which has room or has none at first. io_send()"""
    shelf, wire = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind), make_wire()
    stream = shelf.load()
    wire.narrow()
    before = stuff(wire.near) if full else 0
    register(ring.ring, wire.near)
    shelf.queue(c.IORING_OP_SEND, SLOT, flags=c.IOSQE_FIXED_FILE)
    assert ring.ring.submit() == 1
    if full:
        assert waits(ring.ring, Op.SEND)
        assert wire.received(before) == b"\xff" * before

    assert shelf.some(1) == [Reply(res=64, bid=BIDS[0])]
    assert wire.received(64) == stream[:64]
    assert remove_legacy(ring.ring, bgid=BGID, count=9) == 3 if kind is Kind.LEGACY else shelf.head() == 1
