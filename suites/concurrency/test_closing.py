"""An io_uring that is closed while others are inside."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Sequence

import pytest

from ringrig.model.subject import Subject
from ringrig.uring import consts as c
from ringrig.uring.counters import PinWatch, settled
from ringrig.uring.group import Group
from ringrig.uring.ring import Cqe
from ringrig.uring.syscalls import NR_CLOSE
from ringrig.uring.walks import YIELD, Call, Walks, enter

pytestmark = pytest.mark.ends_within(10)

Scatter = Callable[[Sequence[Call]], list[Call]]
each_way = pytest.mark.parametrize("flags", [0, c.IOSQE_ASYNC], ids=["locked", "io_wq"])


ENDS = ([1], [1, -errno.EBADF], [-errno.EBADF])
"""What a submitter may be told: it is done before, while, or after the ring is closed."""


def busy(subject: Subject, dice: random.Random, flags: int) -> None:
    """64 READs of 8 bytes of /dev/zero in the SQ, and 64 buffers in group 7."""
    group = Group(subject.ring, subject.arena, entries=64, size=8)
    assert group.register() == 0
    group.publish(*dice.sample(range(64), 64))
    for _ in range(64):
        group.queue_read(length=8, flags=flags)
    assert subject.ring.show() == 64


def says(results: list[int]) -> list[int]:
    """What io_uring_enter() returned, repetitions left out."""
    return [res for at, res in enumerate(results) if at == 0 or res != results[at - 1]]


@each_way
def test_what_was_submitted_is_done(
    make_ring: Callable[..., Subject], dice: random.Random, scattered: Scatter, flags: int
) -> None:
    """close() of the descriptor under two submitters: they submit, then get -EBADF for good; each READ that was
    submitted is done, with a buffer of its own. The queues' mappings hold the ring.
    """
    subject = make_ring(entries=64)
    busy(subject, dice, flags)
    fd, subject.ring.fd = subject.ring.fd, -1
    submitters = [scattered([enter(fd)] * 32) for _ in range(2)]
    found: list[Cqe] = []

    def come() -> int:
        found.extend(subject.ring.cqes())
        return len(found)

    with Walks(*submitters, [*[YIELD] * dice.randrange(16), (NR_CLOSE, fd)]) as walks:
        walks.go()
        *entered, closing = walks.results()
        submitted = sum(some.count(1) for some in entered)
        settled(come, submitted)

    assert closing == [0]
    assert [some for some in map(says, entered) if some not in ENDS] == []
    assert {cqe.res for cqe in found} <= {8}
    assert len(found) == submitted == len({cqe.bid for cqe in found})


@pytest.mark.needs("pin_counters")
@each_way
def test_the_last_one_inside_ends_it(
    make_ring: Callable[..., Subject], dice: random.Random, scattered: Scatter, pins: PinWatch, flags: int
) -> None:
    """Mappings and descriptor go under two submitters, which then end the ring: no hang, and its pages come back.

    io_ring_ctx_wait_and_kill(), io_destroy_buffers() in io_ring_exit_work()
    """

    def close_under_them() -> None:
        subject = make_ring(entries=64)
        busy(subject, dice, flags)
        submitters = [scattered([enter(subject.ring.fd)] * 32) for _ in range(2)]
        with Walks(*submitters) as walks:
            walks.go()
            subject.ring.close()
            for some in walks.results():
                assert says(some) in ENDS

    assert pins.after(close_under_them, wanted=0) == 0
