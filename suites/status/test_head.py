"""REGISTER_PBUF_STATUS: the head counts buffers used, free-running in 16 bits."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from ringrig.model.calls import registration, status
from ringrig.model.spec import Model
from ringrig.model.subject import Subject
from ringrig.uring import consts as c
from ringrig.uring.group import Group, Pipe

pytestmark = pytest.mark.needs("status")

COUNTS = {"none": 0, "one": 1, "all_but_one": 7, "all": 8, "a_lap_and_one": 9, "three_laps": 24}
KINDS = {
    "user": pytest.param(0, id="user"),
    "kernel": pytest.param(c.IOU_PBUF_RING_MMAP, id="kernel", marks=pytest.mark.needs("mmap")),
    "inc": pytest.param(c.IOU_PBUF_RING_INC, id="inc", marks=pytest.mark.needs("inc")),
}


@pytest.mark.parametrize("flags", KINDS.values())
@pytest.mark.parametrize("count", COUNTS.values(), ids=COUNTS)
def test_head_counts_the_buffers_used(
    ring: Subject, model: Model, make_group: Callable[..., Group], count: int, flags: int
) -> None:
    """So many whole buffers read into, republished as they go: the head is that number, not its slot.

    io_kbuf_commit(), io_register_pbuf_status(): bl->head, unmasked
    """
    group = make_group(flags=flags)
    model.say(registration())
    for bid in range(count):
        group.publish(bid)
        assert group.read().bid == bid
    model.consumed(bgid=7, buffers=count)

    assert ring.pbuf_status(status()) == model.pbuf_status(status())


def test_head_wraps_at_65536(make_ring: Callable[..., Subject], model: Model) -> None:
    """After 40960 buffers the head is that (no negative number), after 65540 it is 4, the upper half of the field zero. A u16.

    The tail is set ahead by the whole index range, which no check forbids, so slots serve again and again.
    io_register_pbuf_status(): bl->head
    """
    ring = make_ring(entries=4096)
    group = Group(ring.ring, ring.arena)
    assert group.register() == 0
    model.say(registration())
    group.publish(*range(8))
    for batch in range(16):
        group.memory.producer = (batch + 1) * 4096
        assert len(group.drain(4096)) == 4096
        model.consumed(bgid=7, buffers=4096)
        if batch == 9:
            assert ring.pbuf_status(status()) == model.pbuf_status(status())
    group.memory.producer = 4
    group.drain(4)
    model.consumed(bgid=7, buffers=4)

    assert ring.pbuf_status(status()) == model.pbuf_status(status())


def test_asking_changes_nothing(ring: Subject, model: Model, group: Group) -> None:
    """Asked twice, and between reads: the same answer, and each read gets the next buffer. io_register_pbuf_status()"""
    model.say(registration())
    group.publish(4, 5)
    for used, bid in enumerate((4, 5)):
        for _ in range(2):
            assert ring.pbuf_status(status()) == model.pbuf_status(status())
        assert group.next() == bid
        model.consumed(bgid=7, buffers=1)
        assert group.head() == used + 1


def test_publishing_moves_the_tail_only(ring: Subject, model: Model, group: Group) -> None:
    """Publish and use nothing: head 0. io_register_pbuf_status(): bl->head"""
    model.say(registration())
    group.publish(*range(8))

    assert ring.pbuf_status(status()) == model.pbuf_status(status())


def test_a_read_without_a_buffer_uses_none(ring: Subject, model: Model, group: Group) -> None:
    """-ENOBUFS leaves the head. io_ring_buffer_select()"""
    model.say(registration())
    assert group.read(length=1).res == -errno.ENOBUFS

    assert ring.pbuf_status(status()) == model.pbuf_status(status())


def test_a_waiting_read_has_used_none(ring: Subject, group: Group, pipe: Pipe) -> None:
    """A read that waits for data: head 0 until the data is there, then 1. io_kbuf_commit() at completion"""
    group.publish(1)
    group.queue_read(pipe.reader)
    assert ring.ring.submit() == 1

    waiting = group.head()
    pipe.feed(b"x")
    ring.ring.complete()

    assert (waiting, group.head()) == (0, 1)


@pytest.mark.needs("inc")
def test_a_partly_used_inc_buffer_is_not_used_up(ring: Subject, make_group: Callable[..., Group]) -> None:
    """24 of an incremental buffer's 64 bytes: head 0; the other 40: head 1. io_kbuf_inc_commit()"""
    group = make_group(flags=c.IOU_PBUF_RING_INC)
    pipe = Pipe(ring.arena)
    group.publish(1)
    heads = []
    for length in (24, 40):
        pipe.feed(b"x" * length)
        group.read(pipe.reader)
        heads.append(group.head())

    assert heads == [0, 1]


def test_groups_count_for_themselves(ring: Subject, make_group: Callable[..., Group]) -> None:
    """Three groups, used 1, 2 and 3 times: each head its own. io_register_pbuf_status(): io_buffer_get_list()"""
    groups = [make_group(bgid=bgid) for bgid in (6, 7, 700)]
    for times, group in enumerate(groups, 1):
        group.publish(*range(8))
        for _ in range(times):
            group.read(length=1)

    assert [group.head() for group in groups] == [1, 2, 3]
