"""Multishot receives round by round: sizes, how many, a full CQ ring, links, io-wq, what is left in the socket."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from ringrig.model.profiles import Profile
from ringrig.model.shelf import BGID, REQUEST, Shelf, spread
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.group import Pipe, bids, legacy, remove_legacy
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(3)

each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
OPS = {
    "read": pytest.param(c.IORING_OP_READ_MULTISHOT, id="read", marks=pytest.mark.needs("read_multishot")),
    "recv": pytest.param(c.IORING_OP_RECV, id="recv", marks=pytest.mark.needs("recv_multishot")),
}
each_op = pytest.mark.parametrize("opcode", OPS.values())


def _queue(shelf: Shelf, opcode: int, fd: int, *, flags: int = 0) -> None:
    ioprio = c.IORING_RECV_MULTISHOT * (opcode == c.IORING_OP_RECV)
    shelf.queue(opcode, fd, ioprio=ioprio, flags=flags)


@pytest.mark.needs("read_multishot")
@each_kind
@each_op
def test_each_round_fills_its_own_buffer(
    ring: Subject, make_wire: Callable[..., Wire], opcode: int, kind: Kind
) -> None:
    """Buffers of 16, 64, 8 and 128 bytes, and 217 bytes there at once: each is filled to its end.

    The length of a round is not the next one's. io_mshot_prep_retry(), io_read_mshot(); 6.1 keeps the first.
    """
    shelf = Shelf(ring, {5: 16, 2: 64, 9: 8, 7: 128}, kind=kind)
    wire = make_wire()
    wire.feed(incoming(0, 217))
    _queue(shelf, opcode, wire.near)

    found = shelf.to_the_end()

    assert [(reply.res, reply.bid, reply.more) for reply in found] == [
        (16, 5, True),
        (64, 2, True),
        (8, 9, True),
        (128, 7, True),
        (-errno.ENOBUFS, None, False),
    ]
    assert b"".join(shelf.written()[bid] for bid in (5, 2, 9, 7)) == incoming(0, 216)


@each_kind
@each_op
def test_each_round_is_told_though_success_is_skipped(
    ring: Subject, make_wire: Callable[..., Wire], opcode: int, kind: Kind
) -> None:
    """IOSQE_CQE_SKIP_SUCCESS, two buffers of 16 bytes, 40 bytes: two completions with F_MORE, or nobody would know of the buffers.

    io_req_post_cqe() heeds no REQ_F_CQE_SKIP; the last one is an error
    """
    shelf, wire = Shelf(ring, {5: 16, 2: 16}, kind=kind), make_wire()
    wire.feed(incoming(0, 40))
    _queue(shelf, opcode, wire.near, flags=c.IOSQE_CQE_SKIP_SUCCESS)

    found = shelf.to_the_end()

    assert [(reply.res, reply.bid, reply.more) for reply in found] == [
        (16, 5, True),
        (16, 2, True),
        (-errno.ENOBUFS, None, False),
    ]
    assert b"".join(shelf.written()[bid] for bid in (5, 2)) == incoming(0, 32)


@pytest.mark.needs("read_multishot")
@each_kind
def test_a_round_without_data_limits_no_later_one(ring: Subject, pipe: Pipe, kind: Kind) -> None:
    """READ_MULTISHOT waits with a buffer of 16 bytes first; another takes that; 100 bytes come: one completion.

    io_read_mshot() takes back the length with the buffer. io_kbuf_recycle()
    """
    shelf = Shelf(ring, {5: 16, 2: 128, 9: 8}, kind=kind)
    _queue(shelf, c.IORING_OP_READ_MULTISHOT, pipe.reader)
    assert ring.ring.submit() == 1
    assert bids([shelf.group.read(length=1)]) == [5]

    pipe.feed(incoming(0, 100))

    assert shelf.some(1) == [Reply(res=100, bid=2, more=True)]
    assert shelf.written()[2] == incoming(0, 100)
    assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]


@pytest.mark.slow
@each_kind
@each_op
@pytest.mark.parametrize("when", ["there", "later"])
def test_dozens_of_rounds(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire], opcode: int, when: str, kind: Kind
) -> None:
    """80 buffers of a byte, and 81 bytes at once: 80 completions in order, then -ENOBUFS.

    More than MULTISHOT_MAX_RETRY, after which the request is queued anew. io_recv_finish()
    """
    ring = make_ring(entries=64)
    shelf = Shelf(ring, dict.fromkeys(range(100, 180), 1), kind=kind)
    wire = make_wire()
    _queue(shelf, opcode, wire.near)
    if when == "later":
        assert ring.ring.submit() == 1
    wire.send(incoming(0, 81))

    found = shelf.to_the_end()

    assert [(reply.res, reply.bid, reply.more) for reply in found] == [
        *((1, bid, True) for bid in range(100, 180)),
        (-errno.ENOBUFS, None, False),
    ]
    assert b"".join(shelf.written()[bid] for bid in range(100, 180)) == incoming(0, 80)


@each_kind
@each_op
def test_a_full_cq_ring_ends_it_with_nothing_lost(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire], opcode: int, kind: Kind
) -> None:
    """A CQ ring of 4 and data for 6 rounds: what does not fit is the last completion, without F_MORE, and it comes
    once there is room; the rest stays in the socket and in the group. io_req_post_cqe() fails.
    """
    ring = make_ring(entries=2, cq_entries=4)
    shelf = Shelf(ring, dict.fromkeys((5, 2, 9, 7, 1, 3, 8, 6), 8), kind=kind)
    wire = make_wire()
    wire.feed(incoming(0, 48))
    _queue(shelf, opcode, wire.near)

    found = shelf.to_the_end()

    bids = (5, 2, 9, 7, 1)
    assert [(reply.res, reply.bid, reply.more) for reply in found] == [(8, bid, bid != 1) for bid in bids]
    assert b"".join(shelf.written()[bid] for bid in bids) == incoming(0, 40)
    assert wire.unread() == 8
    assert shelf.left() == [(3, 8), (8, 8), (6, 8)]


@each_kind
@each_op
@pytest.mark.parametrize("end", ["no_buffer", "end_of_stream"])
def test_a_multishot_that_fails_breaks_its_link(
    ring: Subject, make_wire: Callable[..., Wire], opcode: int, end: str, kind: Kind
) -> None:
    """A multishot and a NOP behind it in a link: out of buffers is a failure, and cancels; the end of the stream is
    none. req_set_fail() in io_read_mshot(), io_recv()
    """
    shelf = Shelf(ring, {5: 16, 2: 16}, kind=kind)
    wire = make_wire()
    wire.feed(incoming(0, 33 if end == "no_buffer" else 16))
    if end == "end_of_stream":
        wire.end()
    _queue(shelf, opcode, wire.near, flags=c.IOSQE_IO_LINK)
    ring.ring.sqe().user_data = 77

    cqes = ring.ring.complete(4 if end == "no_buffer" else 3)

    own = [cqe.res for cqe in cqes if cqe.user_data == REQUEST]
    assert own == ([16, 16, -errno.ENOBUFS] if end == "no_buffer" else [16, 0])
    linked = -errno.ECANCELED if end == "no_buffer" else 0
    assert [(cqe.res, cqe.flags) for cqe in cqes if cqe.user_data == 77] == [(linked, 0)]


@pytest.mark.needs("read_multishot")
@each_kind
def test_a_worker_reads_no_file_again_and_again(ring: Subject, kind: Kind) -> None:
    """IOSQE_ASYNC READ_MULTISHOT of a regular file: -EBADFD, and the buffer stays. io_wq_submit_work()"""
    shelf = Shelf(ring, {5: 16}, kind=kind)
    _queue(shelf, c.IORING_OP_READ_MULTISHOT, ring.arena.memfd(64), flags=c.IOSQE_ASYNC)

    assert shelf.to_the_end() == [Reply(res=-errno.EBADFD)]
    assert shelf.left() == [(5, 16)]


@pytest.mark.needs("recv_multishot")
@each_kind
def test_what_is_left_is_told_round_by_round(
    ring: Subject, make_wire: Callable[..., Wire], kind: Kind
) -> None:
    """20 bytes over TCP for buffers of 8: F_SOCK_NONEMPTY after the first and the second, not after the third.

    io_recv_finish(): msg_inq
    """
    shelf = Shelf(ring, {5: 8, 2: 8, 9: 8, 7: 8}, kind=kind)
    wire = make_wire(tcp=True)
    wire.feed(incoming(0, 20))
    _queue(shelf, c.IORING_OP_RECV, wire.near)

    found = shelf.some(3)

    assert found == [
        Reply(res=8, bid=5, more=True, nonempty=True),
        Reply(res=8, bid=2, more=True, nonempty=True),
        Reply(res=4, bid=9, more=True),
    ]
    assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]


@pytest.mark.needs("recv_multishot")
@each_kind
def test_no_buffer_says_nothing_of_the_socket(
    ring: Subject, make_wire: Callable[..., Wire], kind: Kind
) -> None:
    """24 bytes over TCP for two buffers of 8: -ENOBUFS is without F_SOCK_NONEMPTY. io_recv()"""
    shelf = Shelf(ring, {5: 8, 2: 8}, kind=kind)
    wire = make_wire(tcp=True)
    wire.feed(incoming(0, 24))
    _queue(shelf, c.IORING_OP_RECV, wire.near)

    assert shelf.to_the_end()[-1] == Reply(res=-errno.ENOBUFS)
    assert wire.unread() == 8


@pytest.mark.needs("recv_multishot")
@each_kind
def test_a_length_is_of_each_completion(
    ring: Subject, make_wire: Callable[..., Wire], profile: Profile, kind: Kind
) -> None:
    """RECV with a length of 8, buffers of 64, 20 bytes: -EINVAL, and nothing is used; later kernels receive 8, 8 and 4.

    io_recvmsg_prep(); io_mshot_prep_retry()
    """
    shelf, wire = Shelf(ring, {5: 64, 2: 64, 9: 64}, kind=kind), make_wire()
    wire.feed(incoming(0, 20))
    shelf.queue(c.IORING_OP_RECV, wire.near, length=8, ioprio=c.IORING_RECV_MULTISHOT)

    if "multishot_length" in profile.traits:
        found = [(reply.res, reply.bid, reply.more) for reply in shelf.some(3)]
        assert found == [(8, 5, True), (8, 2, True), (4, 9, True)]
        assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
        assert shelf.written() == spread({5: 8, 2: 8, 9: 8}, (8, 8, 4))
    else:
        assert shelf.to_the_end() == [Reply(res=-errno.EINVAL)]
        assert wire.unread() == 20
        assert shelf.left() == [(5, 64), (2, 64), (9, 64)]


@each_kind
@each_op
def test_a_round_that_fails_is_the_last(
    ring: Subject, make_wire: Callable[..., Wire], opcode: int, kind: Kind
) -> None:
    """Buffers of 16, 64 and 64 bytes, of which the second lies nowhere, and 40 bytes: 16 with F_MORE, then -EFAULT, of no buffer,
    and it is the last; the second buffer is back in its place, and the other 24 bytes are unread.

    io_recv(), io_read_mshot(): io_kbuf_recycle() where nothing was received
    """
    shelf, wire = Shelf(ring, {5: 16, 2: 64, 9: 64}, kind=kind, published=1), make_wire()
    spare = ring.arena.anon(64)
    nowhere = ring.arena.unmapped(64)
    if kind is Kind.RING:
        shelf.group.memory.publish(nowhere, 64, 2)
    else:
        assert legacy(ring.ring, bgid=BGID, addr=nowhere, size=64, count=1, bid=2) == 0
    shelf.provide(9)
    wire.feed(incoming(0, 40))
    _queue(shelf, opcode, wire.near)

    found = shelf.to_the_end()

    assert [(reply.res, reply.bid, reply.more) for reply in found] == [
        (16, 5, True),
        (-errno.EFAULT, None, False),
    ]
    assert shelf.written() == {5: incoming(0, 16)}
    assert wire.unread() == 24
    if kind is Kind.RING:
        shelf.group.memory.write(1, spare, 64, 2)
        assert shelf.left() == [(2, 64), (9, 64)]
    else:
        assert remove_legacy(ring.ring, bgid=BGID, count=1) == 1
        assert shelf.left() == [(9, 64)]


LIMITED = {
    "rounds_of_any_length": (0, 0),
    "with_a_length": (0, 8),
    "bundle": (c.IORING_RECVSEND_BUNDLE, 0),
    "bundle_with_a_length": (c.IORING_RECVSEND_BUNDLE, 8),
}


@pytest.mark.needs("recv_multishot", "bundle")
@each_kind
@pytest.mark.parametrize("ioprio, length", LIMITED.values(), ids=LIMITED)
def test_a_limit_ends_it(  # noqa: PLR0917
    ring: Subject, make_wire: Callable[..., Wire], profile: Profile, ioprio: int, length: int, kind: Kind
) -> None:
    """sqe->optlen 16, six buffers of 8 bytes, 60 bytes: after 16 it ends, without F_MORE and without an error, so that others
    have their turn; armed again it has the next 16. Before there was a limit: -EINVAL, and nothing is used.

    io_recvmsg_prep(), io_recv_finish(): mshot_total_len
    """
    bids = (5, 2, 9, 7, 1, 3)
    shelf, wire = Shelf(ring, dict.fromkeys(bids, 8), kind=kind), make_wire()
    wire.feed(incoming(0, 60))
    found = []
    for _ in range(2):
        sqe = shelf.queue(c.IORING_OP_RECV, wire.near, length=length, ioprio=ioprio | c.IORING_RECV_MULTISHOT)
        sqe.optlen = 16
        found.append(shelf.to_the_end())

    if "multishot_length" not in profile.traits:
        assert found == [[Reply(res=-errno.EINVAL)]] * 2
        assert (wire.unread(), shelf.left()) == (60, [(bid, 8) for bid in bids])
        return
    assert [sum(reply.res for reply in replies) for replies in found] == [16, 16]
    assert [(replies[0].bid, replies[-1].more) for replies in found] == [(5, False), (9, False)]
    assert shelf.written() == spread(shelf.sizes, (8, 8, 8, 8))
    assert wire.unread() == 28
    assert shelf.left() == [(1, 8), (3, 8)]


@pytest.mark.needs("recv_multishot")
@each_kind
def test_who_goes_not_on_has_no_limit(ring: Subject, make_wire: Callable[..., Wire], kind: Kind) -> None:
    """RECV once, with optlen: -EINVAL, and nothing is used. io_recvmsg_prep()"""
    shelf, wire = Shelf(ring, {5: 8}, kind=kind), make_wire()
    wire.feed(incoming(0, 8))
    shelf.queue(c.IORING_OP_RECV, wire.near).optlen = 16

    assert shelf.to_the_end() == [Reply(res=-errno.EINVAL)]
    assert (wire.unread(), shelf.left()) == (8, [(5, 8)])
