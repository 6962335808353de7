"""Groups that come, go, are mapped and change their kind while others use them."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Sequence
from ctypes import memset, string_at

import pytest

from ringrig.model.subject import Subject
from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.group import Group, remove_legacy
from ringrig.uring.requests import selecting
from ringrig.uring.structs import io_uring_buf_reg, io_uring_sqe
from ringrig.uring.walks import (
    INSTANTS,
    NOWHERE,
    Call,
    Walks,
    enter,
    give_up,
    mapping,
    on_one_processor,
    take,
)

pytestmark = pytest.mark.ends_within(5)

PAGE, BGID, COUNT = libc.PAGE_SIZE, 700, 64
Scatter = Callable[[Sequence[Call]], list[Call]]


def provide(sqe: io_uring_sqe, *, addr: int, bid: int = 0, count: int = 1) -> None:
    """PROVIDE_BUFFERS of `count` buffers of 8 bytes to group BGID."""
    sqe.opcode, sqe.fd, sqe.addr, sqe.len = c.IORING_OP_PROVIDE_BUFFERS, count, addr, 8
    sqe.off, sqe.buf_group = bid, BGID


def remove(sqe: io_uring_sqe, count: int = 1) -> None:
    """REMOVE_BUFFERS from group BGID."""
    sqe.opcode, sqe.fd, sqe.buf_group = c.IORING_OP_REMOVE_BUFFERS, count, BGID


def nobodys(addrs: list[int]) -> None:
    """Mappings of rings that have gone: fresh memory each, which may be written to; they are unmapped.

    What cannot be mapped is -ENOMEM, later -EINVAL (both in 6.12, where the group can go between its two look-ups).
    """
    assert {addr for addr in addrs if addr < 0} <= {-errno.ENOMEM, -errno.EINVAL}
    mapped = [addr for addr in addrs if addr > 0]
    assert {string_at(addr, PAGE) for addr in mapped} <= {bytes(PAGE)}
    for addr in mapped:
        memset(addr, 0x5A, PAGE)
    for addr in mapped:
        assert libc.munmap(addr, PAGE) == 0


@pytest.mark.parametrize("issue", [0, c.IOSQE_ASYNC], ids=["locked", "io_wq"])
@pytest.mark.parametrize("processes", [False, True], ids=["threads", "processes"])
def test_requests_find_the_whole_group_or_none(
    make_ring: Callable[..., Subject], dice: random.Random, scattered: Scatter, issue: int, processes: bool
) -> None:
    """A ring of 64 published buffers comes and goes 24 times under 64 READs: each gets one, in order, or -ENOBUFS.

    Each time the order begins anew. Looking up, selecting and committing are one with the group in place:
    io_buffer_select(), io_unregister_pbuf_ring() under uring_lock.
    """
    subject = make_ring(entries=COUNT)
    group = Group(subject.ring, subject.arena, bgid=BGID, entries=COUNT, size=8)
    group.data = subject.arena.anon(8 * COUNT, shared=True)
    order = dice.sample(range(COUNT), COUNT)
    fd = subject.ring.fd
    reg = io_uring_buf_reg(ring_addr=group.memory.addr, ring_entries=COUNT, bgid=BGID)
    assert group.register() == 0  # the RFC's kernel clears the tail as it registers
    group.publish(*order)
    assert group.unregister() == 0
    for _ in range(COUNT):
        group.queue_read(length=8, flags=issue)
    assert subject.ring.show() == COUNT
    submitters = [scattered([enter(fd)] * 32) for _ in range(2)]

    with Walks(scattered([take(fd, reg), give_up(fd, reg)] * 24), *submitters, processes=processes) as walks:
        walks.go()
        results = walks.results()
        found = subject.ring.complete(COUNT)

    assert [set(some) for some in results] == [{0}, {1}, {1}]
    assert {(cqe.res, cqe.bid is None) for cqe in found} <= {(8, False), (-errno.ENOBUFS, True)}
    got = [order.index(cqe.bid) for cqe in found if cqe.bid is not None]
    if not issue:
        steps = zip([-1, *got], got, strict=False)
        assert [(before, at) for before, at in steps if at not in {0, before + 1}] == []
    assert {(group.unregister(), group.read().res)} == {(-errno.ENOENT, -errno.ENOBUFS)}


def test_one_of_two_gets_the_id(
    make_ring: Callable[..., Subject], dice: random.Random, scattered: Scatter
) -> None:
    """Two tasks register and unregister one id 48 times each: 0 or -EEXIST, 0 or -ENOENT, and the sum is right.

    io_uring_register() holds uring_lock over io_register_pbuf_ring(), io_unregister_pbuf_ring()
    """
    subject = make_ring()
    fd = subject.ring.fd
    regs = [
        io_uring_buf_reg(ring_addr=subject.arena.anon(2 * PAGE), ring_entries=8, bgid=BGID) for _ in range(2)
    ]

    with Walks(*(scattered([take(fd, reg), give_up(fd, reg)] * 48) for reg in regs)) as walks:
        walks.go()
        results = walks.results()

    taken, given = ([res for some in results for res in some[start::2]] for start in (0, 1))
    assert set(taken) <= {0, -errno.EEXIST}
    assert set(given) <= {0, -errno.ENOENT}
    left = taken.count(0) - given.count(0)
    assert left in {0, 1}
    assert bufring.unregister(subject.ring, BGID) == (0 if left else -errno.ENOENT)


@pytest.mark.needs("mmap")
def test_a_ring_is_mapped_whole_or_not(
    make_ring: Callable[..., Subject], dice: random.Random, scattered: Scatter
) -> None:
    """A ring in kernel memory comes and goes 32 times while two tasks map it: zeros, or an error; then it is nobody's.

    mmap() cannot take uring_lock and holds the list or region by other means: io_pbuf_get_bl(), CVE-2024-35880.
    """
    subject = make_ring()
    fd, gone = subject.ring.fd, io_uring_buf_reg(bgid=BGID)
    reg = io_uring_buf_reg(ring_entries=PAGE // 16, bgid=BGID, flags=c.IOU_PBUF_RING_MMAP)
    mappers = [scattered([mapping(fd, BGID)] * 32) for _ in range(2)]

    with Walks(scattered([take(fd, reg), give_up(fd, gone)] * 32), *mappers) as walks:
        walks.go()
        changes, *mapped = walks.results()

    assert set(changes) == {0}
    nobodys([addr for some in mapped for addr in some])
    assert bufring.register(subject.ring, bgid=BGID, entries=8, flags=c.IOU_PBUF_RING_MMAP) == 0
    addr = bufring.map_kernel_ring(subject.ring, bgid=BGID, entries=8)
    assert string_at(addr, PAGE) == bytes(PAGE)
    assert (libc.munmap(addr, PAGE), bufring.unregister(subject.ring, BGID)) == (0, 0)


@pytest.mark.needs("mmap")
def test_mapping_is_interrupted_anywhere(make_ring: Callable[..., Subject], interrupting: Scatter) -> None:
    """A ring in kernel memory goes, or comes back, each time a timer goes off, under mmap()s of which three in four have no room.

    Who changes it is urgent and on the same processor: in a preemptible kernel that happens between any two instructions
    of what looks the list up and holds it while its pages are mapped. io_pbuf_get_bl().
    Fixed by "kbuf: hold io_buffer_list reference over mmap" (CVE-2024-35880; 6.8.5, 6.6.26).
    """
    subject = make_ring()
    fd, gone = subject.ring.fd, io_uring_buf_reg(bgid=BGID)
    reg = io_uring_buf_reg(ring_entries=PAGE // 16, bgid=BGID, flags=c.IOU_PBUF_RING_MMAP)
    change = interrupting([give_up(fd, gone), take(fd, reg)] * (INSTANTS // 2))
    maps = [*[mapping(fd, BGID, NOWHERE)] * 3, mapping(fd, BGID)] * INSTANTS
    assert bufring.register(subject.ring, bgid=BGID, entries=PAGE // 16, flags=c.IOU_PBUF_RING_MMAP) == 0

    with on_one_processor(), Walks(change, maps, processes=True) as walks:
        walks.go()
        (allowed, *changes), mapped = walks.results()

    assert allowed in {0, -errno.EPERM}
    assert set(changes) == {0}
    assert {addr for addr in mapped if addr < 0} <= {-errno.ENOMEM, -errno.EINVAL}
    assert bufring.unregister(subject.ring, BGID) == 0


@pytest.mark.needs("mmap")
def test_an_emptied_group_is_mapped_as_a_ring_or_not(
    make_ring: Callable[..., Subject], dice: random.Random, scattered: Scatter
) -> None:
    """A buffer is provided and removed, the group made a ring in kernel memory, and taken away, 24 times, under mmap().

    The list is made anew instead of changed: a mapper must not see a half of it.
    Fixed by 8802766324e1 (CVE-2025-21836; 6.12.16, 6.14).
    """
    subject = make_ring(entries=COUNT)
    ring, fd, gone = subject.ring, subject.ring.fd, io_uring_buf_reg(bgid=BGID)
    reg = io_uring_buf_reg(ring_entries=PAGE // 16, bgid=BGID, flags=c.IOU_PBUF_RING_MMAP)
    buffer = subject.arena.anon(64)
    for _ in range(24):
        provide(ring.sqe(), addr=buffer)
        remove(ring.sqe())
    assert ring.show() == 48
    change = [enter(fd, 2), take(fd, reg), give_up(fd, gone)]
    mappers = [scattered([mapping(fd, BGID)] * 32) for _ in range(2)]

    with Walks(scattered(change * 24), *mappers) as walks:
        walks.go()
        changes, *mapped = walks.results()

    assert changes == [2, 0, 0] * 24
    assert [cqe.res for cqe in ring.cqes()] == [0, 1] * 24
    nobodys([addr for some in mapped for addr in some])
    assert bufring.register(ring, bgid=BGID, entries=8, flags=c.IOU_PBUF_RING_MMAP) == 0
    assert bufring.unregister(ring, BGID) == 0


def test_provided_buffers_are_read_removed_or_left(
    make_ring: Callable[..., Subject], dice: random.Random, scattered: Scatter
) -> None:
    """PROVIDE of 2, REMOVE of 1 and READ, 20 of each in any order, by three tasks and io-wq: the sum is right.

    Each bid is read once at most, with its bytes; provided = read + removed + left. io_add_buffers(),
    io_remove_buffers_legacy(), io_provided_buffer_select() under uring_lock.
    """
    subject = make_ring(entries=COUNT)
    ring = subject.ring
    group = Group(ring, subject.arena, bgid=BGID, entries=COUNT, size=8)
    memset(group.data, 0xA5, 8 * COUNT)
    kinds = dice.sample(["provide", "remove", "read"] * 20, 60)
    bid = 0
    for number, kind in enumerate(kinds):
        if kind == "read":
            sqe = selecting(ring, c.IORING_OP_READ, group.zero(), bgid=BGID, length=8)
        elif kind == "remove":
            remove(sqe := ring.sqe())
        else:
            provide(sqe := ring.sqe(), addr=group.address_of(bid), bid=bid, count=2)
            bid += 2
        sqe.user_data = number
        sqe.flags |= c.IOSQE_ASYNC * dice.randrange(2)
    submitters = [scattered([enter(ring.fd)] * 20) for _ in range(3)]
    assert ring.show() == 60

    with Walks(*submitters) as walks:
        walks.go()
        walks.results()
        found = ring.complete(60)

    said = {kind: [cqe for cqe in found if kinds[cqe.user_data] == kind] for kind in set(kinds)}
    assert {cqe.res for cqe in said["provide"]} == {0}
    assert {cqe.res for cqe in said["remove"]} <= {0, 1, -errno.ENOENT}  # ENOENT: nobody has provided yet
    reads = [cqe.bid for cqe in said["read"] if cqe.bid is not None]
    assert {(cqe.res, cqe.bid is None) for cqe in said["read"]} <= {(8, False), (-errno.ENOBUFS, True)}
    assert len(set(reads)) == len(reads)
    assert [group.content(one, 8) for one in range(40)] == [
        bytes(8) if one in reads else b"\xa5" * 8 for one in range(40)
    ]
    removed = [cqe.res for cqe in said["remove"]].count(1)
    assert len(reads) + removed + max(remove_legacy(ring, bgid=BGID, count=COUNT), 0) == 40
