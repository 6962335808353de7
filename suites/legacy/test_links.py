"""PROVIDE_BUFFERS and REMOVE_BUFFERS in links: a mistake stops what it is linked with, or the submission; who runs still."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping

import pytest

from ringrig.model.shelf import BGID, Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind
from ringrig.uring import consts as c
from ringrig.uring.group import Group
from ringrig.uring.requests import selecting
from ringrig.uring.ring import Cqe
from ringrig.uring.structs import io_uring_sqe

pytestmark = pytest.mark.ends_within(3)

STOCK = {5: 64, 300: 48, 2: 16}
"""Bid and bytes of what group 7 has at first."""
NEW = (700, 701, 702)
"""Bids that the places of a link provide; a REMOVE stands in the middle."""
_RING, _NOTHING = 6, 800
_PROVIDE, _REMOVE = c.IORING_OP_PROVIDE_BUFFERS, c.IORING_OP_REMOVE_BUFFERS
_BEHIND = 9

each_link = pytest.mark.parametrize("link", [c.IOSQE_IO_LINK, c.IOSQE_IO_HARDLINK], ids=["link", "hardlink"])
each_place = pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "second", "third"])
each_submission = pytest.mark.parametrize(
    "flags",
    [
        pytest.param(0, id="stops"),
        pytest.param(c.IORING_SETUP_SUBMIT_ALL, id="submit_all", marks=pytest.mark.needs("submit_all")),
    ],
)

MISTAKES: Mapping[str, tuple[int, int, Mapping[str, int]]] = {
    "provides_nothing": (errno.E2BIG, _PROVIDE, {"fd": 0}),
    "provides_of_the_kernels": (errno.EFAULT, _PROVIDE, {"addr": 0xFFFF888000000000}),
    "provides_by_selection": (errno.EOPNOTSUPP, _PROVIDE, {"flags": c.IOSQE_BUFFER_SELECT}),
    "removes_nothing": (errno.EINVAL, _REMOVE, {"fd": 0}),
    "removes_at_an_address": (errno.EINVAL, _REMOVE, {"addr": 4096}),
}
"""Refused as they are submitted: io_init_req(), io_provide_buffers_prep(), io_remove_buffers_prep()."""
FAILURES: Mapping[str, tuple[int, int, Mapping[str, int]]] = {
    "provides_to_a_ring": (errno.EINVAL, _PROVIDE, {"buf_group": _RING}),
    "removes_from_a_ring": (errno.EINVAL, _REMOVE, {"buf_group": _RING}),
    "removes_from_no_group": (errno.ENOENT, _REMOVE, {"buf_group": _NOTHING}),
}
"""Refused as they are run: io_provide_buffers(), io_remove_buffers()."""


def _manage(shelf: Shelf, opcode: int, user_data: int, **fields: int) -> io_uring_sqe:
    """Queue a PROVIDE of one buffer, or a REMOVE of one, which is good but for `fields`."""
    sqe = shelf.ring.sqe()
    sqe.opcode, sqe.fd, sqe.buf_group, sqe.user_data = opcode, 1, BGID, user_data
    if opcode == _PROVIDE:
        sqe.addr, sqe.len, sqe.off = shelf.group.data, shelf.group.size, NEW[user_data]
    for name, value in fields.items():
        setattr(sqe, name, value)
    return sqe


def _link_of_three(shelf: Shelf, place: int, wrong: tuple[int, int, Mapping[str, int]], link: int) -> None:
    """PROVIDE, REMOVE, PROVIDE in a link, and what is wrong in one place of it."""
    _, opcode, fields = wrong
    for at, good in enumerate((_PROVIDE, _REMOVE, _PROVIDE)):
        sqe = _manage(shelf, opcode, at, **fields) if at == place else _manage(shelf, good, at)
        sqe.flags |= link * (at < 2)


def _read(shelf: Shelf) -> Cqe:
    """Queue a READ behind all, with a buffer of group 7: what it says if the group is as it was."""
    selecting(shelf.ring, c.IORING_OP_READ, shelf.group.zero(), bgid=BGID, length=8).user_data = _BEHIND
    return Cqe(_BEHIND, 8, 5 << c.IORING_CQE_BUFFER_SHIFT | c.IORING_CQE_F_BUFFER)


@each_submission
@each_link
@each_place
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_link(
    make_ring: Callable[..., Subject], name: str, place: int, link: int, flags: int
) -> None:
    """A mistake in one of three places of a link: it says which, the others -ECANCELED, nothing is provided or removed.

    The first tells at once, the others after what was submitted behind the link, a READ. Only a mistake that ends its link
    ends the submission, with itself as the last one counted; the READ is left in the SQ, and run when asked for again;
    with IORING_SETUP_SUBMIT_ALL it is not. A hard link is none any more. io_submit_fail_init(), io_submit_sqes()
    """
    ring = make_ring(flags=flags)
    shelf = Shelf(ring, STOCK, kind=Kind.LEGACY)
    _link_of_three(shelf, place, MISTAKES[name], link)
    behind = _read(shelf)
    told = [Cqe(at, -(MISTAKES[name][0] if at == place else errno.ECANCELED), 0) for at in range(3)]

    found = [(ring.ring.submit(), ring.ring.show(), ring.ring.cqes()) for _ in range(2)]

    if place == 2 and not flags:
        assert found == [(3, 1, told), (1, 0, [behind])]
    else:
        assert found == [(4, 0, [told[0], behind, *told[1:]]), (0, 0, [])]
    assert shelf.written() == {5: bytes(8)}
    assert shelf.left() == list(STOCK.items())[1:]


@each_submission
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_alone(make_ring: Callable[..., Subject], name: str, flags: int) -> None:
    """A PROVIDE, a mistake and a READ, not linked: the first is done, the mistake tells, and the submission ends with it;
    with IORING_SETUP_SUBMIT_ALL it goes on. io_submit_sqes()
    """
    ring = make_ring(flags=flags)
    shelf = Shelf(ring, STOCK, kind=Kind.LEGACY)
    error, opcode, fields = MISTAKES[name]
    _manage(shelf, _PROVIDE, 0)
    _manage(shelf, opcode, 1, **fields)
    behind = _read(shelf)

    found = [(ring.ring.submit(), ring.ring.show(), sorted(ring.ring.cqes())) for _ in range(2)]

    told = [Cqe(0, 0, 0), Cqe(1, -error, 0)]
    assert found == ([(3, 0, [*told, behind]), (0, 0, [])] if flags else [(2, 1, told), (1, 0, [behind])])
    assert shelf.written() == {5: bytes(8)}
    assert shelf.left() == [*list(STOCK.items())[1:], (NEW[0], shelf.group.size)]


@each_link
@each_place
@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_in_a_link(
    ring: Subject, make_group: Callable[..., Group], name: str, place: int, link: int
) -> None:
    """PROVIDE, REMOVE, PROVIDE in a link, one of which fails as it is run: those before it are done, those behind it
    -ECANCELED, or done if the link is hard; told in their order. req_set_fail(), io_disarm_next()
    """
    shelf, other = Shelf(ring, STOCK, kind=Kind.LEGACY), make_group(bgid=_RING)
    other.publish(1)
    _link_of_three(shelf, place, FAILURES[name], link)
    done = [at for at in range(3) if at != place and (at < place or link == c.IOSQE_IO_HARDLINK)]

    found = ring.ring.complete(3)

    want = dict.fromkeys(range(3), -errno.ECANCELED) | {at: int(at == 1) for at in done}
    want[place] = -FAILURES[name][0]
    assert found == [Cqe(at, res, 0) for at, res in want.items()]
    new = [(NEW[at], shelf.group.size) for at in (0, 2) if at in done]
    assert shelf.left() == [*list(STOCK.items())[int(1 in done) :], *new]
    assert [other.next(), other.next()] == [1, None]
