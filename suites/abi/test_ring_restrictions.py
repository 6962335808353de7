"""Restrictions of a ring that were refused: nothing of them holds, and the list that is given next says what is allowed."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from ringrig.model.calls import BufReg, BufStatus, registration, status, unregistration
from ringrig.model.profiles import Profile
from ringrig.model.spec import Model
from ringrig.model.subject import Subject
from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.floods import request
from ringrig.uring.group import Group
from ringrig.uring.ring import Cqe

Make = Callable[..., BufReg | BufStatus]
Restriction = tuple[int, int]

_REGISTER, _SQE = c.IORING_RESTRICTION_REGISTER_OP, c.IORING_RESTRICTION_SQE_OP
_FLAGS, _REQUIRED = c.IORING_RESTRICTION_SQE_FLAGS_ALLOWED, c.IORING_RESTRICTION_SQE_FLAGS_REQUIRED
_OTHER = 700
"""A group that is not there."""
MISTAKES: dict[str, Restriction] = {
    "unknown_kind": (0xFFFF, 0),
    "unknown_register_operation": (_REGISTER, 0xFF),
    "unknown_operation": (_SQE, 0xFF),
}
BASE: tuple[Restriction, ...] = ((_REGISTER, c.IORING_REGISTER_PROBE), (_SQE, c.IORING_OP_NOP))
"""A list of both sorts: of one alone it depends on the kernel whether the other is free (register_restrictions_apart)."""

OPERATIONS = {"register": registration, "unregister": unregistration, "status": status}
each_operation = pytest.mark.parametrize("make", OPERATIONS.values(), ids=OPERATIONS)
each_try = pytest.mark.parametrize(
    "mistakes, again",
    [
        *(pytest.param((mistake,), False, id=name) for name, mistake in MISTAKES.items()),
        pytest.param(tuple(MISTAKES.values()), True, id="and_given_again"),
    ],
)
"""Mistakes at the end of as many refused lists, and whether the list that is taken then says the same."""


@pytest.fixture
def ring(make_ring: Callable[..., Subject]) -> Subject:
    """A disabled ring."""
    return make_ring(flags=c.IORING_SETUP_R_DISABLED)


def refused(ring: Subject, *restrictions: Restriction) -> None:
    assert ring.ring.restrict(*restrictions) == -errno.EINVAL


@each_operation
@each_try
def test_a_register_operation_of_a_refused_list(
    ring: Subject, model: Model, make: Make, mistakes: tuple[Restriction, ...], again: bool
) -> None:
    """A list that allows the operation and ends in a mistake: -EINVAL; the next one allows it, or does not.

    -EACCES unless the second list allows it too. io_register_restrictions(): reset if an error happened
    """
    call = make()
    if call.op == c.IORING_REGISTER_PBUF_STATUS and "pbuf_status" not in model.traits:
        pytest.skip("needs status: IORING_RESTRICTION_REGISTER_OP refuses an operation it does not know")
    model.disable()
    if make is not registration:
        assert ring.say(registration()) == model.say(registration())
    for mistake in mistakes:
        refused(ring, (_REGISTER, call.op), mistake)
    second = (*BASE, (_REGISTER, call.op)) if again else BASE
    assert ring.ring.restrict(*second) >= 0
    model.restrict(*(op for kind, op in second if kind == _REGISTER))
    assert ring.ring.enable() == 0
    model.enable()

    assert ring.say(call) == model.say(call)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A request that selects or provides, and the restriction it is about, of whose mention it depends.

    `besides`: what any list must have for it. `mentioned`, `not_mentioned`: its result, and the buffers it takes.
    """

    about: Restriction
    besides: tuple[Restriction, ...] = ()
    make: Callable[[Subject, Group], Cqe]
    mentioned: tuple[int, int]
    not_mentioned: tuple[int, int] = (-errno.EACCES, 0)

    @property
    def forbids(self) -> bool:
        """Mentioned, it keeps the request from being made."""
        return self.mentioned[0] == -errno.EACCES


def _read(_: Subject, group: Group) -> Cqe:
    return group.read(length=8)


def _read_by_a_worker(_: Subject, group: Group) -> Cqe:
    return group.read(length=8, flags=c.IOSQE_ASYNC)


def _provide(ring: Subject, _: Group) -> Cqe:
    step = request(c.IORING_OP_PROVIDE_BUFFERS, 1, addr=ring.arena.anon(64), len=64, buf_group=_OTHER)
    ring.ring.fill(step.sqe, 1)
    return ring.ring.complete()[0]


def _remove(ring: Subject, _: Group) -> Cqe:
    ring.ring.fill(request(c.IORING_OP_REMOVE_BUFFERS, 1, buf_group=_OTHER).sqe, 1)
    return ring.ring.complete()[0]


_READ, _SELECT = (_SQE, c.IORING_OP_READ), (_FLAGS, c.IOSQE_BUFFER_SELECT)
ROWS = {
    "read": Row(about=_READ, besides=(_SELECT,), make=_read, mentioned=(8, 1)),
    "its_selection": Row(about=_SELECT, besides=(_READ,), make=_read, mentioned=(8, 1)),
    "its_selection_required": Row(
        about=(_REQUIRED, c.IOSQE_BUFFER_SELECT), besides=(_READ,), make=_read, mentioned=(8, 1)
    ),
    "its_worker": Row(
        about=(_FLAGS, c.IOSQE_BUFFER_SELECT | c.IOSQE_ASYNC),
        besides=(_READ,),
        make=_read_by_a_worker,
        mentioned=(8, 1),
    ),
    "its_worker_required": Row(
        about=(_REQUIRED, c.IOSQE_ASYNC),
        besides=(_READ, _SELECT),
        make=_read,
        mentioned=(-errno.EACCES, 0),
        not_mentioned=(8, 1),
    ),
    "provide": Row(about=(_SQE, c.IORING_OP_PROVIDE_BUFFERS), make=_provide, mentioned=(0, 0)),
    "remove": Row(about=(_SQE, c.IORING_OP_REMOVE_BUFFERS), make=_remove, mentioned=(-errno.ENOENT, 0)),
}
each_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def stocked(ring: Subject) -> Group:
    """Buffers 4 and 9, registered while nothing is restricted yet."""
    made = Group(ring.ring, ring.arena)
    assert made.register() == 0
    ring.owns(made.bgid)
    made.publish(4, 9)
    return made


def looks(profile: Profile) -> tuple[Restriction, ...]:
    """What lets the case see a group's head, and take the group down."""
    operations = [c.IORING_UNREGISTER_PBUF_RING]
    if "pbuf_status" in profile.traits:
        operations.append(c.IORING_REGISTER_PBUF_STATUS)
    return tuple((_REGISTER, op) for op in operations)


def tell(ring: Subject, group: Group, row: Row, profile: Profile, want: tuple[int, int]) -> None:
    """Make the request: its result is that, with the bid that goes with it, and so many buffers are gone."""
    res, taken = want

    cqe = row.make(ring, group)

    assert (cqe.res, cqe.bid) == (res, 4 if taken else None)
    assert group.content(4, 9) == bytes(9)
    if "pbuf_status" in profile.traits:
        assert group.head() == taken


@each_row
@each_try
def test_a_request_of_a_refused_list(
    ring: Subject, profile: Profile, row: Row, mistakes: tuple[Restriction, ...], again: bool
) -> None:
    """A list that allows (or requires) something of a request and ends in a mistake: -EINVAL; the next mentions it, or not.

    -EACCES and no buffer, or the buffer, as the second list says by itself. io_register_restrictions(),
    io_check_restriction()
    """
    group = stocked(ring)
    for mistake in mistakes:
        refused(ring, *row.besides, row.about, mistake)
    assert ring.ring.restrict(*BASE, *looks(profile), *row.besides, *(row.about,) * again) >= 0
    assert ring.ring.enable() == 0

    tell(ring, group, row, profile, row.mentioned if again else row.not_mentioned)


@each_row
def test_a_refused_list_restricts_nothing(ring: Subject, profile: Profile, row: Row) -> None:
    """A list without the request, or that requires what it has not, ends in a mistake, and no other is given: the ring is free.

    io_register_enable_rings(): restricted only by what was registered
    """
    group = stocked(ring)
    required = row.about if row.about[0] == _REQUIRED else (_REQUIRED, c.IOSQE_IO_DRAIN)
    for mistake in MISTAKES.values():
        refused(ring, *BASE, required, mistake)
    assert ring.ring.enable() == 0

    tell(ring, group, row, profile, row.not_mentioned if row.forbids else row.mentioned)
    assert bufring.register(ring.ring, addr=ring.arena.anon(libc.PAGE_SIZE), bgid=11) == 0
    assert group.unregister() == 0


def test_a_refused_list_does_not_count(ring: Subject) -> None:
    """Only one list is taken: -EBUSY for the next, good or bad; those refused before it, for whatever reason, are none.

    io_register_restrictions(): restrictions.registered
    """
    for mistake in MISTAKES.values():
        refused(ring, *BASE, mistake)
        refused(ring, mistake, *BASE)
    many = [BASE[0]] * 200
    assert ring.ring.restrict(*many) == -errno.EINVAL
    assert ring.ring.register(c.IORING_REGISTER_RESTRICTIONS, 1 << 63, 2) == -errno.EFAULT
    assert ring.ring.register(c.IORING_REGISTER_RESTRICTIONS, 0, 2) == -errno.EINVAL
    assert ring.ring.restrict(*BASE) >= 0

    assert ring.ring.restrict(*BASE) == -errno.EBUSY
    assert ring.ring.restrict(*BASE, (0xFFFF, 0)) == -errno.EBUSY
    assert ring.ring.enable() == 0
    assert ring.ring.restrict(*BASE) == -errno.EACCES
    assert bufring.register(ring.ring, addr=ring.arena.anon(libc.PAGE_SIZE), bgid=9) == -errno.EACCES
