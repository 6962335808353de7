"""Reads of disks that answer later: the buffer is chosen as they are issued, and reported when they complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.disks import PolledDisk, loop_disk
from ringrig.uring.group import Group, bids, legacy
from ringrig.uring.memory import Arena
from ringrig.uring.requests import Vector, selecting

pytestmark = pytest.mark.ends_within(5)

SIZE = 1024
DATA = incoming(0, 8 * SIZE)
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
each_issue = pytest.mark.parametrize("flags", [0, c.IOSQE_ASYNC], ids=["locked", "io_wq"])
each_disk = pytest.mark.parametrize(
    "disk",
    [
        pytest.param("loop", marks=pytest.mark.needs("loop_disk")),
        pytest.param("null_blk", marks=pytest.mark.needs("polled_disk")),
    ],
    indirect=True,
)


@pytest.fixture
def disk(request: pytest.FixtureRequest) -> Iterator[int]:
    """A disk that holds DATA, opened with O_DIRECT."""
    arena = Arena()
    if request.param == "loop":
        yield loop_disk(arena, DATA)
    else:
        with PolledDisk(arena, DATA) as made:
            yield made.fd
    arena.close()


def three_buffers(ring: Subject, kind: Kind, size: int = SIZE) -> Group:
    """Group 7: buffers 5, 6 and 7, in pages of their own."""
    group = Group(ring.ring, ring.arena, entries=4, size=size)
    if kind is Kind.RING:
        assert group.register() == 0
        ring.owns(group.bgid)
        group.publish(5, 6, 7)
    else:
        for bid in (5, 6, 7):
            addr = group.address_of(bid)
            assert legacy(ring.ring, bgid=group.bgid, addr=addr, size=size, count=1, bid=bid) == 0
    return group


def left(group: Group) -> list[int | None]:
    """Bids still to be had, up to where there are none."""
    return bids(group.read(length=1) for _ in range(4))


@each_disk
@each_kind
@each_issue
def test_a_read_that_completes_later(ring: Subject, disk: int, flags: int, kind: Kind) -> None:
    """READ past the page cache: the first buffer, reported and filled. io_req_rw_complete()"""
    group = three_buffers(ring, kind)

    cqe = group.read(disk, length=SIZE, flags=flags)

    assert Reply.of(cqe.res, cqe.flags) == Reply(res=SIZE, bid=5)
    assert group.content(5, SIZE) == DATA[:SIZE]
    assert left(group) == [6, 7, None, None]


@each_disk
@each_kind
@each_issue
def test_two_on_their_way_have_two_buffers(ring: Subject, disk: int, flags: int, kind: Kind) -> None:
    """Two such reads at once: the first has its buffer for good before the second looks for one.

    io_ring_buffer_select(): a file without poll; liburing #605.
    Fixed by immediate commit of buffers for reads of files that cannot be polled (5.19-rc3).
    """
    group = three_buffers(ring, kind)
    for offset in (0, SIZE):
        sqe = selecting(ring.ring, c.IORING_OP_READ, disk, bgid=group.bgid, length=SIZE)
        sqe.off = offset
        sqe.flags |= flags

    found = {cqe.bid: (cqe.res, group.content(cqe.bid or 0, SIZE)) for cqe in ring.ring.complete(2)}

    assert sorted(found.values()) == sorted((SIZE, DATA[at : at + SIZE]) for at in (0, SIZE))
    assert (sorted(found), left(group)) == ([5, 6], [7, None, None, None])


@pytest.mark.needs("polled_disk", "iopoll")
@pytest.mark.parametrize("disk", ["null_blk"], indirect=True)
@each_kind
@pytest.mark.parametrize("opcode", [c.IORING_OP_READ, c.IORING_OP_READV], ids=["read", "readv"])
def test_a_polled_read(make_ring: Callable[..., Subject], disk: int, opcode: int, kind: Kind) -> None:
    """The same on a ring that polls the disk (IORING_SETUP_IOPOLL). io_do_iopoll()"""
    ring = make_ring(flags=c.IORING_SETUP_IOPOLL)
    group = three_buffers(ring, kind)

    vector = Vector(SIZE) if opcode == c.IORING_OP_READV else None
    selecting(ring.ring, opcode, disk, bgid=group.bgid, length=SIZE, vector=vector).off = 0
    cqe = ring.ring.complete()[0]

    assert Reply.of(cqe.res, cqe.flags) == Reply(res=SIZE, bid=5)
    assert group.content(5, SIZE) == DATA[:SIZE]
    if kind is Kind.RING:
        assert (group.entry(0).bid, group.read(disk, length=SIZE).bid) == (5, 6)


@pytest.mark.needs("polled_disk", "iopoll")
@pytest.mark.parametrize("disk", ["null_blk"], indirect=True)
@each_kind
@pytest.mark.parametrize("opcode", [c.IORING_OP_READ, c.IORING_OP_READV], ids=["read", "readv"])
def test_a_polled_read_by_io_wq(
    make_ring: Callable[..., Subject], disk: int, opcode: int, kind: Kind
) -> None:
    """Two reads with IOSQE_ASYNC, which workers issue and the submitter polls: two buffers, each with what was read into it.

    io_iopoll_req_issued(): IO_URING_F_UNLOCKED; io_do_iopoll()
    """
    ring = make_ring(flags=c.IORING_SETUP_IOPOLL)
    group = three_buffers(ring, kind)
    for offset in (0, SIZE):
        vector = Vector(SIZE) if opcode == c.IORING_OP_READV else None
        sqe = selecting(ring.ring, opcode, disk, bgid=group.bgid, length=SIZE, vector=vector)
        sqe.off = offset
        sqe.flags |= c.IOSQE_ASYNC

    found = {cqe.bid: (cqe.res, group.content(cqe.bid or 0, SIZE)) for cqe in ring.ring.complete(2)}

    assert sorted(found) == [5, 6]
    assert sorted(found.values()) == sorted((SIZE, DATA[at : at + SIZE]) for at in (0, SIZE))
    assert group.read(disk, length=SIZE).bid == 7


@pytest.mark.needs("loop_disk")
@pytest.mark.parametrize("disk", ["loop"], indirect=True)
@each_kind
def test_a_read_of_which_half_is_there(ring: Subject, disk: int, kind: Kind) -> None:
    """READ through the page cache, which has the first page alone: the rest comes later, behind it, in the same buffer.

    io_read(): a short read goes on from the state of the iterator that was kept as the buffer was imported
    """
    cached = ring.arena.own(os.open(f"/proc/self/fd/{disk}", os.O_RDONLY))
    os.posix_fadvise(cached, 0, 0, os.POSIX_FADV_RANDOM)
    group = three_buffers(ring, kind, len(DATA))
    os.posix_fadvise(cached, 0, 0, os.POSIX_FADV_DONTNEED)
    assert os.pread(cached, 1, 0) == DATA[:1]

    selecting(ring.ring, c.IORING_OP_READ, cached, bgid=group.bgid, length=len(DATA)).off = 0
    cqe = ring.ring.complete()[0]

    assert Reply.of(cqe.res, cqe.flags) == Reply(res=len(DATA), bid=5)
    assert group.content(5, len(DATA)) == DATA
    assert left(group) == [6, 7, None, None]
