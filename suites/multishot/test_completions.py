"""In which order completions come where a request has several: none overtakes another, and what waits for a request waits for all."""

from __future__ import annotations

import errno
from collections.abc import Callable
from itertools import groupby

import pytest

from ringrig.model.profiles import Profile
from ringrig.model.shelf import Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import RECVMSG_HEADER, Kind, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("recv_multishot"), pytest.mark.ends_within(3)]

each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
_MULTISHOT = c.IORING_RECV_MULTISHOT
_BEHIND = 77
each_opcode = pytest.mark.parametrize(
    "opcode", [c.IORING_OP_RECV, c.IORING_OP_RECVMSG], ids=["recv", "recvmsg"]
)


@each_kind
def test_a_multishot_does_not_overtake(ring: Subject, make_wire: Callable[..., Wire], kind: Kind) -> None:
    """A RECV of 16 bytes and a multishot in one submission, both of one socket with 32 bytes: completions in the buffers' order.

    The first one's waits to be posted with others of its submission, the multishot's is posted at once. io_req_post_cqe().
    Fixed by "io_uring: ensure deferred completions are flushed for multishot". Live in 6.1.192.
    """
    shelf, wire = Shelf(ring, {5: 16, 2: 16, 9: 16}, kind=kind), make_wire()
    wire.feed(incoming(0, 32))
    shelf.queue(c.IORING_OP_RECV, wire.near)
    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=_MULTISHOT)

    replies = [Reply.of(cqe.res, cqe.flags) for cqe in ring.ring.complete(2)]

    assert [(reply.res, reply.bid, reply.more) for reply in replies] == [(16, 5, False), (16, 2, True)]
    assert [(reply.res, reply.bid) for reply in shelf.cancelled()] == [(-errno.ECANCELED, None)]


@each_kind
@pytest.mark.parametrize("rounds", [0, 1, 2, 3])
def test_what_drains_waits_for_its_end(
    ring: Subject, make_wire: Callable[..., Wire], rounds: int, kind: Kind
) -> None:
    """A multishot has had some rounds; a NOP with IOSQE_IO_DRAIN waits behind it, through another round, to the end of the stream.

    Each completion with F_MORE belongs to no SQE of its own: cq_extra in io_fill_cqe_aux(), req_need_defer()
    """
    bids = (5, 2, 9, 7, 1)
    shelf, wire = Shelf(ring, dict.fromkeys(bids, 16), kind=kind), make_wire()
    shelf.queue(c.IORING_OP_RECV, wire.near, ioprio=_MULTISHOT)
    assert ring.ring.submit() == 1
    for at in range(rounds):
        wire.send(incoming(16 * at, 16))
        assert [reply.bid for reply in shelf.some(1)] == [bids[at]]

    behind = ring.ring.sqe()
    behind.flags, behind.user_data = c.IOSQE_IO_DRAIN, _BEHIND
    assert ring.ring.submit() == 1
    assert ring.ring.cqes() == []
    wire.send(incoming(16 * rounds, 16))
    assert [reply.bid for reply in shelf.some(1)] == [bids[rounds]]
    wire.end()
    last, drained = ring.ring.complete(2)

    assert (last.res, last.flags & c.IORING_CQE_F_MORE) == (0, 0)
    assert (drained.user_data, drained.res) == (_BEHIND, 0)


@each_kind
@each_opcode
def test_two_take_turns(
    make_ring: Callable[..., Subject],
    make_wire: Callable[..., Wire],
    profile: Profile,
    opcode: int,
    kind: Kind,
) -> None:
    """Two multishots in one submission, 50 bytes for buffers of one byte there for each: the first has 33 rounds, then the
    second 33, then the first has its rest. Before there was a limit: all of the first, then all of the second.

    io_recv_finish(): MULTISHOT_MAX_RETRY; no byte is lost or told twice
    """
    ring = make_ring(entries=64)
    size = 1 if opcode == c.IORING_OP_RECV else 1 + RECVMSG_HEADER.size
    shelf = Shelf(ring, dict.fromkeys(range(200, 302), size), kind=kind)
    for user_data in (1, 2):
        wire = make_wire()
        wire.feed(incoming(0, 50))
        shelf.queue(opcode, wire.near, ioprio=_MULTISHOT).user_data = user_data

    found = ring.ring.complete(100)

    assert [(cqe.res, cqe.bid) for cqe in found] == [(size, bid) for bid in range(200, 300)]
    turns = [(user_data, len(list(run))) for user_data, run in groupby(cqe.user_data for cqe in found)]
    if "multishot_unlimited" in profile.traits:
        assert turns == [(1, 50), (2, 50)]
    else:
        assert turns == [(1, 33), (2, 33), (1, 17), (2, 17)]
    for user_data in (1, 2):
        bids = [cqe.bid for cqe in found if cqe.user_data == user_data]
        assert b"".join(shelf.written()[bid][-1:] for bid in bids) == incoming(0, 50)


@each_kind
def test_a_new_completion_comes_behind_those_that_overflowed(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire], kind: Kind
) -> None:
    """A CQ of 4, six RECVs, and a seventh when the four were taken off: the two that found no room come before it.

    io_cqe_cache_refill() takes no room while others wait for it.
    """
    ring = make_ring(entries=2, cq_entries=4)
    bids = (5, 2, 9, 7, 1, 3, 8)
    shelf, wire = Shelf(ring, dict.fromkeys(bids, 8), kind=kind), make_wire()
    wire.feed(incoming(0, 56))
    for _ in range(3):
        shelf.queue(c.IORING_OP_RECV, wire.near)
        shelf.queue(c.IORING_OP_RECV, wire.near)
        assert ring.ring.submit() == 2
    found = ring.ring.cqes()
    assert len(found) == 4
    shelf.queue(c.IORING_OP_RECV, wire.near)

    found += ring.ring.complete(3)

    assert [(cqe.res, cqe.bid) for cqe in found] == [(8, bid) for bid in bids]
