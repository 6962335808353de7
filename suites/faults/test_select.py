"""Requests that select a buffer, when an allocation or a user copy of their submission fails."""

from __future__ import annotations

import ctypes
import errno
import socket
from collections.abc import Callable

import pytest

from ringrig.model.course import expect
from ringrig.model.profiles import Profile
from ringrig.model.scene import Afterwards, Scene
from ringrig.model.spec import name_of
from ringrig.model.subject import Subject
from ringrig.model.transfer import Buffer, Kind, Op, Result, Stock, Transfer
from ringrig.uring import consts as c
from ringrig.uring.bufring import explain
from ringrig.uring.faults import Fault, FaultyRing
from ringrig.uring.faults import Kind as Failing
from ringrig.uring.group import Group, Pipe, legacy
from ringrig.uring.requests import selecting
from ringrig.uring.ring import Ring

pytestmark = [pytest.mark.needs("faults"), pytest.mark.crashes]

Walk = Callable[..., None]
HandedOut = Callable[[Ring, int], list[int]]
BUFFERS = tuple(Buffer(bid=bid) for bid in (9, 0, 0x8000))
COPIES = {Failing.USERCOPY}


def _case(name: str, call: Transfer, *needs: str, must: set[Failing]) -> object:
    return pytest.param(call, must, id=name, marks=[pytest.mark.needs(*needs)] if needs else [])


CALLS = [
    _case("read", Transfer(op=Op.READ, ready=40, length=64), must=COPIES),
    _case("readv", Transfer(op=Op.READV, ready=40, length=64), must=COPIES),
    _case("recv", Transfer(op=Op.RECV, ready=40, length=64), must=COPIES),
    _case("recvmsg", Transfer(op=Op.RECVMSG, ready=40, length=64), must=COPIES),
    _case("send", Transfer(op=Op.SEND, length=64), "send_select", must={Failing.SLAB, Failing.USERCOPY}),
    _case(
        "read_multishot",
        Transfer(op=Op.READ_MULTISHOT, ready=300),
        "read_multishot",
        must=COPIES,
    ),
    _case(
        "recv_multishot",
        Transfer(op=Op.RECV_MULTISHOT, ready=300),
        "recv_multishot",
        must=COPIES,
    ),
    _case(
        "recvmsg_multishot",
        Transfer(op=Op.RECVMSG_MULTISHOT, ready=300),
        "recv_multishot",
        must=COPIES,
    ),
]


UNARMED = {-errno.EAGAIN, -errno.ECANCELED}
"""Of a request that could not be armed for poll: io-wq finds nothing and may not wait (io_wq_submit_work()), or no
worker can be made for it (io_wq_enqueue()).
"""
NO_SKB = {-errno.ENOBUFS}
"""What alloc_skb_with_frags() (net/core/skbuff.c) makes of memory that a SEND cannot have."""


def _allowed(ring: FaultyRing, *, sends: bool = False, polls: bool = False) -> set[int]:
    """The errnos that what was met excuses; `polls`: the request comes to wait for data."""
    starved = -errno.ENOMEM in ring.excused
    return (
        set(ring.excused)
        | (UNARMED if starved and polls else set())
        | (NO_SKB if starved and sends else set())
    )


def _check(result: Result, good: Result, bids: tuple[int, ...], allowed: set[int]) -> None:
    """As without a fault; or an error it excuses, and a buffer is reported if and only if it is gone."""
    if result == good:
        return
    assert allowed, f"without a fault: {good.against(result)}"
    errors = {reply.res for reply in result.replies if reply.res < 0} - {reply.res for reply in good.replies}
    assert errors <= allowed, f"the request says {', '.join(map(name_of, errors))}"
    told = tuple(reply.bid for reply in result.replies if reply.bid is not None)
    assert (*told, *result.left) == bids, f"{result.replies} leave {result.left} of {bids}"
    assert result.head in {None, len(told)}
    assert not result.stray


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize(("call", "must"), CALLS)
def test_a_buffer_is_reported_or_stays(
    walk: Walk, profile: Profile, call: Transfer, must: set[Failing], kind: Kind
) -> None:
    """A request whose submission meets a fault: it is answered, and no buffer is lost or handed out twice.

    io_put_kbuf(), io_kbuf_recycle()
    """
    stock = Stock(kind=kind, buffers=BUFFERS)
    good = expect(call, stock, profile.traits)

    def transfer(subject: Subject, ring: FaultyRing, fault: Fault) -> None:
        scene = Scene(subject, stock, profile.traits)
        ring.arm(fault)

        result = scene.run(call)

        _check(
            result,
            good,
            tuple(buffer.bid for buffer in stock.buffers),
            _allowed(ring, sends=call.op is Op.SEND, polls=call.op is Op.READ_MULTISHOT),
        )
        assert scene.afterwards() == Afterwards()

    walk(transfer, must)


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("opcode", [c.IORING_OP_READ, c.IORING_OP_RECV], ids=["read", "recv"])
def test_a_request_that_waits(walk: Walk, handed_out: HandedOut, opcode: int, kind: Kind) -> None:
    """A request that finds nothing and cannot be armed for poll goes to io-wq, and its buffer is accounted for.

    io_arm_poll_handler(). In io-wq it may wait as well.
    """

    def wait(subject: Subject, ring: FaultyRing, fault: Fault) -> None:
        group = Group(ring, subject.arena)
        ctypes.memset(group.data, 1, 64 * 3)
        if kind is Kind.RING:
            assert group.register() == 0
            subject.owns(group.bgid)
            group.publish(0, 1, 2)
        else:
            assert legacy(ring, bgid=group.bgid, addr=group.data, count=3) == 0
        pipe, (ours, theirs) = Pipe(subject.arena), socket.socketpair()
        with ours, theirs:
            selecting(
                ring, opcode, pipe.reader if opcode == c.IORING_OP_READ else ours.fileno(), bgid=group.bgid
            )
            ring.arm(fault)

            assert ring.submit() == 1
            pipe.feed(b"data")
            theirs.send(b"data")
            cqe = ring.complete()[0]

        assert cqe.res in {4, *_allowed(ring, polls=True)}, f"the request says {explain(cqe.res)}"
        assert cqe.bid == 0 if cqe.res == 4 else cqe.bid in {0, None}
        left = [bid for bid in (0, 1, 2) if bid != cqe.bid]
        assert handed_out(ring, group.bgid) == left, f"{explain(cqe.res)}, bid {cqe.bid}"

    walk(wait, {Failing.SLAB})


@pytest.mark.needs("bundle")
@pytest.mark.parametrize("opcode", [c.IORING_OP_RECV, c.IORING_OP_SEND], ids=["recv", "send"])
def test_a_bundle_commits_what_it_reports(walk: Walk, handed_out: HandedOut, opcode: int) -> None:
    """A bundle over three buffers meets a fault: the head moves by as many as it reports, or not at all.

    io_ring_buffers_peek() allocates a longer iovec. A SEND has taken all it could use before it fails
    (io_buffers_select()). Fixed by cd053d788c3f (7.3.4).
    """

    def bundle(subject: Subject, ring: FaultyRing, fault: Fault) -> None:
        group = Group(ring, subject.arena)
        assert group.register() == 0
        subject.owns(group.bgid)
        ctypes.memset(group.data, 1, 64 * 3)  # no page of it is missing
        group.publish(0, 1, 2)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.send(bytes(192))
            length = 192 * (opcode == c.IORING_OP_RECV)
            sqe = selecting(ring, opcode, ours.fileno(), bgid=group.bgid, length=length)
            sqe.ioprio, sqe.msg_flags = c.IORING_RECVSEND_BUNDLE, socket.MSG_DONTWAIT
            ring.arm(fault)

            cqe = ring.complete()[0]

        allowed = _allowed(ring, sends=opcode == c.IORING_OP_SEND)
        assert cqe.res in {192, *allowed} or (ring.hit and 0 < cqe.res < 192), explain(cqe.res)
        used = 0 if cqe.bid is None else 3 if opcode == c.IORING_OP_SEND else -(-cqe.res // 64)
        assert group.head() == used, f"{explain(cqe.res)}, bid {cqe.bid}: the head is {group.head()}"
        assert cqe.bid in {0, None}
        assert handed_out(ring, group.bgid) == list(range(used, 3))

    walk(bundle, {Failing.SLAB, Failing.USERCOPY})
