"""Requests in a link: what a failure cancels, whose completion tells of it, and that what is cancelled takes no buffer."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from itertools import combinations

import pytest

from ringrig.model.profiles import Profile
from ringrig.model.shelf import BGID, Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.group import Group
from ringrig.uring.requests import Vector, cancel, selecting
from ringrig.uring.ring import Ring
from ringrig.uring.structs import io_uring_sqe
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(3)

BIDS = (5, 300, 2, 9)
_LENGTH = 8
_EMPTY, _LAST = 8, 99
"""A group without buffers, and the user_data of a NOP behind all."""

Told = dict[int, Reply]
"""What completions say, by user_data: the request's place in its link."""

each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
each_link = pytest.mark.parametrize("link", [c.IOSQE_IO_LINK, c.IOSQE_IO_HARDLINK], ids=["link", "hardlink"])
OPCODES = {
    "read": c.IORING_OP_READ,
    "readv": c.IORING_OP_READV,
    "recv": c.IORING_OP_RECV,
    "recvmsg": c.IORING_OP_RECVMSG,
}
_PLACES = ("first", "second", "third")
_CANCELLED = Reply(res=-errno.ECANCELED)


def subsets(places: int) -> list[tuple[int, ...]]:
    """All sets of places in a link of so many."""
    return [one for size in range(places + 1) for one in combinations(range(places), size)]


def read(shelf: Shelf) -> io_uring_sqe:
    """A READ that ends at once, with the next buffer of the shelf's."""
    return selecting(shelf.ring, c.IORING_OP_READ, shelf.group.zero(), bgid=BGID, length=_LENGTH)


def finish(ring: Ring) -> Told:
    """Completions of all that is queued, or on its way to its end: a NOP behind it tells when."""
    ring.submit()
    ring.sqe().user_data = _LAST
    found: Told = {}
    while _LAST not in found:
        for cqe in ring.complete():
            assert cqe.user_data not in found, f"request {cqe.user_data} has two completions"
            found[cqe.user_data] = Reply.of(cqe.res, cqe.flags)
    del found[_LAST]
    return dict(sorted(found.items()))


def untouched(shelf: Shelf, *, taken: int = 0) -> bool:
    """The first `taken` buffers were filled by reads, and the others are as they were, still to be had in their order."""
    bids = list(shelf.sizes)
    filled = dict.fromkeys(bids[:taken], bytes(_LENGTH))
    return shelf.written() == filled and [bid for bid, _ in shelf.left()] == bids[taken:]


def empty_group(shelf: Shelf, subject: Subject) -> None:
    """A ring that has no buffer; to provided buffers no group is the same."""
    if shelf.kind is Kind.RING:
        group = Group(subject.ring, subject.arena, bgid=_EMPTY)
        assert group.register() == 0
        subject.owns(_EMPTY)


def _nothing_provided(ring: Ring) -> io_uring_sqe:
    sqe = ring.sqe()
    sqe.opcode, sqe.buf_group = c.IORING_OP_PROVIDE_BUFFERS, _EMPTY
    return sqe


def _nothing_removed(ring: Ring) -> io_uring_sqe:
    sqe = ring.sqe()
    sqe.opcode, sqe.buf_group = c.IORING_OP_REMOVE_BUFFERS, BGID
    return sqe


def _unknown_flag(ring: Ring) -> io_uring_sqe:
    sqe = selecting(ring, c.IORING_OP_RECV, -1, bgid=BGID)
    sqe.ioprio = 1 << 15
    return sqe


MISTAKES: Mapping[str, tuple[int, Callable[[Ring], io_uring_sqe]]] = {
    "provides_nothing": (errno.E2BIG, _nothing_provided),
    "removes_nothing": (errno.EINVAL, _nothing_removed),
    "unknown_flag": (errno.EINVAL, _unknown_flag),
    "selects_in_vain": (
        errno.EOPNOTSUPP,
        lambda ring: selecting(ring, c.IORING_OP_SENDMSG, -1, bgid=BGID),
    ),
}
"""Requests that are refused as they are submitted: what they say."""


@each_kind
@each_link
@pytest.mark.parametrize(
    "wrong", subsets(3)[1:], ids=lambda places: "_and_".join(_PLACES[at] for at in places)
)
def test_each_mistake_of_a_link_is_told(ring: Subject, wrong: tuple[int, ...], link: int, kind: Kind) -> None:
    """A link of three READs, some of which are mistakes of two sorts instead: these say which, the others -ECANCELED.

    Nothing is run, in whatever order good and bad stand, and no buffer is taken. The first of a link has its own errno
    though another fails behind it: io_submit_fail_init(), io_req_tw_fail_links()
    """
    shelf = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind)
    found, want = {}, {}
    for names in (("provides_nothing", "selects_in_vain"), ("unknown_flag", "removes_nothing")):
        want[names] = dict.fromkeys(range(3), _CANCELLED)
        for place in range(3):
            if place in wrong:
                error, make = MISTAKES[names[wrong.index(place) % 2]]
                sqe, want[names][place] = make(ring.ring), Reply(res=-error)
            else:
                sqe = read(shelf)
            sqe.user_data = place
            sqe.flags |= link * (place < 2)
        found[names] = finish(ring.ring)

    assert found == want
    assert untouched(shelf)


@each_kind
@each_link
@pytest.mark.parametrize("name", ["provides_nothing", "selects_in_vain"])
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "second", "third"])
def test_who_is_silent_about_a_mistake(ring: Subject, place: int, name: str, link: int, kind: Kind) -> None:
    """A link of three with one mistake, and IOSQE_CQE_SKIP_SUCCESS in each combination: the first request is always told of.

    The others are if it is not silent, though they be. req_set_fail(), io_fail_links(): REQ_F_SKIP_LINK_CQES
    """
    shelf = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind)
    error, make = MISTAKES[name]
    found, want = {}, {}
    for silent in subsets(3):
        for at in range(3):
            sqe = make(ring.ring) if at == place else read(shelf)
            sqe.user_data = at
            sqe.flags |= link * (at < 2) | c.IOSQE_CQE_SKIP_SUCCESS * (at in silent)
        found[silent] = finish(ring.ring)
        want[silent] = {
            at: Reply(res=-error) if at == place else _CANCELLED for at in range(1 if 0 in silent else 3)
        }

    assert found == want
    assert untouched(shelf)


@each_kind
@pytest.mark.parametrize(
    "opcode, link",
    [
        *(pytest.param(opcode, c.IOSQE_IO_LINK, id=f"{name}_link") for name, opcode in OPCODES.items()),
        pytest.param(c.IORING_OP_READ, c.IOSQE_IO_HARDLINK, id="read_hardlink"),
        pytest.param(c.IORING_OP_RECV, c.IOSQE_IO_HARDLINK, id="recv_hardlink"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2, None], ids=["first", "second", "third", "none"])
def test_who_is_silent_about_a_failure(  # noqa: PLR0917
    ring: Subject,
    make_wire: Callable[..., Wire],
    profile: Profile,
    place: int | None,
    link: int,
    opcode: int,
    kind: Kind,
) -> None:
    """A link of three, of which one finds no buffer: -ENOBUFS; with IOSQE_CQE_SKIP_SUCCESS in each combination.

    Before it each has its buffer, and its completion unless it is silent itself; those behind it are cancelled and take
    none, with a completion unless *it* was to be silent; behind a hard link they run. req_set_fail(), io_fail_links().
    On 6.1 a READV that is not the first selects as the link is made, and then is a mistake as those above are.
    """
    wire, vector = make_wire(), Vector(_LENGTH)
    hard = link == c.IOSQE_IO_HARDLINK
    mistaken = opcode == c.IORING_OP_READV and place and "async_readv_selects_early" in profile.traits
    failing = 0 if mistaken else place
    done = {at for at in range(3) if at != place and (hard or place is None or at < place) and not mistaken}
    bids = tuple(range(200, 202 + 8 * len(done)))
    shelf = Shelf(ring, dict.fromkeys(bids, 16), kind=kind)
    empty_group(shelf, ring)
    first, found, want = iter(bids), {}, {}
    for silent in subsets(3):
        told: Told = {}
        for at in range(3):
            if at == place:
                fd = shelf.group.zero() if opcode in {c.IORING_OP_READ, c.IORING_OP_READV} else wire.near
                message = vector if opcode in {c.IORING_OP_READV, c.IORING_OP_RECVMSG} else None
                sqe = selecting(ring.ring, opcode, fd, bgid=_EMPTY, length=_LENGTH, vector=message)
                reply = Reply(res=-errno.ENOBUFS)
            else:
                sqe = read(shelf)
                reply = Reply(res=_LENGTH, bid=next(first)) if at in done else _CANCELLED
            if at == failing or (at if at in done else failing) not in silent:
                told[at] = reply
            sqe.user_data = at
            sqe.flags |= link * (at < 2) | c.IOSQE_CQE_SKIP_SUCCESS * (at in silent)
        found[silent], want[silent] = finish(ring.ring), told

    assert found == want
    assert untouched(shelf, taken=8 * len(done))


@each_kind
@pytest.mark.parametrize("opcode", [c.IORING_OP_RECV, c.IORING_OP_RECVMSG], ids=["recv", "recvmsg"])
@pytest.mark.parametrize("silent", [True, False], ids=["silent", "told"])
@pytest.mark.parametrize("end", ["cancelled", "no_buffer", "data"])
def test_who_is_silent_about_a_failure_that_comes_later(  # noqa: PLR0917
    ring: Subject, make_wire: Callable[..., Wire], end: str, silent: bool, opcode: int, kind: Kind
) -> None:
    """A receive waits, a READ and a NOP linked behind it; it is cancelled, or data comes and no buffer is left, or one is.

    It tells of its failure; those behind it are cancelled, with completions unless it was to be silent; or all run.
    io_poll_task_func(), io_req_defer_failed(), io_fail_links()
    """
    shelf, wire = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind), make_wire()
    flags = c.IOSQE_IO_LINK | c.IOSQE_CQE_SKIP_SUCCESS * silent
    shelf.queue(opcode, wire.near, length=64, flags=flags).user_data = 0
    behind = read(shelf)
    behind.user_data, behind.flags = 1, behind.flags | c.IOSQE_IO_LINK
    ring.ring.sqe().user_data = 2
    assert ring.ring.submit() == 3
    assert settled(lambda: ring.ring.armed(opcode), 1) == 1
    taken = shelf.left() if end == "no_buffer" else []

    want: Told
    if end == "data":
        wire.send(incoming(0, 20))
        want = {1: Reply(res=_LENGTH, bid=BIDS[1]), 2: Reply(res=0)}
        if not silent:
            want[0] = Reply(res=20, bid=BIDS[0])
    else:
        if end == "cancelled":
            cancel(ring.ring, 0, own=3)
        else:
            wire.send(incoming(0, 20))
        want = {0: Reply(res=-(errno.ECANCELED if end == "cancelled" else errno.ENOBUFS))}
        if not silent:
            want |= {1: _CANCELLED, 2: _CANCELLED}
        if end == "cancelled":
            want[3] = Reply(res=0)

    assert finish(ring.ring) == want
    if end == "data":
        assert shelf.written() == {BIDS[0]: incoming(0, 20), BIDS[1]: bytes(_LENGTH)}
        assert shelf.left() == [(bid, 64) for bid in BIDS[2:]]
    else:
        assert [bid for bid, _ in (taken or shelf.left())] == list(BIDS)
        assert wire.unread() == (20 if end == "no_buffer" else 0)
