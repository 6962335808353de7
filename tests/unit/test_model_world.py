"""The model of many groups, without a kernel: who gets which buffer, and what a script of steps says."""

from __future__ import annotations

import errno

import pytest

from ringrig.model.lockstep import Step
from ringrig.model.profiles import load_profile
from ringrig.model.transfer import Issue, Op, Reply, Transfer
from ringrig.model.world import World
from ringrig.uring import consts as c


@pytest.fixture
def world() -> World:
    return World(load_profile("debian:6.12").traits)


def read(length: int = 0, issue: Issue = Issue.LOCKED) -> Transfer:
    return Transfer(op=Op.READ, length=length, issue=issue)


def ring(world: World, *sizes: int, flags: int = 0, bgid: int = 7) -> None:
    assert world.register(bgid, entries=8, flags=flags, min_left=0).res == 0
    for bid, size in enumerate(sizes):
        world.publish(bgid, bid=bid, size=size)


def test_a_waiting_read_gets_what_is_first_when_data_comes(world: World) -> None:
    """Another request has taken the buffer that was first as it began to wait; its length stays (waiting_length_sticks)."""
    ring(world, 8, 64)

    assert world.request(read(), "pipe_0", 7) == []
    assert world.request(read(), "zero", 7) == [Reply(res=8, bid=0)]

    assert world.feed("pipe_0", 24) == [Reply(res=8, bid=1)]


def test_traits_decide() -> None:
    """The same on a kernel that puts the length back with the buffer."""
    world = World(load_profile("debian:6.12").traits - {"waiting_length_sticks"})
    ring(world, 8, 64)

    world.request(read(), "pipe_0", 7)
    world.request(read(), "zero", 7)

    assert world.feed("pipe_0", 24) == [Reply(res=24, bid=1)]


def test_io_wq_holds_its_buffer(world: World) -> None:
    """What was selected without the lock is gone at once, and is what comes, or what a cancellation reports."""
    ring(world, 8, 64)

    assert world.request(read(issue=Issue.IO_WQ), "pipe_0", 7) == []
    assert world.request(read(), "zero", 7) == [Reply(res=64, bid=1)]

    assert world.cancel("pipe_0") == [Reply(res=-errno.ECANCELED, bid=0)]


def test_an_incremental_buffer_is_used_up_in_parts(world: World) -> None:
    """24 of 64 bytes by one request, the rest by another, and the entry of the ring follows."""
    ring(world, 64, flags=c.IOU_PBUF_RING_INC)
    slots = world.pools[7].slots
    assert slots is not None
    at = slots.entries[0]

    assert world.request(read(24), "zero", 7) == [Reply(res=24, bid=0, buf_more=True)]
    assert at is not None
    assert slots.entries[0] == (at[0] + 24, 40, 0)

    assert world.request(read(), "zero", 7) == [Reply(res=40, bid=0)]
    assert slots.entries[0] == (at[0] + 24, 0, 0)


def test_groups_have_their_own_buffers(world: World) -> None:
    """Provided buffers of group 0, a ring of group 7; the one that is used up says -ENOBUFS."""
    ring(world, 64)
    assert world.provide(0, bid=9, count=1, size=8) == 0

    assert world.request(read(), "zero", 0) == [Reply(res=8, bid=9)]
    assert world.request(read(), "zero", 0) == [Reply(res=-errno.ENOBUFS)]
    assert world.request(read(), "zero", 7) == [Reply(res=64, bid=0)]


def test_memory_follows(world: World) -> None:
    """What a read puts into its buffer is in the slab, and nothing else of it changes."""
    ring(world, 8)
    before = bytes(world.memory)
    world.request(read(), "zero", 7)

    changed = [at for at, byte in enumerate(world.memory) if byte != before[at]]
    assert changed == list(range(16, 24))


def test_two_cannot_wait_for_one_file(world: World) -> None:
    ring(world, 8, 8)
    world.request(read(), "pipe_0", 7)

    with pytest.raises(AssertionError, match="another request waits"):
        world.request(read(), "pipe_0", 7)


def test_a_step_is_a_line_that_can_be_run() -> None:
    step = Step(name="request", args=("read", "zero", 7), options={"length": 24}, came="<24 bid 5>")

    assert str(step) == "both.request('read', 'zero', 7, length=24)  # <24 bid 5>"
