"""Many requests of one group at once: submitters, io-wq's workers, and those whose data wakes a request."""

from __future__ import annotations

import errno
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from ctypes import c_uint64, memmove, memset, sizeof
from itertools import pairwise

import pytest

from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind
from ringrig.uring import consts as c
from ringrig.uring.group import Group, bids, legacy, remove_legacy
from ringrig.uring.requests import selecting
from ringrig.uring.ring import Cqe
from ringrig.uring.structs import io_uring_buf_status
from ringrig.uring.syscalls import run, table
from ringrig.uring.walks import INSTANTS, Call, Walks, enter, on_one_processor, read, register, write

pytestmark = pytest.mark.ends_within(5)

COUNT, READS = 64, 4 * max(INSTANTS, 256)
Scatter = Callable[[Sequence[Call]], list[Call]]


class Reads:
    """COUNT READs of 8 bytes in the SQ, and as many buffers in group 700, of memory that processes share.

    By the dice each is of /dev/zero, of a pipe that holds its number, or of one that gets it from a waker;
    and goes the submitter's way or io-wq's.
    """

    def __init__(self, subject: Subject, dice: random.Random, kind: Kind) -> None:
        self.ring, self.kind = subject.ring, kind
        self.group = Group(self.ring, subject.arena, bgid=700, entries=COUNT, size=8)
        self.group.data = subject.arena.anon(8 * COUNT, shared=True)
        if kind is Kind.RING:
            assert self.group.register() == 0
            subject.owns(700)
            self.group.publish(*dice.sample(range(COUNT), COUNT))
        else:
            assert legacy(self.ring, bgid=700, addr=self.group.data, size=8, count=COUNT) == 0
        numbers = subject.arena.anon(8 * COUNT)
        self.wanted = [bytes(8)] * COUNT
        self.wakes: list[Call] = []
        for number in range(COUNT):
            fd = self.group.zero()
            if source := dice.choice(("", "fed", "woken")):
                fd, writer = (subject.arena.own(end) for end in os.pipe2(os.O_NONBLOCK))
                self.wanted[number] = held = (number + 1).to_bytes(8, "little")
                memmove(at := numbers + 8 * number, held, 8)
                if source == "fed":
                    assert os.write(writer, held) == 8
                else:
                    self.wakes.append(write(writer, at, 8))
            sqe = selecting(self.ring, c.IORING_OP_READ, fd, bgid=700, length=8)
            sqe.user_data = number
            sqe.flags |= c.IOSQE_ASYNC * dice.randrange(2)
        dice.shuffle(self.wakes)
        assert self.ring.show() == COUNT

    def check(self, found: list[Cqe]) -> None:
        """Each request once, with its own bytes; each buffer once; none is left."""
        assert sorted(cqe.user_data for cqe in found) == list(range(COUNT))
        assert [cqe for cqe in found if cqe.res != 8] == []
        assert sorted(cqe.bid for cqe in found if cqe.bid is not None) == list(range(COUNT))
        got = {cqe.user_data: self.group.content(cqe.bid or 0, 8) for cqe in found}
        assert got == dict(enumerate(self.wanted))
        if self.kind is Kind.RING:
            assert self.group.head() in {COUNT, -errno.EINVAL}  # EINVAL: no PBUF_STATUS before 6.8
        else:
            assert remove_legacy(self.ring, bgid=700, count=COUNT) == 0
        assert self.group.read(length=1).res == -errno.ENOBUFS


@pytest.mark.parametrize("processes", [False, True], ids=["threads", "processes"])
@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_each_buffer_goes_to_one_request(
    make_ring: Callable[..., Subject], dice: random.Random, scattered: Scatter, kind: Kind, processes: bool
) -> None:
    """64 READs, submitted one by one by three tasks while a fourth feeds pipes: 64 bids, each with its own bytes.

    What looks at a group, takes from it or moves its head holds uring_lock: io_buffer_select(), io_put_kbuf();
    the review's first remark.
    """
    subject = make_ring(entries=COUNT)
    reads = Reads(subject, dice, kind)
    fd = subject.ring.fd
    submitters = [scattered([enter(fd)] * share) for share in (20, 22, 22)]

    with Walks(*submitters, scattered(reads.wakes), processes=processes) as walks:
        walks.go()
        results = walks.results()
        found = subject.ring.complete(COUNT)

    assert [set(some) for some in results] == [{1}] * 3 + [{8}]
    reads.check(found)


class Flow:
    """READs of 8 bytes of /dev/zero from group 700, whose buffers are published by system calls of a walk.

    A read() of a pipe that holds the tails stores one after the other into the ring. (All below 256: one byte changes.)
    """

    def __init__(self, subject: Subject, dice: random.Random, *, flags: int = 0, size: int = 8) -> None:
        self.ring = subject.ring
        self.group = Group(self.ring, subject.arena, bgid=700, entries=COUNT, size=size, flags=flags)
        assert self.group.register() == 0
        subject.owns(700)
        self.order = dice.sample(range(COUNT), COUNT)
        for slot, bid in enumerate(self.order):
            self.group.memory.write(slot, self.group.address_of(bid), size, bid)

    def queue(self, count: int, dice: random.Random) -> None:
        """So many READs, by submitter or io-wq."""
        for _ in range(count):
            self.group.queue_read(length=8, flags=c.IOSQE_ASYNC * dice.randrange(2))
        assert self.ring.show() == count

    def publishing(self, subject: Subject) -> list[Call]:
        """Calls that publish all buffers, one each."""
        reader, writer = (subject.arena.own(end) for end in os.pipe2(os.O_NONBLOCK))
        layout = self.group.memory.layout
        width = sizeof(layout.producer)
        tails = b"".join(tail.to_bytes(width, "little") for tail in range(1, COUNT + 1))
        assert os.write(writer, tails) == len(tails)
        return [read(reader, self.group.memory.addr + layout.producer_at, width)] * COUNT


def test_what_is_published_meanwhile_is_found_or_not(
    make_ring: Callable[..., Subject], dice: random.Random, scattered: Scatter
) -> None:
    """96 READs by two tasks while a third publishes 64 buffers: the first so many of them, once each, or -ENOBUFS.

    The tail is loaded with acquire, an entry after it: io_ring_buffer_select().
    """
    subject = make_ring(entries=128)
    flow = Flow(subject, dice)
    flow.queue(96, dice)
    submitters = [scattered([enter(subject.ring.fd)] * 48) for _ in range(2)]

    with Walks(*submitters, scattered(flow.publishing(subject))) as walks:
        walks.go()
        walks.results()
        found = subject.ring.complete(96)

    got = [cqe.bid for cqe in found if cqe.bid is not None]
    assert {(cqe.res, cqe.bid is None) for cqe in found} <= {(8, False), (-errno.ENOBUFS, True)}
    assert sorted(got) == sorted(flow.order[: len(got)])
    rest = flow.order[len(got) :]
    assert bids(flow.group.read(length=1) for _ in rest) == rest
    assert flow.group.read(length=1).res == -errno.ENOBUFS


def test_workers_are_interrupted_anywhere(make_ring: Callable[..., Subject], interrupting: Scatter) -> None:
    """io-wq's workers READ a byte each, and an urgent task does, on their processor, each time a timer goes off: each has its buffer.

    Who is not under uring_lock as it is issued takes it for the whole of a selection. io_buffer_select()
    """
    count = 1 << (2 * INSTANTS - 1).bit_length()
    ring, arena = (subject := make_ring(entries=count)).ring, subject.arena
    group = Group(ring, arena, bgid=700, entries=count, size=1)
    assert group.register() == 0
    subject.owns(700)
    group.publish(*range(count))
    for number in range(count):
        group.queue_read(length=1, flags=0 if number >= count - INSTANTS else c.IOSQE_ASYNC)
    assert ring.show() == count
    here = min(os.sched_getaffinity(0))

    with on_one_processor(), Walks(interrupting([enter(ring.fd)] * INSTANTS)) as walks:
        assert ring.register(c.IORING_REGISTER_IOWQ_AFF, c_uint64(1 << here), 8) == 0
        run(submitted := table(enter(ring.fd, count - INSTANTS)))
        walks.go()
        [(allowed, *entered)] = walks.results()
        found = ring.complete(count)

    assert allowed in {0, -errno.EPERM}
    assert (submitted[0].result, set(entered[1::2])) == (count - INSTANTS, {1})
    assert {cqe.res for cqe in found} == {1}
    assert sorted(cqe.bid for cqe in found if cqe.bid is not None) == list(range(count))


@pytest.mark.needs("inc")
def test_pieces_of_a_buffer_go_to_one_request(
    make_ring: Callable[..., Subject], dice: random.Random, scattered: Scatter
) -> None:
    """64 READs of 8 bytes from incremental buffers of 32, by two tasks and io-wq: four each, the last without F_BUF_MORE.

    io_kbuf_inc_commit() writes the entry back under uring_lock.
    """
    subject = make_ring(entries=COUNT)
    flow = Flow(subject, dice, flags=c.IOU_PBUF_RING_INC, size=32)
    flow.group.memory.producer = COUNT
    flow.queue(COUNT, dice)
    submitters = [scattered([enter(subject.ring.fd)] * 32) for _ in range(2)]

    with Walks(*submitters) as walks:
        walks.go()
        walks.results()
        found = subject.ring.complete(COUNT)

    used, untouched = flow.order[:16], flow.order[16:]
    partly = [cqe.bid for cqe in found if cqe.flags & c.IORING_CQE_F_BUF_MORE]
    assert {cqe.res for cqe in found} == {8}
    assert Counter(cqe.bid for cqe in found) == dict.fromkeys(used, 4)
    assert Counter(partly) == dict.fromkeys(used, 3)
    assert flow.group.head() == 16
    assert [flow.group.entry(slot)[1:] for slot in range(COUNT)] == [
        *((0, bid) for bid in used),
        *((32, bid) for bid in untouched),
    ]


@pytest.mark.needs("status")
def test_the_head_only_moves_on(
    make_ring: Callable[..., Subject], dice: random.Random, scattered: Scatter
) -> None:
    """Heads asked for by two tasks while two others consume: never less than before, and in the end all. io_register_pbuf_status()"""
    subject = make_ring(entries=COUNT)
    flow = Flow(subject, dice)
    flow.group.memory.producer = COUNT
    flow.queue(COUNT, dice)
    fd = subject.ring.fd
    asked = [[io_uring_buf_status(buf_group=700) for _ in range(48)] for _ in range(2)]
    asking = [scattered([register(fd, c.IORING_REGISTER_PBUF_STATUS, one) for one in some]) for some in asked]
    submitters = [scattered([enter(fd)] * 32) for _ in range(2)]

    with Walks(*submitters, *asking) as walks:
        walks.go()
        results = walks.results()
        subject.ring.complete(COUNT)

    assert [set(some) for some in results[2:]] == [{0}] * 2
    heads = [[one.head for one in some] for some in asked]
    assert heads == [sorted(some) for some in heads]
    assert max(max(some) for some in heads) <= COUNT
    assert flow.group.head() == COUNT


class Slot:
    """READS READs of 8 bytes, shown, from one slot of 64; `lengths(n)` are calls that set its length to 4 and to 64, n times in all."""

    def __init__(self, subject: Subject) -> None:
        self.ring, self._arena = subject.ring, subject.arena
        self.group = Group(self.ring, subject.arena, bgid=700, entries=1)
        assert self.group.register() == 0
        subject.owns(700)
        memset(self.group.data, 0xA5, 64)
        self.group.publish(700)
        self.group.memory.producer = READS
        one = selecting(self.ring, c.IORING_OP_READ, self.group.zero(), bgid=700, length=8)
        self.ring.fill(one, READS - 1)
        assert self.ring.show() == READS

    def lengths(self, count: int) -> list[Call]:
        at = self.group.memory.address_of(0) + self.group.memory.layout.entry.len.offset
        reader, writer = (self._arena.own(end) for end in os.pipe2(os.O_NONBLOCK))
        assert os.write(writer, bytes((4, 64)) * (count // 2)) == count
        return [read(reader, at, 1)] * count

    def check(self) -> None:
        """What was found too long was cut to what it was compared with: never more than was asked for."""
        found = self.ring.complete(READS)
        assert {cqe.bid for cqe in found} == {700}
        assert {cqe.res for cqe in found} <= {4, 8}
        assert self.group.content(0, 64)[8:] == b"\xa5" * 56


def test_a_length_that_changes_is_read_once(make_ring: Callable[..., Subject], die: random.Random) -> None:
    """A thousand READs of 8 bytes from one slot, whose length another task sets to 4 and to 64 in turn: 4 bytes or 8, never more.

    io_ring_buffer_select(), READ_ONCE(buf->len). Fixed by 98b6fa62c84f (CVE-2025-39816; 6.12.49).
    """
    slot = Slot(make_ring(entries=READS))
    shares = [b - a for a, b in pairwise(sorted([0, *die.sample(range(1, READS), 15), READS]))]

    with Walks(slot.lengths(8192), [enter(slot.ring.fd, share) for share in shares]) as walks:
        walks.go()
        changed, entered = walks.results()
        slot.check()

    assert (set(changed), entered) == ({1}, shares)


def test_a_length_that_changes_at_any_instant_is_read_once(
    make_ring: Callable[..., Subject], interrupting: Scatter
) -> None:
    """The same, and the length changes each time a timer goes off: in a preemptible kernel between any two instructions.

    Fixed by 98b6fa62c84f (CVE-2025-39816; 6.12.49).
    """
    slot = Slot(make_ring(entries=READS))
    changes = interrupting(slot.lengths(INSTANTS))

    with on_one_processor(), Walks(changes, [enter(slot.ring.fd, 4)] * (READS // 4)) as walks:
        walks.go()
        (allowed, *changed), entered = walks.results()
        slot.check()

    assert allowed in {0, -errno.EPERM}
    assert set(changed) == {0, 1}
    assert set(entered) == {4}
