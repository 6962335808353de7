"""When a buffer is gone: while a request waits, what is the next one to be had?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ringrig.model.course import expect
from ringrig.model.profiles import Profile
from ringrig.model.scene import Scene
from ringrig.model.shelf import Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Buffer, Issue, Kind, Op, Reply, Stock, Then, Transfer, incoming
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.group import bids
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(3)

BUFFERS = tuple(Buffer(bid=bid) for bid in (11, 4, 0xFFFE))
OPS = [
    *(pytest.param(op, id=op.value) for op in (Op.READ, Op.READV, Op.RECV, Op.RECVMSG)),
]


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("issue", Issue, ids=lambda issue: issue.value)
@pytest.mark.parametrize("op", OPS)
def test_what_a_waiting_request_has_is_not_handed_out(
    make_scene: Callable[[Stock | None], Scene], profile: Profile, op: Op, issue: Issue, kind: Kind
) -> None:
    """A request waits; another takes a buffer; data comes for the first: two bids, none of them twice.

    Waiting for poll under the lock holds nothing of a ring (the head has not moved); issued by io-wq it has
    its buffer at once. What waits has what a cancel would report. io_ring_buffer_select(), io_kbuf_recycle().
    Fixed by "kbuf: recycle on task work requeue" (5.19.9).
    """
    stock = Stock(kind=kind, buffers=BUFFERS)
    call = Transfer(op=op, issue=issue, length=64)
    held = len(expect(replace(call, then=(Then.CANCEL,)), stock, profile.traits).left) < len(BUFFERS)
    scene = make_scene(stock)

    far = scene.begin(call)
    head = scene.head()
    other = scene.next_bid()
    replies = scene.end(far, 20)

    first, second = (11, 4) if held else (4, 11)
    assert head in (None, int(held))
    assert (other, [(reply.res, reply.bid) for reply in replies]) == (second, [(20, first)])
    assert scene.left() == (0xFFFE,)


@pytest.mark.slow
def test_a_hundred_that_wait_one_after_the_other(
    ring: Subject, make_wire: Callable[..., Wire], profile: Profile
) -> None:
    """130 times a RECV that has to wait, and then a byte: none holds a buffer while it waits.

    After APOLL_MAX_RETRY (128) times it would go to io-wq, which takes one; what a ring keeps of a request for the next
    begins anew. io_req_alloc_apoll()
    """
    if "pbuf_status" not in profile.traits:
        pytest.skip("needs IORING_REGISTER_PBUF_STATUS: nothing else shows a head and leaves it")
    shelf, wire = Shelf(ring, dict.fromkeys(range(200, 330), 1)), make_wire()
    for number in range(130):
        shelf.queue(c.IORING_OP_RECV, wire.near)
        assert shelf.ring.submit() == 1
        assert shelf.head() == number
        wire.send(b"x")
        assert [reply.bid for reply in shelf.to_the_end()] == [200 + number]


@pytest.mark.parametrize("op", [c.IORING_OP_READ, c.IORING_OP_RECV], ids=["read", "recv"])
def test_what_is_linked_runs_in_a_worker_too(
    ring: Subject, make_wire: Callable[..., Wire], profile: Profile, op: int
) -> None:
    """A NOP, and linked behind it IOSQE_ASYNC: it waits in io-wq with its buffer, so another request gets the next one.

    io_req_task_submit(): REQ_F_FORCE_ASYNC; 6.1 issues it as if it had no such flag
    """
    shelf, wire = Shelf(ring, {11: 64, 4: 64, 0xFFFE: 64}), make_wire()
    ring.ring.sqe().flags = c.IOSQE_IO_LINK
    shelf.queue(op, wire.near, length=64, flags=c.IOSQE_ASYNC)
    assert ring.ring.submit() == 2
    assert settled(lambda: ring.ring.armed(op), 1) == 1
    first = ring.ring.cqes()
    other = shelf.group.read(length=1)
    wire.send(incoming(0, 20))
    found = shelf.to_the_end()

    assert [(cqe.user_data, cqe.res) for cqe in first] == [(0, 0)]
    own, next_one = (4, 11) if "linked_async_inline" in profile.traits else (11, 4)
    assert (other.res, other.bid) == (1, next_one)
    assert found == [Reply(res=20, bid=own)]
    assert shelf.written() == {own: incoming(0, 20), next_one: bytes(1)}
    assert bids([shelf.group.read(length=1)]) == [0xFFFE]
