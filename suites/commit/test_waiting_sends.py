"""SENDs that wait for room: their buffer is theirs from the selection on, however the waiting ends."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import pytest

from ringrig.model.profiles import Profile
from ringrig.model.shelf import BGID, Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.group import Group, legacy, remove_legacy
from ringrig.uring.wire import Wire, stuff

pytestmark = [pytest.mark.needs("send_select"), pytest.mark.ends_within(3)]

SIZES = {9: 90_000, 300: 4000, 2: 64}
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
each_issue = pytest.mark.parametrize("flags", [0, c.IOSQE_ASYNC], ids=["locked", "io_wq"])


@pytest.fixture
def wire(make_wire: Callable[..., Wire]) -> Wire:
    """A socket that takes a few thousand bytes before a send has to wait."""
    made = make_wire()
    made.narrow()
    return made


def waits(shelf: Shelf) -> None:
    """Submit; the SEND is armed for poll, with whatever it could send gone."""
    assert shelf.ring.submit() >= 1
    assert settled(lambda: shelf.ring.armed(c.IORING_OP_SEND), 1) == 1
    assert shelf.ring.cqes() == []


def drained(shelf: Shelf, wire: Wire, length: int) -> bytes:
    """So many bytes of the other end's, read as they come; the request goes on meanwhile."""
    got = b""
    while len(got) < length:
        got += wire.received(1)
        got += wire.received()
        shelf.ring.submit()
    return got


def left(shelf: Shelf) -> int:
    """Buffers still in the group."""
    if shelf.kind is Kind.LEGACY:
        return remove_legacy(shelf.ring, bgid=BGID, count=9)
    return len(SIZES) - shelf.head()


def ended(shelf: Shelf, end: str) -> list[Reply]:
    """What the SEND tells as it is cancelled, or as its linked timeout runs out, which says -ETIME."""
    if end == "cancel":
        return shelf.cancelled()
    found, timeout = shelf.timed_out()
    assert timeout == Reply(res=-errno.ETIME)
    return found


def given_back(profile: Profile, kind: Kind) -> bool:
    """A provided buffer goes back to its list while a SEND waits, which then selects anew. io_arm_poll_handler()"""
    return kind is Kind.LEGACY and "poll_arm_returns_legacy_buffer" in profile.traits


@each_kind
@each_issue
@pytest.mark.parametrize("end", ["cancel", "nobody_listens", "time_runs_out"])
def test_nothing_was_sent(  # noqa: PLR0917
    ring: Subject, wire: Wire, profile: Profile, end: str, flags: int, kind: Kind
) -> None:
    """The socket is full, and the SEND is cancelled, also by its timeout, or its peer goes: -ECANCELED or -EPIPE, with the bid, and
    it is gone.

    A buffer to send from is not put back, but for a provided one on some kernels, which is no cancelled SEND's.
    io_buffers_select(), io_req_defer_failed(): io_put_kbuf()
    """
    shelf, full = Shelf(ring, SIZES, kind=kind), stuff(wire.near)
    shelf.load()
    sqe = shelf.queue(c.IORING_OP_SEND, wire.near, flags=flags)
    if end == "time_runs_out":
        shelf.limit(sqe)
    waits(shelf)

    if end == "nobody_listens":
        wire.close()
        found, error = shelf.to_the_end(), errno.EPIPE
    else:
        found, error = ended(shelf, end), errno.ECANCELED
        assert wire.received() == b"\xff" * full

    has_none = end != "nobody_listens" and given_back(profile, kind)
    assert found == [Reply(res=-error, bid=None if has_none else 9)]
    assert left(shelf) == (3 if has_none else 2)


PARTS = {
    "plain": pytest.param(0, socket.MSG_WAITALL, 1, id="plain"),
    "bundle": pytest.param(c.IORING_RECVSEND_BUNDLE, 0, 3, id="bundle", marks=pytest.mark.needs("bundle")),
}


@each_kind
@pytest.mark.parametrize("ioprio, msg_flags, count", PARTS.values())
@pytest.mark.parametrize("end", ["cancel", "nobody_listens", "time_runs_out"])
def test_a_part_was_sent(  # noqa: PLR0917
    ring: Subject, wire: Wire, end: str, ioprio: int, msg_flags: int, count: int, kind: Kind
) -> None:
    """A part is on its way as the SEND ends: that many bytes, with the first bid and no F_MORE; what was selected is gone.

    io_sendrecv_fail(), io_send(): done_io
    """
    shelf = Shelf(ring, SIZES, kind=kind)
    stream = shelf.load()
    sqe = shelf.queue(c.IORING_OP_SEND, wire.near, ioprio=ioprio, msg_flags=msg_flags)
    if end == "time_runs_out":
        shelf.limit(sqe)
    waits(shelf)

    if end == "nobody_listens":
        wire.close()
        found = shelf.to_the_end()
        assert [(reply.bid, reply.more) for reply in found] == [(9, False)]
    else:
        found = ended(shelf, end)
        got = wire.received()
        assert got == stream[: len(got)]
        assert found == [Reply(res=len(got), bid=9)]
    assert 0 < found[0].res < SIZES[9]
    assert left(shelf) == 3 - (count if kind is Kind.RING else 1)


@each_kind
@each_issue
@pytest.mark.parametrize("then", ["nothing", "another_group"])
def test_its_group_goes(  # noqa: PLR0917
    ring: Subject, wire: Wire, profile: Profile, then: str, flags: int, kind: Kind
) -> None:
    """The socket is full, and the group goes, or another comes under its id; then there is room: its own bytes, its own bid.

    The next group's buffers are all there. It has selected, and does not look again: io_do_buffer_select(). Only where its
    provided buffer was given back it gets the next group's first, or says that there is none.
    """
    shelf, full = Shelf(ring, SIZES, kind=kind), stuff(wire.near)
    stream = shelf.load()
    shelf.queue(c.IORING_OP_SEND, wire.near, msg_flags=socket.MSG_WAITALL, flags=flags)
    waits(shelf)
    if kind is Kind.RING:
        assert shelf.group.unregister() == 0
    else:
        assert remove_legacy(ring.ring, bgid=BGID, count=9) == (3 if given_back(profile, kind) else 2)
    late = Group(ring.ring, ring.arena, bgid=BGID)
    if then == "another_group" and kind is Kind.RING:
        assert late.register() == 0
        late.publish(8, 5)
    elif then == "another_group":
        assert legacy(ring.ring, bgid=BGID, addr=late.address_of(0), count=2, bid=8) == 0

    if given_back(profile, kind):
        assert wire.received(full) == b"\xff" * full
        assert shelf.to_the_end() == [
            Reply(res=64, bid=8) if then == "another_group" else Reply(res=-errno.ENOBUFS)
        ]
        assert remove_legacy(ring.ring, bgid=BGID, count=9) == (then == "another_group")
        return
    got = drained(shelf, wire, full + SIZES[9])

    assert shelf.to_the_end() == [Reply(res=SIZES[9], bid=9)]
    assert got[full:] == stream[: SIZES[9]]
    if then == "another_group" and kind is Kind.RING:
        assert [late.next() for _ in range(3)] == [8, 5, None]
        assert late.unregister() == 0
    else:
        assert remove_legacy(ring.ring, bgid=BGID, count=9) == (
            -errno.ENOENT if kind is Kind.RING else 2 * (then == "another_group")
        )
