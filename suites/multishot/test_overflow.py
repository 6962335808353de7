"""Completions that find no room: of bundles and of incremental buffers, whose flags alone tell what was used up."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from ringrig.model.shelf import Rest, Shelf, spread
from ringrig.model.subject import Subject
from ringrig.model.transfer import Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.ring import Ring
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(3)

FOUR = {9: 64, 300: 64, 0x8000: 64, 4: 64}
_NOP = 77
_BUNDLE, _MULTISHOT = c.IORING_RECVSEND_BUNDLE, c.IORING_RECV_MULTISHOT
KINDS = [
    pytest.param(0, id="plain"),
    pytest.param(c.IOU_PBUF_RING_INC, id="inc", marks=pytest.mark.needs("inc")),
]
OPS = {
    "read": pytest.param(c.IORING_OP_READ_MULTISHOT, 0, id="read", marks=pytest.mark.needs("read_multishot")),
    "recv": pytest.param(c.IORING_OP_RECV, _MULTISHOT, id="recv", marks=pytest.mark.needs("recv_multishot")),
}


@pytest.fixture
def full(make_ring: Callable[..., Subject]) -> Subject:
    """A ring with a CQ of 4, which holds the completions of 4 NOPs."""
    subject = make_ring(entries=4, cq_entries=4)
    for _ in range(4):
        subject.ring.sqe().user_data = _NOP
    assert subject.ring.submit() == 4
    return subject


@pytest.fixture
def datagrams() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets, of which one does not block: a receive gets one message."""
    near, far = socket.socketpair(type=socket.SOCK_DGRAM)
    near.setblocking(False)
    with near, far:
        yield near, far


def nops_first(ring: Ring) -> None:
    """What the CQ held is taken off it: the NOPs, and nothing that came later."""
    assert [cqe.user_data for cqe in ring.cqes()] == [_NOP] * 4


@pytest.mark.needs("bundle")
@pytest.mark.parametrize("flags", KINDS)
@pytest.mark.parametrize(
    "ioprio",
    [
        pytest.param(_BUNDLE, id="once"),
        pytest.param(_BUNDLE | _MULTISHOT, id="multishot", marks=pytest.mark.needs("recv_multishot")),
    ],
)
def test_a_bundle_that_finds_no_room(
    full: Subject, make_wire: Callable[..., Wire], ioprio: int, flags: int
) -> None:
    """TCP, 100 bytes for buffers of 64, the CQ is full: the completion comes behind the others, the last one, of two buffers; what
    comes later is the next bundle's. With F_BUF_MORE if the second buffer has a rest, and that is where the next one begins.

    io_recv_finish(): io_req_post_cqe() fails, and the result is the request's own; io_cqring_event_overflow()
    """
    shelf, wire = Shelf(full, FOUR, flags=flags), make_wire(tcp=True)
    wire.feed(incoming(0, 100))
    found = []

    shelf.queue(c.IORING_OP_RECV, wire.near, length=0 if ioprio & _MULTISHOT else 192, ioprio=ioprio)
    assert full.ring.submit() == 1
    nops_first(full.ring)
    found += shelf.to_the_end()
    wire.feed(incoming(100, 60))
    shelf.queue(c.IORING_OP_RECV, wire.near, length=60, ioprio=_BUNDLE)
    found += shelf.to_the_end()

    if flags:
        assert found == [Reply(res=100, bid=9, buf_more=True), Reply(res=60, bid=300, buf_more=True)]
        assert shelf.rests() == [Rest(9, 0, 0), Rest(300, 36, 0), Rest(0x8000, 32, 32), Rest(4, 0, 64)]
        assert shelf.written() == spread(FOUR, (64, 64, 32))
    else:
        assert found == [Reply(res=100, bid=9), Reply(res=60, bid=0x8000)]
        assert shelf.written() == spread(FOUR, (64, 36, 60))
        assert shelf.left() == [(4, 64)]


LAST = {"something_is_left": 64, "all_is_used_up": 50}


@pytest.mark.needs("inc")
@pytest.mark.parametrize("size", LAST.values(), ids=LAST)
@pytest.mark.parametrize("opcode, ioprio", OPS.values())
def test_pieces_of_a_buffer_and_no_room_for_the_last(
    make_ring: Callable[..., Subject],
    datagrams: tuple[socket.socket, socket.socket],
    opcode: int,
    ioprio: int,
    size: int,
) -> None:
    """A CQ of 4, messages of 10 bytes for an incremental buffer: four completions with F_MORE and F_BUF_MORE; the fifth, which
    finds no room, is the last: with F_BUF_MORE if something is left. The sixth message goes where the next request begins.

    io_req_post_cqe() fails; the flags are the request's own: io_recv_finish(), io_read_mshot()
    """
    shelf = Shelf(make_ring(entries=2, cq_entries=4), {5: size, 2: 64}, flags=c.IOU_PBUF_RING_INC)
    near, far = datagrams
    for at in range(6):
        far.send(incoming(10 * at, 10))

    shelf.queue(opcode, near.fileno(), ioprio=ioprio)
    found = shelf.to_the_end()
    shelf.queue(c.IORING_OP_RECV, near.fileno())
    found += shelf.to_the_end()

    rest = size > 50
    assert found == [
        *[Reply(res=10, bid=5, more=True, buf_more=True)] * 4,
        Reply(res=10, bid=5, buf_more=rest),
        Reply(res=10, bid=5 if rest else 2, buf_more=True),
    ]
    assert shelf.rests() == ([Rest(5, 60, 4), Rest(2, 0, 64)] if rest else [Rest(5, 40, 0), Rest(2, 10, 54)])
    assert shelf.written() == spread(shelf.sizes, (60,) if rest else (50, 10))


@pytest.mark.needs("inc")
def test_pieces_of_many_that_wait_for_room(
    full: Subject, datagrams: tuple[socket.socket, socket.socket]
) -> None:
    """The CQ is full, and five RECVs get 10 bytes each of a buffer of 30 and the next: all come later, in order, with F_BUF_MORE but
    for the one that used the first buffer up. io_cqring_event_overflow(), __io_cqring_overflow_flush()
    """
    shelf = Shelf(full, {5: 30, 2: 64}, flags=c.IOU_PBUF_RING_INC)
    near, far = datagrams
    for at in range(5):
        far.send(incoming(10 * at, 10))
    for number in range(5):
        shelf.queue(c.IORING_OP_RECV, near.fileno()).user_data = 100 + number
        assert full.ring.submit() == 1

    nops_first(full.ring)
    found = [(cqe.user_data, Reply.of(cqe.res, cqe.flags)) for cqe in full.ring.complete(5)]

    assert found == [
        (100, Reply(res=10, bid=5, buf_more=True)),
        (101, Reply(res=10, bid=5, buf_more=True)),
        (102, Reply(res=10, bid=5)),
        (103, Reply(res=10, bid=2, buf_more=True)),
        (104, Reply(res=10, bid=2, buf_more=True)),
    ]
    assert shelf.rests() == [Rest(5, 20, 0), Rest(2, 20, 44)]
    assert shelf.written() == spread({5: 30, 2: 64}, (30, 20))
