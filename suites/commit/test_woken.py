"""Who is woken by what: requests that wait, by their own data alone; who waits for completions, by each."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ringrig.model.params import ops, receives, rings
from ringrig.model.profiles import Profile
from ringrig.model.shelf import BGID, Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Op, Reply, incoming
from ringrig.model.waiting import DEFERRING, payloads, receive, told, waits
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.group import bids, remove_legacy
from ringrig.uring.stuck import asleep
from ringrig.uring.wire import Wire, stuff

pytestmark = pytest.mark.ends_within(3)

BIDS = (5, 300, 2, 9)
_LENGTH = 20
"""Bytes that each receive wants and gets: a READ of less would break its link."""
LATE = DEFERRING | c.IORING_SETUP_TASKRUN_FLAG
"""Requests go on in io_uring_enter() alone, and IORING_SQ_TASKRUN tells that one has something to do."""
_FOREVER = 600.0
"""Seconds, before which the case is ended."""

each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
each_receive = pytest.mark.parametrize("op", receives())


@pytest.mark.needs("defer_taskrun")
@each_kind
@each_receive
def test_room_to_send_wakes_no_receive(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire], op: Op, kind: Kind
) -> None:
    """A receive waits on an AF_UNIX socket over which the program sends, and its peer reads: it has nothing to do; then data comes.

    IORING_SQ_TASKRUN says so before and after. unix_write_space() wakes with EPOLLOUT: io_poll_wake()
    """
    ring = make_ring(flags=LATE)
    shelf, wire = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind), make_wire()
    receive(shelf, op, wire, length=_LENGTH)
    assert ring.ring.submit() == 1
    assert waits(ring.ring, op)

    seen = []
    for _ in range(3):
        os.write(wire.near, b"sent")
        assert wire.received(4) == b"sent"
        seen.append(ring.ring.sq_flags.value & c.IORING_SQ_TASKRUN)
    wire.send(incoming(0, _LENGTH))
    woken = ring.ring.sq_flags.value & c.IORING_SQ_TASKRUN

    assert (seen, woken) == ([0, 0, 0], c.IORING_SQ_TASKRUN)
    assert [Reply.of(cqe.res, cqe.flags) for cqe in ring.ring.complete()] == [told(op, BIDS[0], _LENGTH)]
    assert payloads(shelf, op) == {BIDS[0]: incoming(0, _LENGTH)}
    assert [bid for bid, _ in shelf.left()] == list(BIDS[1:])


@pytest.mark.needs("defer_taskrun", "send_select")
@each_kind
def test_data_wakes_no_send(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire], kind: Kind
) -> None:
    """A SEND waits for room in an AF_UNIX socket to which data comes: it has nothing to do; then its peer reads.

    IORING_SQ_TASKRUN says so before and after. sock_def_readable() wakes with EPOLLIN: io_poll_wake()
    """
    ring, wire = make_ring(flags=LATE), make_wire()
    shelf = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind)
    wire.narrow()
    full, stream = stuff(wire.near), shelf.load()
    shelf.queue(c.IORING_OP_SEND, wire.near)
    assert ring.ring.submit() == 1
    assert waits(ring.ring, Op.SEND)

    seen = []
    for _ in range(3):
        wire.send(b"sent")
        seen.append(ring.ring.sq_flags.value & c.IORING_SQ_TASKRUN)
    assert wire.received(full) == b"\xff" * full
    woken = ring.ring.sq_flags.value & c.IORING_SQ_TASKRUN

    assert (seen, woken) == ([0, 0, 0], c.IORING_SQ_TASKRUN)
    assert [Reply.of(cqe.res, cqe.flags) for cqe in ring.ring.complete()] == [Reply(res=64, bid=BIDS[0])]
    assert wire.received(64) == stream[:64]
    assert wire.unread() == 12
    assert remove_legacy(ring.ring, bgid=BGID, count=9) == 3 if kind is Kind.LEGACY else shelf.head() == 1


@each_kind
@pytest.mark.parametrize("end", ["data", "cancel"])
def test_a_receive_waits_while_much_is_sent(
    ring: Subject, make_wire: Callable[..., Wire], profile: Profile, end: str, kind: Kind
) -> None:
    """130 messages go out over the AF_UNIX socket on which a RECV waits, and are read: it still waits, and has no buffer.

    Issued anew each time, it would go to io-wq after APOLL_MAX_RETRY (128) times, which takes one. io_poll_wake()
    """
    shelf, wire = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind), make_wire()
    receive(shelf, Op.RECV, wire, length=_LENGTH)
    assert ring.ring.submit() == 1
    assert waits(ring.ring, Op.RECV)

    for _ in range(130):
        os.write(wire.near, b"sent")
        assert wire.received(4) == b"sent"

    assert waits(ring.ring, Op.RECV)
    if kind is Kind.RING and "pbuf_status" in profile.traits:
        assert shelf.head() == 0
    assert bids([shelf.group.read(length=1)]) == [BIDS[0]]
    if end == "cancel":
        assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
        assert [bid for bid, _ in shelf.left()] == list(BIDS[1:])
    else:
        wire.send(incoming(0, _LENGTH))
        assert shelf.to_the_end() == [Reply(res=_LENGTH, bid=BIDS[1])]
        assert shelf.written() == {BIDS[0]: bytes(1), BIDS[1]: incoming(0, _LENGTH)}
        assert [bid for bid, _ in shelf.left()] == list(BIDS[2:])


@contextmanager
def once_asleep(work: Callable[[], None]) -> Iterator[None]:
    """The calling thread sleeps within the block; then `work` is done by another."""
    sleeper = threading.get_native_id()

    def watch() -> None:
        settled(lambda: int(asleep(sleeper)), 1)
        work()

    other = threading.Thread(target=watch, daemon=True)
    other.start()
    yield
    other.join()


each_ring = pytest.mark.parametrize("flags", rings())


@each_kind
@each_ring
@pytest.mark.parametrize("link", [c.IOSQE_IO_LINK, c.IOSQE_IO_HARDLINK], ids=["link", "hardlink"])
@pytest.mark.parametrize("outcome", ["buffer", "no_buffer"])
def test_who_waits_for_a_link_is_woken_by_its_first(  # noqa: PLR0917
    make_ring: Callable[..., Subject],
    make_wire: Callable[..., Wire],
    outcome: str,
    link: int,
    flags: int,
    kind: Kind,
) -> None:
    """A RECV waits, a READ and a NOP linked behind it; the program waits for all three completions as data comes for the first.

    All three come of it: of what follows in a link nobody else would tell. Where there is no buffer (POLL_FIRST) they are
    cancelled, or run behind a hard link. io_req_local_work_add(): no IOU_F_TWQ_LAZY_WAKE with a link
    """
    ring, wire = make_ring(flags=flags), make_wire()
    bids = BIDS if outcome == "buffer" else ()
    shelf = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind, published=len(bids))
    shelf.queue(
        c.IORING_OP_RECV, wire.near, length=_LENGTH, ioprio=c.IORING_RECVSEND_POLL_FIRST, flags=link
    ).user_data = 1
    shelf.queue(c.IORING_OP_READ, shelf.group.zero(), length=8, flags=link).user_data = 2
    ring.ring.sqe().user_data = 3
    ring.ring.submit()
    assert waits(ring.ring, Op.RECV)

    with once_asleep(lambda: wire.send(incoming(0, _LENGTH))):
        found = ring.ring.complete(3, timeout=_FOREVER)

    got = {cqe.user_data: Reply.of(cqe.res, cqe.flags) for cqe in found}
    none, cancelled = Reply(res=-errno.ENOBUFS), Reply(res=-errno.ECANCELED)
    if outcome == "buffer":
        assert got == {1: Reply(res=_LENGTH, bid=5), 2: Reply(res=8, bid=300), 3: Reply(res=0)}
        assert shelf.written() == {5: incoming(0, _LENGTH), 300: bytes(8)}
    elif link == c.IOSQE_IO_LINK:
        assert got == {1: none, 2: cancelled, 3: cancelled}
    else:
        assert got == {1: none, 2: none, 3: Reply(res=0)}
    assert [bid for bid, _ in shelf.left()] == list(bids[2:])
    assert wire.unread() == (0 if bids else _LENGTH)


@each_kind
@each_ring
@pytest.mark.parametrize("op", ops([Op.READ, Op.RECV, Op.RECV_MULTISHOT]))
def test_who_waits_for_two_is_woken_by_the_second(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire], op: Op, flags: int, kind: Kind
) -> None:
    """Two receives wait, and the program for both their completions, as data comes for one and then for the other.

    Each has its own data, in whatever order they are run (suites/select/test_order.py).
    io_req_local_work_add(): woken once there is as much to do as is waited for
    """
    ring, wires = make_ring(flags=flags), (make_wire(), make_wire())
    shelf = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind)
    for at, wire in enumerate(wires):
        receive(shelf, op, wire, length=_LENGTH).user_data = at
    ring.ring.submit()
    assert waits(ring.ring, op, count=2)

    def send() -> None:
        for at, wire in enumerate(wires):
            wire.send(incoming(_LENGTH * at, _LENGTH))

    with once_asleep(send):
        found = ring.ring.complete(2, timeout=_FOREVER)

    held = [cqe.bid or 0 for cqe in found]
    assert sorted(held) == [5, 300]
    assert [Reply.of(cqe.res, cqe.flags) for cqe in found] == [told(op, bid, _LENGTH) for bid in held]
    assert sorted(cqe.user_data for cqe in found) == [0, 1]
    assert payloads(shelf, op) == {
        bid: incoming(_LENGTH * cqe.user_data, _LENGTH) for bid, cqe in zip(held, found, strict=True)
    }
    assert [bid for bid, _ in shelf.left()] == list(BIDS[2:])
