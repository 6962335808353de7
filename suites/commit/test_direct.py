"""Reads that complete later: O_DIRECT, by interrupt and polled (IORING_SETUP_IOPOLL)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ringrig.model.course import expect
from ringrig.model.profiles import Profile
from ringrig.model.scene import Scene
from ringrig.model.subject import Subject
from ringrig.model.transfer import Buffer, Issue, Kind, Op, Source, Stock, Transfer
from ringrig.uring import consts as c
from ringrig.uring.memory import Unavailable

pytestmark = pytest.mark.ends_within(3)

BUFFERS = tuple(Buffer(bid=bid, size=1024) for bid in (9, 0, 0x8000))
READS = {
    "a_part": Transfer(op=Op.READ, ready=4096, length=512),
    "to_the_brim": Transfer(op=Op.READ, ready=1024),
    "more_than_room": Transfer(op=Op.READ, ready=4096, length=4096),
    "short": Transfer(op=Op.READ, ready=700),
    "at_the_end": Transfer(op=Op.READ),
    "by_a_vector": Transfer(op=Op.READV, ready=4096, length=1024),
    "skipping_its_completion": Transfer(op=Op.READ, ready=1024, skip_success=True),
}
POLLED = {name: READS[name] for name in ("a_part", "to_the_brim", "more_than_room", "by_a_vector")}
each_read = pytest.mark.parametrize("call", READS.values(), ids=READS)
each_issue = pytest.mark.parametrize("issue", Issue, ids=lambda issue: issue.value)
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)


def _up_to_the_end(filled: tuple[tuple[int, bytes], ...], length: int) -> tuple[tuple[int, bytes], ...]:
    """Without what the disk has in its last sector behind the file's `length` bytes."""
    return tuple((bid, data[:length]) for bid, data in filled)


def _can_be_polled(fd: int) -> bool:
    """The queue of the disk that the file is on has BLK_FEAT_POLL."""
    dev = os.fstat(fd).st_dev
    return Path(f"/sys/dev/block/{os.major(dev)}:{os.minor(dev)}/queue/io_poll").read_text().strip() == "1"


@pytest.mark.needs("disk_file")
@each_kind
@each_issue
@each_read
def test_a_read_past_the_page_cache(
    make_scene: Callable[[Stock | None], Scene], profile: Profile, call: Transfer, issue: Issue, kind: Kind
) -> None:
    """A file on disk: the first buffer, reported when the disk has answered. io_req_rw_complete()"""
    stock = Stock(kind=kind, buffers=BUFFERS)
    call = replace(call, issue=issue, source=Source.DIRECT)

    want = expect(call, stock, profile.traits)

    got = make_scene(stock).run(call)

    assert replace(got, filled=_up_to_the_end(got.filled, call.ready)) == want


@pytest.mark.needs("disk_file")
@each_kind
def test_two_at_once_have_two_buffers(
    make_scene: Callable[[Stock | None], Scene], profile: Profile, kind: Kind
) -> None:
    """Two such reads submitted together: the first must have its buffer for good before the second looks.

    io_ring_buffer_select(): a file without poll; liburing #605
    """
    scene = make_scene(Stock(kind=kind, buffers=BUFFERS))

    found = scene.side_by_side(Transfer(op=Op.READ, source=Source.DIRECT, ready=1024), count=2)

    assert sorted((reply.res, reply.bid or 0) for reply in found) == [(1024, 0), (1024, 9)]
    assert scene.left() == (0x8000,)


@pytest.mark.needs("disk_file", "iopoll")
@each_kind
@pytest.mark.parametrize("call", POLLED.values(), ids=POLLED)
def test_a_polled_read(
    make_ring: Callable[..., Subject], profile: Profile, call: Transfer, kind: Kind
) -> None:
    """The same where the ring polls the disk. io_do_iopoll()"""
    stock = Stock(kind=kind, buffers=BUFFERS)
    call = replace(call, source=Source.DIRECT)
    scene = Scene(make_ring(flags=c.IORING_SETUP_IOPOLL), stock, profile.traits)
    want = expect(call, stock, profile.traits)

    replies, _ = scene.transfer(call)
    if replies[-1].res == -errno.EOPNOTSUPP and not _can_be_polled(scene.arena.disk_file()):
        raise Unavailable(errno.EOPNOTSUPP, "no disk with a queue to poll")
    filled, stray = scene.written()

    assert (replies, scene.head(), stray) == (want.replies, want.head, ())
    assert _up_to_the_end(filled, call.ready) == want.filled


@pytest.mark.needs("iopoll")
@each_kind
def test_what_cannot_be_polled_takes_its_buffer(
    make_ring: Callable[..., Subject], profile: Profile, kind: Kind
) -> None:
    """READ of /dev/zero on such a ring: -EOPNOTSUPP, after the selection: the buffer is reported and gone.

    io_rw_init_file() comes after io_buffer_select()
    """
    scene = Scene(make_ring(flags=c.IORING_SETUP_IOPOLL), Stock(kind=kind, buffers=BUFFERS), profile.traits)

    replies, _ = scene.transfer(Transfer(op=Op.READ, source=Source.ZERO, length=8))

    assert [(reply.res, reply.bid) for reply in replies] == [(-errno.EOPNOTSUPP, 9)]
    assert scene.head() in (None, 1)
