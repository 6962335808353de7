"""Legacy groups in use: order, counts, what failures leave, links, both kinds at once."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable

import pytest

from ringrig.model.profiles import Profile
from ringrig.model.scene import Scene
from ringrig.model.spec import Model
from ringrig.model.subject import Subject
from ringrig.model.transfer import Buffer, Kind, Op, Stock, Then, Transfer
from ringrig.uring import consts as c
from ringrig.uring import libc
from ringrig.uring.group import Group, bids, legacy, remove_legacy
from ringrig.uring.requests import selecting
from ringrig.uring.ring import Cqe

both_sides = pytest.mark.parametrize("bgid", [7, 700], ids=["low_bgid", "high_bgid"])


def _read(subject: Subject, bgid: int) -> int | Cqe | None:
    """What bids() says of a read of a byte of /dev/zero."""
    with open("/dev/zero", "rb") as zero:  # noqa: PTH123
        selecting(subject.ring, c.IORING_OP_READ, zero.fileno(), bgid=bgid, length=1)
        return bids(subject.ring.complete())[0]


def _room(subject: Subject) -> int:
    """A page without a zero."""
    addr = subject.arena.anon(libc.PAGE_SIZE)
    ctypes.memset(addr, 0xA5, libc.PAGE_SIZE)
    return addr


def _zeros(addr: int) -> list[int]:
    """Where in such a page there is one now."""
    return [at for at, byte in enumerate(ctypes.string_at(addr, libc.PAGE_SIZE)) if not byte]


@both_sides
@pytest.mark.parametrize("count", [0, 1, 3, 5, 9], ids=["none", "one", "some", "all", "more"])
def test_removing_counts(ring: Subject, model: Model, bgid: int, count: int) -> None:
    """REMOVE says how many went: as many as asked for, or as there were; a group that is no group is -ENOENT.

    io_remove_buffers(). The emptied group stays. Fixed by c0921e51dab7 (6.1.24).
    """
    if count:
        assert ring.provide_buffers(bgid=bgid, count=5) == model.provide_buffers(bgid=bgid, count=5)

    for _ in range(2):
        wanted = count or 1
        assert ring.remove_buffers(bgid=bgid, count=wanted) == model.remove_buffers(bgid=bgid, count=wanted)

    assert ring.survey(bgid) == model.survey(bgid)


@both_sides
def test_first_in_first_out(ring: Subject, bgid: int) -> None:
    """Buffers provided in three calls: handed out in that order, each at its own place. io_add_buffers() appends."""
    addr = _room(ring)
    places = {40: 1024, 41: 1088, 7: 0, 65534: 512, 65535: 576}
    for bid, count in ((40, 2), (7, 1), (65534, 2)):
        assert legacy(ring.ring, bgid=bgid, addr=addr + places[bid], count=count, bid=bid) == 0

    for number, bid in enumerate(places, start=1):
        assert _read(ring, bgid) == bid
        assert _zeros(addr) == sorted(list(places.values())[:number])
    assert _read(ring, bgid) is None


def test_removing_takes_the_oldest(ring: Subject) -> None:
    """REMOVE of 2 of 4: the third is the next to be handed out. __io_remove_buffers()"""
    assert ring.provide_buffers(bgid=7, count=4) == 0

    assert ring.remove_buffers(bgid=7, count=2) == 2

    assert [_read(ring, 7) for _ in range(3)] == [2, 3, None]


def test_what_comes_back_comes_back_in_front(ring: Subject, profile: Profile) -> None:
    """A RECV that waited and was cancelled: its buffer is the next to go, before the others.

    io_kbuf_recycle_legacy(): list_add()
    """
    scene = Scene(ring, Stock(kind=Kind.LEGACY, buffers=(Buffer(bid=3), Buffer(bid=4))), profile.traits)

    replies, _ = scene.transfer(Transfer(op=Op.RECV, length=64, then=(Then.CANCEL,)))

    assert [(reply.res, reply.bid) for reply in replies] == [(-errno.ECANCELED, None)]
    assert scene.left() == (3, 4)


def test_the_same_bid_may_be_provided_again(ring: Subject) -> None:
    """PROVIDE of bid 1 three times: three buffers. Nobody compares: io_add_buffers()."""
    addr = _room(ring)
    for at in (128, 0, 64):
        assert legacy(ring.ring, bgid=7, addr=addr + at, count=1, bid=1) == 0

    found = [(_read(ring, 7), _zeros(addr)) for _ in range(4)]

    assert found == [(1, [128]), (1, [0, 128]), (1, [0, 64, 128]), (None, [0, 64, 128])]


def test_provided_again_after_use(ring: Subject, profile: Profile) -> None:
    """Use one, provide it again, use both: it comes behind the one that was there. io_add_buffers(): list_add_tail()"""
    scene = Scene(ring, Stock(kind=Kind.LEGACY, buffers=(Buffer(bid=3), Buffer(bid=4))), profile.traits)
    first = scene.transfer(Transfer(op=Op.READ, length=64, ready=8))[0][0].bid

    assert legacy(ring.ring, bgid=7, addr=ring.arena.anon(64), count=1, bid=3) == 0

    assert first == 3
    assert scene.left() == (4, 3)


def test_each_buffer_of_a_call_has_its_own_place(ring: Subject) -> None:
    """PROVIDE of 3 buffers of 8 bytes: they lie one behind the other, in bid order. io_add_buffers()"""
    addr = ring.arena.guarded(24)
    file = ring.arena.memfd(24)
    os.pwrite(file, bytes(range(24)), 0)
    assert legacy(ring.ring, bgid=7, addr=addr, size=8, count=3, bid=0) == 0

    for _ in range(3):
        selecting(ring.ring, c.IORING_OP_READ, file, bgid=7, length=100)
        assert ring.ring.complete()[0].res == 8

    assert ctypes.string_at(addr, 24) == bytes(range(24))


@pytest.mark.parametrize("kind", ["ring_first", "legacy_first"])
def test_both_kinds_side_by_side(ring: Subject, make_group: Callable[..., Group], kind: str) -> None:
    """A ring and a legacy group under two ids: each request gets the buffer of the group it names. io_buffer_get_list()"""
    addr = ring.arena.anon(libc.PAGE_SIZE)
    if kind == "ring_first":
        group = make_group(bgid=6)
        assert legacy(ring.ring, bgid=7, addr=addr, count=2, bid=50) == 0
    else:
        assert legacy(ring.ring, bgid=7, addr=addr, count=2, bid=50) == 0
        group = make_group(bgid=6)
    group.publish(9, 8)

    found = [_read(ring, bgid) for bgid in (6, 7, 7, 6, 6, 7)]

    assert found == [9, 50, 51, 8, None, None]
    assert remove_legacy(ring.ring, bgid=7, count=5) == 0


BREAKS = {
    "provide_to_a_ring": (c.IORING_OP_PROVIDE_BUFFERS, 7, -errno.EINVAL),
    "remove_from_a_ring": (c.IORING_OP_REMOVE_BUFFERS, 7, -errno.EINVAL),
    "remove_from_nothing": (c.IORING_OP_REMOVE_BUFFERS, 700, -errno.ENOENT),
}


@pytest.mark.parametrize("opcode, bgid, error", BREAKS.values(), ids=BREAKS)
def test_a_failure_breaks_its_link(ring: Subject, group: Group, opcode: int, bgid: int, error: int) -> None:
    """A failing PROVIDE or REMOVE with IOSQE_IO_LINK: the NOP behind it is -ECANCELED. req_set_fail()"""
    sqe = ring.ring.sqe()
    sqe.opcode, sqe.fd, sqe.buf_group, sqe.flags, sqe.user_data = opcode, 1, bgid, c.IOSQE_IO_LINK, 1
    if opcode == c.IORING_OP_PROVIDE_BUFFERS:
        sqe.addr, sqe.len = ring.arena.anon(libc.PAGE_SIZE), 64
    ring.ring.sqe().user_data = 2

    found = {cqe.user_data: cqe.res for cqe in ring.ring.complete(2)}

    assert found == {1: error, 2: -errno.ECANCELED}


def test_success_keeps_its_link(ring: Subject) -> None:
    """PROVIDE, REMOVE, NOP in one link: 0, the count, 0, in that order.

    io_provide_buffers(), io_remove_buffers(): req_set_fail() for errors alone
    """
    addr = ring.arena.anon(libc.PAGE_SIZE)
    for number, opcode in enumerate(
        (c.IORING_OP_PROVIDE_BUFFERS, c.IORING_OP_REMOVE_BUFFERS, c.IORING_OP_NOP)
    ):
        sqe = ring.ring.sqe()
        sqe.opcode, sqe.user_data, sqe.buf_group = opcode, number, 7
        sqe.flags = c.IOSQE_IO_LINK * (opcode != c.IORING_OP_NOP)
        if opcode == c.IORING_OP_PROVIDE_BUFFERS:
            sqe.fd, sqe.addr, sqe.len = 3, addr, 64
        elif opcode == c.IORING_OP_REMOVE_BUFFERS:
            sqe.fd = 2

    assert [(cqe.user_data, cqe.res) for cqe in ring.ring.complete(3)] == [(0, 0), (1, 2), (2, 0)]
