"""How much of a buffer a request may use."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from ringrig.model.course import expect, meaningless
from ringrig.model.params import receives
from ringrig.model.profiles import Profile
from ringrig.model.scene import Scene
from ringrig.model.shelf import BGID, Rest, Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Buffer, Issue, Kind, Op, Reply, Stock, Transfer, incoming
from ringrig.model.waiting import receive, without_nonempty
from ringrig.uring import consts as c
from ringrig.uring.requests import Vector, selecting
from ringrig.uring.wire import Wire

LENGTHS = {"zero": 0, "one": 1, "shorter": 24, "equal": 64, "longer": 65, "much_longer": 4096}
OPS = [
    *(pytest.param(op, id=op.value) for op in (Op.READ, Op.READV, Op.RECV, Op.RECVMSG)),
    pytest.param(Op.SEND, id=Op.SEND.value, marks=pytest.mark.needs("send_select")),
]


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("op", OPS)
def test_a_transfer_keeps_within_length_and_buffer(
    make_scene: Callable[[Stock | None], Scene], profile: Profile, op: Op, length: int, kind: Kind
) -> None:
    """100 bytes for a buffer of 64 between canaries: no more than the SQE's length, and none beside it.

    io_ring_buffer_select(), io_provided_buffer_select(): length 0 is all of the buffer (not in the RFC's
    ring). A SEND of a legacy buffer sends all of it whatever the length. io_provided_buffers_select()
    """
    stock = Stock(kind=kind, buffers=(Buffer(bid=3), Buffer(bid=2)))
    call = Transfer(op=op, length=length, ready=100)

    got = make_scene(stock).run(call)

    assert got == expect(call, stock, profile.traits)


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_each_buffer_has_its_own_size(
    make_scene: Callable[[Stock | None], Scene], profile: Profile, kind: Kind
) -> None:
    """Buffers of 1, 64, 7 and 4096 bytes: each transfer gets the size of its own.

    io_ring_buffer_select(), io_provided_buffer_select()
    """
    sizes = {4: 1, 1: 64, 3: 7, 2: 4096}
    stock = Stock(kind=kind, buffers=tuple(Buffer(bid=bid, size=size) for bid, size in sizes.items()))
    scene = make_scene(stock)

    got = [scene.transfer(Transfer(op=Op.READ, length=5000, ready=5000))[0][0] for _ in sizes]

    assert [(reply.bid, reply.res) for reply in got] == list(sizes.items())
    assert scene.written()[1] == ()


@pytest.mark.parametrize("length", [0, 10], ids=["no_length", "length"])
@pytest.mark.parametrize("opcode", [c.IORING_OP_READ, c.IORING_OP_RECV], ids=["read", "recv"])
def test_an_entry_of_length_0_takes_nothing(
    ring: Subject, make_wire: Callable[..., Wire], opcode: int, length: int
) -> None:
    """100 bytes are there, the entry has an address and no length: 0, no byte is stored or taken; a READ has used the buffer, a
    RECV puts it back.

    io_ring_buffer_select(), kiocb_done(), io_recv(): io_kbuf_recycle()
    """
    shelf, wire = Shelf(ring, {5: 0, 2: 64}), make_wire()
    wire.feed(incoming(0, 100))

    shelf.queue(opcode, wire.near, length=length)
    found = shelf.to_the_end()

    used = opcode == c.IORING_OP_READ
    assert [(reply.res, reply.bid, reply.more) for reply in found] == [(0, 5 if used else None, False)]
    assert shelf.written() == {}
    assert wire.unread() == 100
    assert shelf.left() == ([] if used else [(5, 0)]) + [(2, 64)]


@pytest.mark.parametrize("issue", Issue, ids=lambda issue: issue.value)
@pytest.mark.parametrize("op", receives())
def test_no_receive_goes_on_behind_an_entry_of_length_0(
    make_scene: Callable[[Stock | None], Scene], profile: Profile, op: Op, issue: Issue
) -> None:
    """100 bytes are there, the first entry has no length, the second 64: nothing is received, and a multishot has ended with 0.

    -EFAULT where a header must fit. READ and READV use the entry up, as io-wq does; the others put it back. io_recv(),
    io_read_mshot(): io_kbuf_recycle() where no byte moved, io_recvmsg_prep_multishot()
    """
    stock = Stock(kind=Kind.RING, buffers=(Buffer(bid=5, size=0), Buffer(bid=2)))
    call = Transfer(op=op, issue=issue, length=0 if op.multishot else 64, ready=100)
    if why := meaningless(call, stock, profile.traits):
        pytest.skip(why)

    got = make_scene(stock).run(call)

    assert got == expect(call, stock, profile.traits)


@pytest.mark.needs("inc")
@pytest.mark.parametrize("op", receives())
def test_an_incremental_entry_of_length_0_stays(
    ring: Subject, make_wire: Callable[..., Wire], op: Op
) -> None:
    """The same of an incremental ring: the entry is the first one still, also of who reports it, READ and READV, with F_BUF_MORE.

    io_kbuf_inc_commit(): of no bytes nothing is used up
    """
    shelf, wire = Shelf(ring, {5: 0, 2: 64}, flags=c.IOU_PBUF_RING_INC), make_wire()
    wire.feed(incoming(0, 100))
    receive(shelf, op, wire)

    (reply,) = without_nonempty(shelf.to_the_end())

    reports = op.reads and not op.multishot
    header = op is Op.RECVMSG_MULTISHOT
    assert reply == Reply(res=-errno.EFAULT * header, bid=5 if reports else None, buf_more=reports)
    assert (shelf.rests(), shelf.head()) == ([Rest(5, 0, 0), Rest(2, 0, 64)], 0)
    assert (shelf.written(), wire.unread()) == ({}, 100)


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_an_iovec_is_as_long_as_its_lower_half_says(
    ring: Subject, make_wire: Callable[..., Wire], kind: Kind
) -> None:
    """READV, iov_len 4 GiB and 10, 100 bytes: 10, as the request keeps 32 bits. io_iov_buffer_select_prep()"""
    shelf, wire = Shelf(ring, {5: 64, 2: 64}, kind=kind), make_wire()
    wire.feed(incoming(0, 100))
    selecting(ring.ring, c.IORING_OP_READV, wire.near, bgid=BGID, vector=Vector((1 << 32) + 10))

    cqe = ring.ring.complete()[0]

    assert (cqe.res, cqe.bid) == (10, 5)
    assert shelf.written() == {5: incoming(0, 10)}
    assert wire.unread() == 90


SIGNED = {"sign_bit": 1 << 31, "all_bits": 0xFFFFFFFF}
REQUESTS = {
    "read": (c.IORING_OP_READ, 0),
    "read_by_io_wq": (c.IORING_OP_READ, c.IOSQE_ASYNC),
    "recv": (c.IORING_OP_RECV, 0),
    "recv_by_io_wq": (c.IORING_OP_RECV, c.IOSQE_ASYNC),
}


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("length", SIGNED.values(), ids=SIGNED)
@pytest.mark.parametrize("issued", REQUESTS.values(), ids=REQUESTS)
def test_a_length_that_an_int_does_not_hold(
    ring: Subject, make_wire: Callable[..., Wire], issued: tuple[int, int], length: int, kind: Kind
) -> None:
    """sqe->len of 2 GiB and more, 100 bytes, buffers of 64: as much as the buffer holds, or -EINVAL and nothing used.

    A RECV's is an int: refused since b948f9d5d305 (6.12.81); before, a negative length was longer than any buffer.
    io_recvmsg_prep(), io_ring_buffer_select(), io_provided_buffer_select()
    """
    shelf, wire = Shelf(ring, {5: 64, 2: 64}, kind=kind), make_wire()
    wire.feed(incoming(0, 100))
    opcode, flags = issued

    shelf.queue(opcode, wire.near, length=length, flags=flags)
    reply, *rest = shelf.to_the_end()

    refused = opcode == c.IORING_OP_RECV and reply.res < 0
    assert (reply.res, reply.bid, rest) == ((-errno.EINVAL, None, []) if refused else (64, 5, []))
    assert shelf.written() == ({} if refused else {5: incoming(0, 64)})
    assert wire.unread() == (100 if refused else 36)
    assert shelf.left() == [(5, 64), (2, 64)][not refused :]
