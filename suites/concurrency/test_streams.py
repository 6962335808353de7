"""Streams whose bytes go through the buffers of one group, while others send, publish or give back."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Callable, Sequence
from ctypes import memmove
from itertools import pairwise

import pytest

from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, incoming
from ringrig.uring import consts as c
from ringrig.uring.group import Group, legacy
from ringrig.uring.requests import selecting
from ringrig.uring.walks import Call, Walks, enter, write

pytestmark = pytest.mark.ends_within(5)

BGID, SIZE = 700, 32
Scatter = Callable[[Sequence[Call]], list[Call]]


def _pair(subject: Subject) -> tuple[int, int]:
    """Connected stream sockets, of which only the first does not block."""
    near, far = socket.socketpair()
    near.setblocking(False)
    return subject.arena.own(near.detach()), subject.arena.own(far.detach())


class Pool:
    """Eight buffers of SIZE bytes that go back to their group once they are read."""

    def __init__(self, subject: Subject, kind: Kind) -> None:
        self.ring, self.kind = subject.ring, kind
        self.group = Group(self.ring, subject.arena, bgid=BGID, entries=8, size=SIZE)
        if kind is Kind.RING:
            assert self.group.register() == 0
            subject.owns(BGID)
        for bid in range(8):
            self.give_back(bid)

    def give_back(self, bid: int) -> None:
        """Publish or provide it; a completion of PROVIDE_BUFFERS only comes if it fails."""
        if self.kind is Kind.RING:
            self.group.publish(bid)
            return
        sqe = self.ring.sqe()
        sqe.opcode, sqe.fd, sqe.buf_group, sqe.off = c.IORING_OP_PROVIDE_BUFFERS, 1, BGID, bid
        sqe.addr, sqe.len, sqe.flags = self.group.address_of(bid), SIZE, c.IOSQE_CQE_SKIP_SUCCESS
        sqe.user_data = 99


@pytest.mark.slow
@pytest.mark.needs("recv_multishot")
@pytest.mark.parametrize("processes", [False, True], ids=["threads", "processes"])
@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_every_byte_arrives_once(
    make_ring: Callable[..., Subject], dice: random.Random, scattered: Scatter, kind: Kind, processes: bool
) -> None:
    """Four multishot receives share eight buffers that are given back as they come, while four tasks send 600 bytes each.

    Each stream's bytes come in their order, whole; a buffer that is out does not come again before it is given back.
    io_ring_buffer_select() to io_kbuf_commit() without giving up uring_lock
    """
    subject = make_ring(entries=32)
    pool, ring = Pool(subject, kind), subject.ring
    pairs = [_pair(subject) for _ in range(4)]
    stream = subject.arena.anon(600)
    memmove(stream, incoming(0, 600), 600)
    senders = []
    for _, far in pairs:
        cuts = sorted([0, *dice.sample(range(1, 600), 11), 600])
        senders.append(scattered([write(far, stream + a, b - a) for a, b in pairwise(cuts)]))

    def arm(number: int) -> None:
        sqe = selecting(ring, c.IORING_OP_RECV, pairs[number][0], bgid=BGID)
        sqe.ioprio, sqe.user_data = c.IORING_RECV_MULTISHOT, number

    got = [b""] * 4
    for number in range(4):
        arm(number)
    assert ring.submit() >= 4
    with Walks(*senders, processes=processes) as walks:
        walks.go()
        while sum(map(len, got)) < 2400:
            for cqe in ring.complete():
                assert cqe.res in {*range(1, SIZE + 1), -errno.ENOBUFS}, cqe
                if cqe.bid is not None:
                    got[cqe.user_data] += pool.group.content(cqe.bid, cqe.res)
                    memmove(pool.group.address_of(cqe.bid), b"\xa5" * SIZE, SIZE)
                    pool.give_back(cqe.bid)
                if not cqe.flags & c.IORING_CQE_F_MORE:
                    arm(cqe.user_data)
        walks.results()

    assert got == [incoming(0, 600)] * 4


@pytest.mark.needs("send_select")
@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_every_buffer_is_sent_once(
    make_ring: Callable[..., Subject], dice: random.Random, scattered: Scatter, kind: Kind
) -> None:
    """48 SENDs of a buffer of 8 bytes each, by two tasks and io-wq: 48 messages, each once, and as many bids.

    io_buffers_select() takes and commits under uring_lock.
    """
    subject = make_ring(entries=64)
    ring = subject.ring
    group = Group(ring, subject.arena, bgid=BGID, entries=64, size=8)
    numbers = [number.to_bytes(8, "little") for number in range(48)]
    memmove(group.data, b"".join(numbers), 8 * 48)
    if kind is Kind.RING:
        assert group.register() == 0
        subject.owns(BGID)
        group.publish(*dice.sample(range(48), 48))
    else:
        assert legacy(ring, bgid=BGID, addr=group.data, size=8, count=48) == 0
    near, far = _pair(subject)
    for _ in range(48):
        selecting(ring, c.IORING_OP_SEND, near, bgid=BGID).flags |= c.IOSQE_ASYNC * dice.randrange(2)
    assert ring.show() == 48

    with Walks(*(scattered([enter(ring.fd)] * 24) for _ in range(2))) as walks:
        walks.go()
        walks.results()
        found = ring.complete(48)

    assert {cqe.res for cqe in found} == {8}
    assert sorted(cqe.bid for cqe in found if cqe.bid is not None) == list(range(48))
    with socket.socket(fileno=far) as end:
        sent = end.recv(4096)
        end.detach()
    assert sorted(sent[at : at + 8] for at in range(0, len(sent), 8)) == sorted(numbers)
