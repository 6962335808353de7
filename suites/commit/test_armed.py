"""Groups that change while a request waits for poll: it holds nothing of a ring, and looks again when it is woken."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from dataclasses import replace

import pytest

from ringrig.model.course import expect
from ringrig.model.params import receives
from ringrig.model.profiles import Profile
from ringrig.model.scene import BGID, Scene
from ringrig.model.shelf import REQUEST, Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Buffer, Kind, Op, Reply, Stock, Then, Transfer, incoming
from ringrig.model.waiting import payloads, receive, told, waits
from ringrig.uring import consts as c
from ringrig.uring.group import Group, Pipe, legacy, remove_legacy
from ringrig.uring.requests import selecting
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(3)

OPS = receives(Op.READV)  # which waits with its buffer on 6.1: the trait waiting_readv_keeps_buffer
STOCK = Stock(kind=Kind.RING, buffers=(Buffer(bid=11), Buffer(bid=4)))


@pytest.mark.parametrize("then", ["nothing", "another_ring", "provided_buffers"])
@pytest.mark.parametrize("op", OPS)
def test_it_goes_by_the_id(
    ring: Subject,
    make_scene: Callable[[Stock | None], Scene],
    make_group: Callable[..., Group],
    op: Op,
    then: str,
) -> None:
    """The ring goes and what comes under its id is nothing, another ring, or provided buffers; then 20 bytes come.

    -ENOBUFS, or a buffer of the new group; the old one's memory is as it was. io_buffer_select()
    """
    scene = make_scene(STOCK)
    far = scene.begin(Transfer(op=op, length=0 if op.multishot else 64))
    assert scene.group is not None
    assert scene.group.unregister() == 0
    room = ring.arena.anon(64)
    if then == "another_ring":
        make_group(bgid=BGID).memory.publish(room, 64, 8)
    elif then == "provided_buffers":
        assert legacy(ring.ring, bgid=BGID, addr=room, size=64, count=1, bid=8) == 0

    far.write(incoming(0, 20))
    cqe = ring.ring.complete()[0]

    size = 36 if op is Op.RECVMSG_MULTISHOT else 20
    assert (cqe.res, cqe.bid) == ((-errno.ENOBUFS, None) if then == "nothing" else (size, 8))
    assert scene.written() == ((), ())


RING, INCREMENTAL = (Kind.RING, 0), (Kind.RING, c.IOU_PBUF_RING_INC)
PROVIDED = (Kind.LEGACY, 0)
CHANGES = {
    "ring_to_incremental": (RING, INCREMENTAL),
    "incremental_to_ring": (INCREMENTAL, RING),
    "incremental_to_provided_buffers": (INCREMENTAL, PROVIDED),
    "provided_buffers_to_ring": (PROVIDED, RING),
    "provided_buffers_to_incremental": (PROVIDED, INCREMENTAL),
}


@pytest.mark.parametrize(
    "before, after",
    [
        pytest.param(*change, id=name, marks=[pytest.mark.needs("inc")] if INCREMENTAL in change else [])
        for name, change in CHANGES.items()
    ],
)
@pytest.mark.parametrize("op", OPS)
def test_it_goes_by_what_the_group_is_by_then(  # noqa: PLR0917
    ring: Subject,
    make_wire: Callable[..., Wire],
    profile: Profile,
    op: Op,
    before: tuple[Kind, int],
    after: tuple[Kind, int],
) -> None:
    """While a request waits its group is emptied, and another of another kind comes under the id; then 20 bytes come.

    A buffer of the new group, as that kind tells of it and uses it up; or the provided buffer that it had before it waited, and
    the new group is as it was. io_buffer_select(), io_kbuf_recycle_legacy()
    """
    if before == PROVIDED and "upgrade_refused" in profile.traits:
        pytest.skip("needs upgrade: this ABI makes no ring of an emptied group")
    call, stock = Transfer(op=op, then=(Then.CANCEL,)), Stock(kind=before[0], buffers=(Buffer(bid=5),))
    holds = not expect(call, stock, profile.traits).left
    old, wire = Shelf(ring, {5: 64}, kind=before[0], flags=before[1]), make_wire()
    receive(old, op, wire)
    ring.ring.submit()
    assert waits(ring.ring, op)
    if before == PROVIDED:
        assert remove_legacy(ring.ring, bgid=BGID, count=9) == (0 if holds else 1)
    else:
        assert old.group.unregister() == 0
    new = Shelf(ring, {8: 64, 2: 64}, kind=after[0], flags=after[1])

    wire.send(incoming(0, 20))

    inc = after == INCREMENTAL and not holds
    assert new.some(1) == [replace(told(op, 5 if holds else 8, 20), buf_more=inc)]
    if op.multishot:
        assert new.cancelled() == [Reply(res=-errno.ECANCELED)]
    assert payloads(old, op) == ({5: incoming(0, 20)} if holds else {})
    assert payloads(new, op) == ({} if holds else {8: incoming(0, 20)})
    used = told(op, 8, 20).res
    rest = [(8, 64)] if holds else [(8, 64 - used)] if inc else []
    assert new.left() == [*rest, (2, 64)]


@pytest.mark.crashes
def test_the_rest_comes_to_a_provided_buffer(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """MSG_WAITALL waits on a ring that becomes provided buffers; 20 bytes, then 44: 64, in the one buffer.

    What was undone with the ring's buffer must not be taken for true of the next: io_kbuf_recycle_ring()
    """
    shelf, wire = Shelf(ring, {5: 64}), make_wire()
    shelf.queue(c.IORING_OP_RECV, wire.near, length=64, msg_flags=socket.MSG_WAITALL)
    assert ring.ring.submit() == 1
    assert shelf.group.unregister() == 0
    late = Shelf(ring, {8: 64, 2: 64}, kind=Kind.LEGACY)

    wire.send(incoming(0, 20))
    ring.ring.submit()
    wire.send(incoming(20, 44))

    assert late.to_the_end() == [Reply(res=64, bid=8)]
    assert late.written() == {8: incoming(0, 64)}
    assert late.left() == [(2, 64)]


@pytest.mark.parametrize("size", [16, 200], ids=["smaller", "larger"])
def test_a_read_that_waited_keeps_the_length_it_saw(ring: Subject, pipe: Pipe, size: int) -> None:
    """READ waits and has seen a buffer of `size` first, which another takes; 40 bytes come: no more than that.

    The request's length was cut to that buffer's. __io_import_iovec(): rw->len
    """
    shelf = Shelf(ring, {5: size, 2: 64})
    sqe = selecting(ring.ring, c.IORING_OP_READ, pipe.reader, bgid=BGID, length=100)
    sqe.user_data = REQUEST
    assert ring.ring.submit() == 1
    other = shelf.group.read(length=1)

    pipe.feed(incoming(0, 40))

    assert other.bid == 5
    assert shelf.to_the_end() == [Reply(res=min(size, 40), bid=2)]
    assert shelf.written()[2] == incoming(0, min(size, 40))
