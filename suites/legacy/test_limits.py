"""PROVIDE_BUFFERS and REMOVE_BUFFERS at their limits: 65536 buffers, the end of user space, long buffers, io-wq, links."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable

import pytest

from ringrig.model.spec import name_of
from ringrig.model.subject import Subject
from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.group import Group, legacy, remove_legacy
from ringrig.uring.requests import selecting
from ringrig.uring.ring import Cqe

MOST = 65536


def _say(ring: Subject, opcode: int, *, flags: int = 0, then_nop: bool = False, **fields: int) -> list[Cqe]:
    """A PROVIDE_BUFFERS or REMOVE_BUFFERS of group 7, and a NOP behind it if wanted: the completions."""
    sqe = ring.ring.sqe()
    sqe.opcode, sqe.flags, sqe.buf_group, sqe.user_data = opcode, flags, 7, 1
    for name, value in fields.items():
        setattr(sqe, name, value)
    if then_nop:
        ring.ring.sqe().user_data = 2
    return sorted(ring.ring.complete(1 + then_nop))


def test_nearly_as_many_as_there_are_ids(ring: Subject) -> None:
    """PROVIDE 65535 buffers from bid 1 on, hand one out, REMOVE 65536: 0, bid 1, and 65534 removed.

    MAX_BIDS_PER_BGID. io_provide_buffers_prep(), io_remove_buffers_prep().
    """
    addr = ring.arena.anon(MOST)
    assert legacy(ring.ring, bgid=7, addr=addr, size=1, count=MOST - 1, bid=1) == 0
    with open("/dev/zero", "rb") as zero:  # noqa: PTH123
        selecting(ring.ring, c.IORING_OP_READ, zero.fileno(), bgid=7, length=1)
        first = ring.ring.complete()[0]

    removed = _say(ring, c.IORING_OP_REMOVE_BUFFERS, fd=MOST)

    assert (first.res, first.bid) == (1, 1)
    assert removed == [(1, MOST - 2, 0)]


@pytest.mark.ends_within(3)
def test_as_many_as_there_are_ids(ring: Subject) -> None:
    """PROVIDE 65536 buffers from bid 0 on: 0, the first is handed out first, and the ring answers.

    Fixed by "kbuf: Fix check of BID wrapping in provided buffers" (6.5.12).
    """
    addr = ring.arena.anon(MOST)
    assert legacy(ring.ring, bgid=7, addr=addr, size=1, count=MOST) == 0
    with open("/dev/zero", "rb") as zero:  # noqa: PTH123
        for bid in (0, 1):
            selecting(ring.ring, c.IORING_OP_READ, zero.fileno(), bgid=7, length=1)
            assert ring.ring.complete()[0].bid == bid


@pytest.mark.slow
@pytest.mark.ends_within(5)
@pytest.mark.parametrize(
    "there", [MOST - 2, MOST - 1, MOST], ids=["two_are_missing", "one_is_missing", "full"]
)
def test_more_than_there_are_ids(ring: Subject, there: int) -> None:
    """65534 buffers or more are provided, then three more: all are there, or as many as a group takes, 65535 (6.18) or 65536
    (7.3). 0 if any of the three is taken, else -EOVERFLOW; REMOVE counts them, and what it leaves is none.

    io_add_buffers(): the number of a list's buffers must not wrap
    """
    addr = ring.arena.anon(MOST)
    assert legacy(ring.ring, bgid=7, addr=addr, size=1, count=there) == 0

    res = legacy(ring.ring, bgid=7, addr=addr, size=1, count=3, bid=700)
    removed = sum(_say(ring, c.IORING_OP_REMOVE_BUFFERS, fd=MOST)[0][1] for _ in range(3))

    want = {
        min(there + 3, most): 0 if most > there else -errno.EOVERFLOW for most in (MOST - 1, MOST, 2 * MOST)
    }
    assert (removed, res) in want.items(), f"{removed} of {there} and 3 were there, {name_of(res)}"


@pytest.mark.parametrize("there", [0, 1, 3], ids=["none", "one", "some"])
def test_removing_as_many_as_can_be(ring: Subject, there: int) -> None:
    """REMOVE of 65536 where there are fewer: so many. The number asked for has 17 bits. io_remove_buffers()"""
    assert ring.provide_buffers(bgid=7, count=there + 1) == 0
    assert remove_legacy(ring.ring, bgid=7, count=1) == 1

    assert _say(ring, c.IORING_OP_REMOVE_BUFFERS, fd=MOST) == [(1, there, 0)]


@pytest.mark.parametrize("count", [1, 2, 5], ids=["one", "some", "more_than_there_are"])
def test_neither_says_anything_of_a_buffer(ring: Subject, count: int) -> None:
    """PROVIDE and REMOVE report 0 and a number, and no flag: no buffer is the completion's.

    io_provide_buffers(), io_remove_buffers(): io_req_set_res() with flags 0
    """
    addr = ring.arena.anon(libc.PAGE_SIZE)

    provided = _say(ring, c.IORING_OP_PROVIDE_BUFFERS, fd=3, addr=addr, len=64, off=700)
    removed = _say(ring, c.IORING_OP_REMOVE_BUFFERS, fd=count)

    assert provided == [(1, 0, 0)]
    assert removed == [(1, min(count, 3), 0)]


def test_removing_nothing_keeps_the_link(ring: Subject) -> None:
    """REMOVE from an emptied group with IOSQE_IO_LINK: 0, which is no failure, and the NOP behind it is done.

    io_remove_buffers(): req_set_fail() if it is less than 0
    """
    assert ring.provide_buffers(bgid=7, count=1) == 0
    assert remove_legacy(ring.ring, bgid=7, count=1) == 1

    found = _say(ring, c.IORING_OP_REMOVE_BUFFERS, fd=1, flags=c.IOSQE_IO_LINK, then_nop=True)

    assert found == [(1, 0, 0), (2, 0, 0)]


ASYNC = {
    "provide": (c.IORING_OP_PROVIDE_BUFFERS, "legacy", 0),
    "provide_to_nothing": (c.IORING_OP_PROVIDE_BUFFERS, "absent", 0),
    "provide_to_a_ring": (c.IORING_OP_PROVIDE_BUFFERS, "ring", -errno.EINVAL),
    "remove": (c.IORING_OP_REMOVE_BUFFERS, "legacy", 2),
    "remove_from_nothing": (c.IORING_OP_REMOVE_BUFFERS, "absent", -errno.ENOENT),
    "remove_from_a_ring": (c.IORING_OP_REMOVE_BUFFERS, "ring", -errno.EINVAL),
}


@pytest.mark.ends_within(3)
@pytest.mark.parametrize("opcode, group, want", ASYNC.values(), ids=ASYNC)
def test_done_by_a_worker(
    ring: Subject, make_group: Callable[..., Group], opcode: int, group: str, want: int
) -> None:
    """IOSQE_ASYNC: the same result, and the ring is not left locked: it registers and submits.

    io_ring_submit_lock() and _unlock() take uring_lock for a worker, on each way out.
    """
    if group == "ring":
        make_group()
    elif group == "legacy":
        assert ring.provide_buffers(bgid=7, count=5) == 0
    fields = {"fd": 2}
    if opcode == c.IORING_OP_PROVIDE_BUFFERS:
        fields = {"fd": 2, "addr": ring.arena.anon(libc.PAGE_SIZE), "len": 64}

    found = _say(ring, opcode, flags=c.IOSQE_ASYNC, **fields)

    assert found == [(1, want, 0)]
    assert bufring.register(ring.ring, addr=ring.arena.anon(libc.PAGE_SIZE), bgid=900) == 0
    assert bufring.unregister(ring.ring, 900) == 0
    assert legacy(ring.ring, bgid=8, addr=ring.arena.anon(64), count=1) == 0


def _end_of_user_space(ring: Subject) -> int:
    """The first address that a buffer may not reach, found with PROVIDE of one byte: access_ok()."""
    good, bad = 0, 1 << 63
    while bad - good > 1:
        middle = (good + bad) // 2
        if legacy(ring.ring, bgid=8, addr=middle, size=1, count=1) == 0:
            good = middle
        else:
            bad = middle
    return bad


@pytest.mark.parametrize(
    "count, size",
    [(2, 64), (3, 64), (MOST, 64), (MOST, 1 << 16)],
    ids=["two", "three", "most", "4_gib"],
)
def test_all_of_a_range_lies_in_user_space(ring: Subject, count: int, size: int) -> None:
    """A range whose first buffer ends where user space does: -EFAULT, no group comes of it. Up to there: 0.

    io_provide_buffers_prep(): access_ok() of all buffers; 65536 of 64 KiB are a length that 32 bits do not hold
    """
    end = _end_of_user_space(ring)

    assert legacy(ring.ring, bgid=7, addr=end - size, size=size, count=1) == 0
    refused = legacy(ring.ring, bgid=9, addr=end - size, size=size, count=count)
    allowed = legacy(ring.ring, bgid=10, addr=end - 2 * size, size=size, count=2)

    assert (name_of(refused), name_of(allowed)) == (name_of(-errno.EFAULT), "0")
    assert [remove_legacy(ring.ring, bgid=bgid, count=3) for bgid in (7, 10)] == [1, 2]


@pytest.mark.parametrize("count", [1, 2], ids=["one", "two"])
@pytest.mark.parametrize(
    "size", [4097, 65535, 65536, 65636], ids=["a_page_and_a_byte", "16_bits", "17_bits", "17_bits_and_more"]
)
def test_a_long_buffer_is_filled_to_its_end(ring: Subject, size: int, count: int) -> None:
    """A buffer longer than a page, and than 16 bits tell, and a READ of more than it: every byte of it, none behind.

    io_add_buffers(): io_buffer.len is 32 bits wide
    """
    addr = ring.arena.guarded(size * count)
    pattern = bytes(1 + at % 251 for at in range(size * count + 1))
    file = ring.arena.memfd(len(pattern))
    os.pwrite(file, pattern, 0)
    assert legacy(ring.ring, bgid=7, addr=addr, size=size, count=count, bid=40) == 0

    for number in range(count):
        selecting(ring.ring, c.IORING_OP_READ, file, bgid=7, length=2 * size).off = number * size
        cqe = ring.ring.complete()[0]
        assert (cqe.res, cqe.bid) == (size, 40 + number)

    assert ctypes.string_at(addr, size * count) == pattern[:-1]


def test_the_second_of_two_longest_buffers(ring: Subject) -> None:
    """Two buffers of 2 GiB, more than a request can move: the second begins where the first one ends.

    io_add_buffers(): the length is capped (MAX_RW_COUNT), the next address is not
    """
    size = 1 << 31
    nothing = libc.MAP_PRIVATE | libc.MAP_ANONYMOUS | libc.MAP_NORESERVE
    addr = ring.arena.map(2 * size, prot=libc.PROT_NONE, flags=nothing)
    ring.arena.protect(addr + size, libc.PAGE_SIZE, libc.PROT_READ | libc.PROT_WRITE)
    file = ring.arena.memfd(libc.PAGE_SIZE)
    os.pwrite(file, b"\xa5" * 8, 0)
    assert legacy(ring.ring, bgid=7, addr=addr, size=size, count=2, bid=40) == 0
    assert remove_legacy(ring.ring, bgid=7, count=1) == 1

    selecting(ring.ring, c.IORING_OP_READ, file, bgid=7, length=8)
    cqe = ring.ring.complete()[0]

    assert (cqe.res, cqe.bid) == (8, 41)
    assert ctypes.string_at(addr + size, 9) == b"\xa5" * 8 + b"\0"
