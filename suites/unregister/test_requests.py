"""Unregistering under requests: it does not wait, and they find no buffer, or another ring's."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from ringrig.model.subject import Subject
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.group import Group, Pipe

both_sides = pytest.mark.parametrize("bgid", [7, 700], ids=["low_bgid", "high_bgid"])


@both_sides
def test_a_waiting_read_finds_no_buffer(
    ring: Subject, make_group: Callable[..., Group], pipe: Pipe, bgid: int
) -> None:
    """A read waits on an empty pipe; its group goes; data comes: -ENOBUFS, no buffer, and the data stays.

    A request that waits for poll holds no buffer and looks the group up again. io_buffer_select()
    """
    group = make_group(bgid=bgid)
    group.publish(1)
    group.queue_read(pipe.reader, length=64)
    assert ring.ring.submit() == 1

    assert group.unregister() == 0
    assert ring.ring.cqes() == []
    pipe.feed(b"data")
    cqe = ring.ring.complete()[0]

    assert (cqe.res, cqe.flags) == (-errno.ENOBUFS, 0)
    assert os.read(pipe.reader, 8) == b"data"


@both_sides
def test_a_waiting_read_takes_the_new_ring(
    ring: Subject, make_group: Callable[..., Group], pipe: Pipe, bgid: int
) -> None:
    """A read waits; its group goes and another comes under the id; data comes: into the new ring's buffer.

    io_buffer_select() goes by the id each time. Fixed by d8e1dec2f860 (6.12.71).
    """
    old = make_group(bgid=bgid)
    old.publish(1)
    old.queue_read(pipe.reader, length=64)
    assert ring.ring.submit() == 1
    assert old.unregister() == 0

    new = make_group(bgid=bgid)
    new.publish(5)
    pipe.feed(b"data")
    cqe = ring.ring.complete()[0]

    assert (cqe.res, cqe.bid) == (4, 5)
    assert new.content(5, 4) == b"data"
    assert old.content(1, 4) == bytes(4)


@pytest.mark.needs("status")
@both_sides
def test_a_read_that_has_its_buffer_keeps_it(
    ring: Subject, make_group: Callable[..., Group], bgid: int
) -> None:
    """An IOSQE_ASYNC read took its buffer before it blocked; the group goes; data comes: into that buffer.

    io_ring_buffer_select() commits at once outside the lock, and the request holds the buffer's address only.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    ring.arena.own(reader)
    ring.arena.own(writer)
    group = make_group(bgid=bgid)
    group.publish(3)
    group.queue_read(reader, flags=c.IOSQE_ASYNC)
    assert ring.ring.submit() == 1
    assert settled(group.head, 1) == 1

    assert group.unregister() == 0
    os.write(writer, b"data")
    cqe = ring.ring.complete()[0]

    assert (cqe.res, cqe.bid) == (4, 3)
    assert group.content(3, 4) == b"data"
