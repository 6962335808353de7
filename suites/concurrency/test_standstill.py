"""A request stands still in the middle of its copy (userfault.py), and others do what they like: no chance in it.

One that its submitter runs holds uring_lock, and its buffer may not be committed yet; one of io-wq's holds nothing
but the buffer. Whether the others wait for it or not is the kernel's affair; what comes of it is not.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from ctypes import string_at
from pathlib import Path

import pytest

from ringrig.model.profiles import Profile
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, incoming
from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.counters import PinWatch, settled
from ringrig.uring.group import Group, Pipe, legacy, remove_legacy
from ringrig.uring.requests import Vector, selecting
from ringrig.uring.structs import io_uring_buf_reg
from ringrig.uring.syscalls import NR_MMAP
from ringrig.uring.userfault import FaultingPage
from ringrig.uring.walks import Call, Walks, enter, give_up, take
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(5)

BGID, BID = 700, 6
ISSUES = {"locked": 0, "io_wq": c.IOSQE_ASYNC}
OPS = {
    "read": c.IORING_OP_READ,
    "readv": c.IORING_OP_READV,
    "recv": c.IORING_OP_RECV,
    "recvmsg": c.IORING_OP_RECVMSG,
}
each_issue = pytest.mark.parametrize("issue", ISSUES.values(), ids=ISSUES)
each_op = pytest.mark.parametrize("opcode", OPS.values(), ids=OPS)


def waiting(tids: Iterable[int]) -> bool:
    """Does one of these threads wait for a lock? One that was seen to may just have met a page fault instead."""
    for tid in tids:
        with suppress(OSError):  # it has just ended
            if Path(f"/proc/self/task/{tid}/stat").read_text().rpartition(")")[2].split()[0] == "D":
                return True
    return False


def tasks() -> list[int]:
    """All threads of this process, io-wq's among them."""
    return [int(task.name) for task in Path("/proc/self/task").iterdir()]


class Standing:
    """A request whose buffer, the first of group BGID, lies in a page that is not there."""

    def __init__(self, subject: Subject, wire: Wire, kind: Kind = Kind.RING) -> None:
        self.ring, self.arena, self.wire, self.kind = subject.ring, subject.arena, wire, kind
        self.page = FaultingPage()
        self.group = Group(self.ring, subject.arena, bgid=BGID)
        self.pipe = Pipe(subject.arena)
        if kind is Kind.RING:
            assert self.group.register() == 0
            subject.owns(BGID)
            self.group.memory.publish(self.page.addr, 64, BID)
        else:
            assert legacy(self.ring, bgid=BGID, addr=self.page.addr, count=1, bid=BID) == 0

    def queue(self, opcode: int, flags: int) -> None:
        """The request; 40 bytes wait for it (a SEND sends 64)."""
        vector = Vector(64) if opcode in {c.IORING_OP_READV, c.IORING_OP_RECVMSG} else None
        piped = opcode in {c.IORING_OP_READ, c.IORING_OP_READV}
        if opcode != c.IORING_OP_SEND:
            (self.pipe if piped else self.wire).feed(incoming(0, 40))
        fd = self.pipe.reader if piped else self.wire.near
        selecting(self.ring, opcode, fd, bgid=BGID, length=64, vector=vector).flags |= flags

    @contextmanager
    def still(self, *others: Call) -> Iterator[Callable[[], list[int]]]:
        """What is queued is submitted, and stands; `others` are called, until they are over or wait for a lock.

        Within the block it is made to go on. What is given waits for the others and tells what they returned.
        """
        with Walks([enter(self.ring.fd, self.ring.show())]) as walk, Walks(others) as intruders:
            walk.go()
            self.page.touched()
            intruders.go()
            try:
                assert settled(lambda: int(intruders.over() or waiting(intruders.tids)), 1) == 1
                yield lambda: intruders.results()[0]
            except BaseException:
                self.page.fill()  # or nobody would ever end
                raise
            walk.results()

    def next_ring(self) -> io_uring_buf_reg:
        """The argument that registers another ring under the id, from then on `group`."""
        self.group = Group(self.ring, self.arena, bgid=BGID)
        return io_uring_buf_reg(ring_addr=self.group.memory.addr, ring_entries=8, bgid=BGID)

    def serves_its_own(self) -> None:
        """The ring under the id now hands out what is published to it, and nothing else, and goes when told to."""
        self.group.publish(9, 4)
        assert [self.group.next() for _ in range(3)] == [9, 4, None]
        assert self.group.unregister() == 0

    def content(self, length: int) -> bytes:
        """The first bytes of the page."""
        return string_at(self.page.addr, length)


@pytest.fixture
def wire(make_wire: Callable[..., Wire]) -> Wire:
    return make_wire()


@each_issue
@each_op
def test_its_group_goes_and_another_comes(ring: Subject, wire: Wire, opcode: int, issue: int) -> None:
    """Unregister and register the id anew: the request ends with its own buffer, and moves nobody's head.

    The list must live until the head is moved (held by uring_lock), or be forgotten at selection: io_put_kbuf(),
    req->buf_list; the review's "buf_list being available".
    Fixed by commits on multishots with selected buffers, io_req_prep_async and rw's commit on async (CVE-2025-40364;
    6.12.14, 6.1.129).
    """
    standing = Standing(ring, wire)
    standing.queue(opcode, issue)
    gone, reg = io_uring_buf_reg(bgid=BGID), standing.next_ring()

    with standing.still(give_up(ring.ring.fd, gone), take(ring.ring.fd, reg)) as others:
        standing.page.fill()
        (cqe,) = ring.ring.complete()
        said = others()

    assert said == [0, 0]
    assert (cqe.res, cqe.bid, standing.content(40)) == (40, BID, incoming(0, 40))
    standing.serves_its_own()


@pytest.mark.needs("send_select")
@each_issue
def test_a_sends_group_goes_and_another_comes(ring: Subject, wire: Wire, issue: int) -> None:
    """The same for a SEND, whose buffer is gone as it is selected. io_buffers_select(): unlocked, it forgets the list"""
    standing = Standing(ring, wire)
    standing.queue(c.IORING_OP_SEND, issue)
    gone, reg = io_uring_buf_reg(bgid=BGID), standing.next_ring()

    with standing.still(give_up(ring.ring.fd, gone), take(ring.ring.fd, reg)) as others:
        standing.page.fill()
        (cqe,) = ring.ring.complete()
        said = others()

    assert said == [0, 0]
    assert (cqe.res, cqe.bid, wire.received(64)) == (64, BID, bytes(64))
    standing.serves_its_own()


@pytest.mark.parametrize("ends", ["done", "failed"])
@each_issue
@each_op
def test_its_emptied_group_becomes_a_ring(
    ring: Subject, wire: Wire, profile: Profile, *, opcode: int, issue: int, ends: str
) -> None:
    """It has the last provided buffer of its group, which is made a ring; then it ends, or fails and gives back.

    A buffer is not put into a list that is none any more: io_kbuf_recycle_legacy().
    A buffer that is back before the ring comes is -EEXIST. Fixed by c2c185be5c85 (CVE-2026-43366; 6.12.78, 6.1).
    """
    standing = Standing(ring, wire, Kind.LEGACY)
    standing.queue(opcode, issue)
    reg = standing.next_ring()

    with standing.still(take(ring.ring.fd, reg)) as others:
        standing.page.fill() if ends == "done" else standing.page.fail()
        (cqe,) = ring.ring.complete()
        said = others()

    assert cqe.res == (40 if ends == "done" else -errno.EFAULT)
    assert cqe.bid == BID if ends == "done" else cqe.bid in {BID, None}
    if said == [-errno.EEXIST]:
        assert "upgrade_refused" in profile.traits or (cqe.bid is None and not issue)
        assert remove_legacy(ring.ring, bgid=BGID, count=9) == (cqe.bid is None)
        return
    assert said == [0]
    standing.serves_its_own()


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@each_op
def test_io_wq_has_another_buffer(ring: Subject, wire: Wire, opcode: int, kind: Kind) -> None:
    """A request stands with its buffer, and io-wq wants one of the group, while more are published: two buffers.

    Between selection and commit stands uring_lock: io_ring_submit_lock() in io_buffer_select().
    """
    standing = Standing(ring, wire, kind)
    other = Pipe(ring.arena)
    other.feed(b"otherwise")
    if kind is Kind.RING:
        standing.group.publish(8)
    else:
        assert legacy(ring.ring, bgid=BGID, addr=standing.group.address_of(8), count=1, bid=8) == 0
    sqe = selecting(ring.ring, c.IORING_OP_READ, other.reader, bgid=BGID, length=64)
    sqe.flags, sqe.user_data = sqe.flags | c.IOSQE_ASYNC, 1
    standing.queue(opcode, 0)

    with standing.still():
        assert settled(lambda: int(waiting(tasks()) or ring.ring.cq_tail.value > 0), 1) == 1
        if kind is Kind.RING:
            standing.group.publish(1)
        standing.page.fill()
        found = {cqe.user_data: cqe for cqe in ring.ring.complete(2)}

    assert (found[0].res, found[1].res) == (40, 9)
    assert (found[0].bid, found[1].bid) == (BID, 8)
    assert (standing.content(40), standing.group.content(8, 9)) == (incoming(0, 40), b"otherwise")
    assert standing.group.next() == (1 if kind is Kind.RING else None)


@pytest.mark.needs("mmap")
@each_issue
def test_a_ring_is_mapped_meanwhile(
    ring: Subject, make_group: Callable[..., Group], wire: Wire, issue: int
) -> None:
    """mmap() of another group's ring does not wait for the request.

    Who has uring_lock may want mmap_lock, for a fault or to pin; who maps has it: waiting there would be a deadlock.
    io_pbuf_get_bl(), ctx->mmap_lock
    """
    group = make_group(bgid=3, flags=c.IOU_PBUF_RING_MMAP)
    standing = Standing(ring, wire)
    standing.queue(c.IORING_OP_READ, issue)
    prot, offset = libc.PROT_READ | libc.PROT_WRITE, bufring.mmap_offset(3)
    with standing.still((NR_MMAP, 0, libc.PAGE_SIZE, prot, libc.MAP_SHARED, ring.ring.fd, offset)) as others:
        (addr,) = others()
        standing.page.fill()
        (cqe,) = ring.ring.complete()

    assert (cqe.res, cqe.bid) == (40, BID)
    assert string_at(addr, 128) == group.memory.raw()
    assert libc.munmap(addr, libc.PAGE_SIZE) == 0


@pytest.mark.needs("pin_counters")
@each_issue
@each_op
def test_the_ring_is_closed_under_it(
    make_ring: Callable[..., Subject], wire: Wire, pins: PinWatch, opcode: int, issue: int
) -> None:
    """Mappings and descriptor go; the request ends, and what was pinned comes back. io_ring_exit_work()"""

    def close_under_it() -> None:
        subject = make_ring()
        standing = Standing(subject, wire)
        standing.queue(opcode, issue)
        with standing.still():
            subject.ring.close()
            standing.page.fill()

    assert pins.after(close_under_it, wanted=0) == 0
