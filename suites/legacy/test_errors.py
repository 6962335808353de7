"""PROVIDE_BUFFERS and REMOVE_BUFFERS with something wrong: which check speaks, and that nothing changes."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations

import pytest

from ringrig.model.profiles import Profile
from ringrig.model.subject import Subject
from ringrig.uring import consts as c
from ringrig.uring import libc
from ringrig.uring.group import Group, legacy, remove_legacy
from ringrig.uring.structs import io_uring_sqe

KERNEL = 0xFFFF888000000000
_ADDR = "addr"


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """Fields of the SQE that make it wrong, and the errno for it."""

    name: str
    error: int
    fields: Mapping[str, int]


# io_provide_buffers_prep(), in its order; io_init_req() first. nbufs is sqe->fd, the first bid sqe->off.
PROVIDE = (
    Wrong(name="buffer_select", error=errno.EOPNOTSUPP, fields={"flags": c.IOSQE_BUFFER_SELECT}),
    Wrong(name="ioprio", error=errno.EINVAL, fields={"ioprio": 1}),
    Wrong(name="rw_flags", error=errno.EINVAL, fields={"rw_flags": 1}),
    Wrong(name="splice_fd", error=errno.EINVAL, fields={"splice_fd_in": 1}),
    Wrong(name="no_buffers", error=errno.E2BIG, fields={"fd": 0}),
    Wrong(name="negative_buffers", error=errno.E2BIG, fields={"fd": -1}),
    Wrong(name="too_many_buffers", error=errno.E2BIG, fields={"fd": 65537}),
    Wrong(name="no_length", error=errno.EINVAL, fields={"len": 0}),
    Wrong(name="wrapping_address", error=errno.EOVERFLOW, fields={_ADDR: 0xFFFFFFFFFFFFFFFF}),
    Wrong(name="kernel_address", error=errno.EFAULT, fields={_ADDR: KERNEL}),
    Wrong(name="bid_beyond_16_bits", error=errno.E2BIG, fields={"off": 65536}),
    Wrong(name="last_bid_beyond_16_bits", error=errno.EINVAL, fields={"off": 65535, "fd": 2}),
)
TO_THE_TOP = Wrong(name="up_to_the_top", error=errno.EOVERFLOW, fields={_ADDR: (1 << 64) - 64})
"""The end, 1 << 64, is no address: it is told as beyond all, not as the kernel's."""
# io_remove_buffers_prep()
REMOVE = (
    Wrong(name="buffer_select", error=errno.EOPNOTSUPP, fields={"flags": c.IOSQE_BUFFER_SELECT}),
    Wrong(name="ioprio", error=errno.EINVAL, fields={"ioprio": 1}),
    Wrong(name="rw_flags", error=errno.EINVAL, fields={"rw_flags": 1}),
    Wrong(name="address", error=errno.EINVAL, fields={_ADDR: 4096}),
    Wrong(name="length", error=errno.EINVAL, fields={"len": 1}),
    Wrong(name="offset", error=errno.EINVAL, fields={"off": 1}),
    Wrong(name="splice_fd", error=errno.EINVAL, fields={"splice_fd_in": 1}),
    Wrong(name="no_buffers", error=errno.EINVAL, fields={"fd": 0}),
    Wrong(name="negative_buffers", error=errno.EINVAL, fields={"fd": -1}),
    Wrong(name="too_many_buffers", error=errno.EINVAL, fields={"fd": 65537}),
)
PAIRS = [
    (first, second)
    for first, second in combinations(PROVIDE, 2)
    if not first.fields.keys() & second.fields.keys()
    and not (second.name == "last_bid_beyond_16_bits" and "fd" in first.fields)
]


def _provide(ring: Subject, *wrongs: Wrong) -> int:
    return _say(ring, c.IORING_OP_PROVIDE_BUFFERS, wrongs, fd=1, addr=ring.arena.anon(libc.PAGE_SIZE), len=64)


def _say(ring: Subject, opcode: int, wrongs: tuple[Wrong, ...], **good: int) -> int:
    sqe: io_uring_sqe = ring.ring.sqe()
    sqe.opcode, sqe.buf_group = opcode, 7
    for name, value in good.items():
        setattr(sqe, name, value)
    for wrong in wrongs:
        for name, value in wrong.fields.items():
            setattr(sqe, name, value)
    if any("flags" in wrong.fields for wrong in wrongs):
        sqe.buf_group = 7
    cqe = ring.ring.complete()[0]
    assert cqe.flags == 0
    return cqe.res


@pytest.mark.parametrize("wrong", (*PROVIDE, TO_THE_TOP), ids=lambda wrong: wrong.name)
def test_providing_wrongly(ring: Subject, wrong: Wrong) -> None:
    """One thing wrong: its errno, and the group's one buffer stays alone. io_provide_buffers_prep()

    Fixed by "kbuf: reject zero sized provided buffers" (6.12.24). Fixed by "kbuf: check for rollover of buffer ID" (6.0.9).
    """
    assert _provide(ring) == 0

    assert _provide(ring, wrong) == -wrong.error

    assert remove_legacy(ring.ring, bgid=7, count=10) == 1


@pytest.mark.parametrize(
    "first, second", PAIRS, ids=lambda wrong: wrong.name if isinstance(wrong, Wrong) else None
)
def test_providing_wrongly_twice(ring: Subject, first: Wrong, second: Wrong) -> None:
    """Two things wrong: the errno of the check that comes first. io_provide_buffers_prep()"""
    assert _provide(ring, second, first) == -first.error


@pytest.mark.parametrize("wrong", REMOVE, ids=lambda wrong: wrong.name)
def test_removing_wrongly(ring: Subject, wrong: Wrong) -> None:
    """One thing wrong: its errno, and both buffers stay. io_remove_buffers_prep()"""
    assert ring.provide_buffers(bgid=7, count=2) == 0

    assert _say(ring, c.IORING_OP_REMOVE_BUFFERS, (wrong,), fd=1) == -wrong.error

    assert remove_legacy(ring.ring, bgid=7, count=10) == 2


def test_a_polled_ring_takes_both(make_ring: Callable[..., Subject]) -> None:
    """IORING_SETUP_IOPOLL, where most operations are -EINVAL: PROVIDE of two, REMOVE of one, of the rest, of none. opdef.c"""
    ring = make_ring(flags=c.IORING_SETUP_IOPOLL)

    assert ring.provide_buffers(bgid=7, count=2) == 0
    assert [ring.remove_buffers(bgid=7, count=count) for count in (1, 5, 5)] == [1, 1, 0]


@pytest.mark.parametrize("count", [1, 65536], ids=["one", "most"])
def test_a_mapped_group_takes_neither(ring: Subject, group: Group, count: int) -> None:
    """PROVIDE to and REMOVE from a ring: -EINVAL both, and the ring hands out its own buffer.

    io_provide_buffers(), io_remove_buffers()
    """
    group.publish(5)

    assert ring.provide_buffers(bgid=7, count=count) == -errno.EINVAL
    assert ring.remove_buffers(bgid=7, count=count) == -errno.EINVAL

    assert group.next() == 5


@pytest.mark.parametrize("bid", [0, 5], ids=["bid_0", "bid_5"])
@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(0, id="user_memory"),
        pytest.param(c.IOU_PBUF_RING_MMAP, id="kernel_memory", marks=pytest.mark.needs("mmap")),
    ],
)
def test_a_ring_is_left_as_it_was(
    ring: Subject, make_group: Callable[..., Group], profile: Profile, flags: int, bid: int
) -> None:
    """A ring of whichever memory, three of its buffers used up and three there: PROVIDE to it and REMOVE from it, of one, of
    as many as there are and of more, are -EINVAL; its head and its entries are as they were, and the three come in order.

    io_provide_buffers(), io_remove_buffers(): IOBL_BUF_RING, be it IOBL_MMAP or not
    """
    group, bids, addr = make_group(flags=flags), (bid, bid + 2, bid + 1), ring.arena.anon(libc.PAGE_SIZE)
    group.spend(3)
    group.publish(*bids)
    before = group.memory.raw()

    said = [
        (legacy(ring.ring, bgid=7, addr=addr, count=count, bid=bid), ring.remove_buffers(bgid=7, count=count))
        for count in (1, 3, 9)
    ]

    assert said == [(-errno.EINVAL, -errno.EINVAL)] * 3
    assert group.memory.raw() == before
    if "pbuf_status" in profile.traits:
        assert group.head() == 3
    assert [group.next() for _ in range(4)] == [*bids, None]
