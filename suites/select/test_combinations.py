"""Operations, stocks, lengths, data and ways to issue: every two of them together in a case; or, if asked for, all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import product

import pytest

from ringrig.model.course import expect, meaningless
from ringrig.model.pairwise import pairwise
from ringrig.model.profiles import Profile
from ringrig.model.scene import Afterwards, Scene
from ringrig.model.subject import Subject
from ringrig.model.transfer import NEEDS, Buffer, Issue, Kind, Op, Stock, Then, Transfer
from ringrig.uring import consts as c
from ringrig.uring.memory import Arena
from ringrig.uring.ring import Ring


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """Who issues, on a ring with which set-up flags, which are which capability."""

    issue: Issue = Issue.LOCKED
    flags: int = 0
    needs: str = ""


_DEFER = c.IORING_SETUP_SINGLE_ISSUER | c.IORING_SETUP_DEFER_TASKRUN
HOW = {
    "locked": How(),
    "io_wq": How(issue=Issue.IO_WQ),
    "sqpoll": How(flags=c.IORING_SETUP_SQPOLL, needs="sqpoll"),
    "sqpoll_io_wq": How(flags=c.IORING_SETUP_SQPOLL, needs="sqpoll", issue=Issue.IO_WQ),
    "defer": How(flags=_DEFER, needs="defer_taskrun"),
    "defer_io_wq": How(flags=_DEFER, needs="defer_taskrun", issue=Issue.IO_WQ),
}
FEW = tuple(Buffer(bid=bid) for bid in (0x8000, 0, 0xFFFF, 5))
FULL = tuple(Buffer(bid=bid) for bid in (7, 0x7FFF, 1, 0xFFFF, 0, 0x8000, 300, 2))
RINGS: dict[str, Stock | None] = {
    "empty": Stock(kind=Kind.RING),
    "emptied": Stock(kind=Kind.RING, start=11),
    "one": Stock(kind=Kind.RING, buffers=FEW[:1]),
    "full": Stock(kind=Kind.RING, buffers=FULL),
    "full_on_the_second_lap": Stock(kind=Kind.RING, buffers=FULL, start=13),
    "over_published": Stock(kind=Kind.RING, buffers=FULL, again=5),
    "round_the_end": Stock(kind=Kind.RING, buffers=FEW, start=6),
}
LEGACY: dict[str, Stock | None] = {
    "empty": Stock(kind=Kind.LEGACY),
    "one": Stock(kind=Kind.LEGACY, buffers=FEW[:1]),
    "many": Stock(kind=Kind.LEGACY, buffers=FULL),
    "no_group": None,
}
LENGTHS = {"whole": 0, "shorter": 24, "equal": 64, "longer": 65, "31_bits": 0x7FFFFFFF}
READY = {"some": 40, "to_the_brim": 64, "too_much": 100}


def _cases(kind: str, stocks: Mapping[str, Stock | None]) -> dict[str, object]:
    """By id; a multishot has no length, so some of its rows are the same."""
    found = {}
    for name, stock, how, length, ready in pairwise([op.value for op in Op], stocks, HOW, LENGTHS, READY):
        op = Op(name)
        wanted = "whole" if op.multishot else length
        call = _transfer(op, how, LENGTHS[wanted], READY[ready])
        case = f"{name}-{kind}_{stock}-{how}-{wanted}-{ready}"
        found[case] = pytest.param(call, stocks[stock], HOW[how].flags, id=case, marks=_needs(op, how))
    return found


def _transfer(op: Op, how: str, length: int, ready: int) -> Transfer:
    return Transfer(
        op=op, issue=HOW[how].issue, length=length, ready=ready, then=(Then.CANCEL,) * op.multishot
    )


def _needs(op: Op, how: str) -> list[pytest.MarkDecorator]:
    needs = [need for need in (NEEDS.get(op), HOW[how].needs) if need]
    return [pytest.mark.needs(*needs)] if needs else []


@pytest.mark.ends_within(3)
@pytest.mark.parametrize("call, stock, flags", {**_cases("ring", RINGS), **_cases("legacy", LEGACY)}.values())
def test_every_two_together(
    make_ring: Callable[..., Subject], profile: Profile, call: Transfer, stock: Stock | None, flags: int
) -> None:
    """Bytes are ready: the first buffer gets what fits and its completion says so; without one, an error at once.

    Who issues changes when a ring's head moves, and nothing else. io_buffer_select(), io_buffers_select()
    """
    if why := meaningless(call, stock, profile.traits):
        pytest.skip(why)
    scene = Scene(make_ring(flags=flags), stock, profile.traits)

    got = scene.run(call)

    assert got == expect(call, stock, profile.traits)
    assert scene.afterwards() == Afterwards()


@pytest.mark.exhaustive
@pytest.mark.ends_within(60)
@pytest.mark.parametrize("stocks", [RINGS, LEGACY], ids=["ring", "legacy"])
@pytest.mark.parametrize(
    "op, how",
    [pytest.param(op, how, id=f"{op.value}-{how}", marks=_needs(op, how)) for op, how in product(Op, HOW)],
)
def test_all_together(profile: Profile, op: Op, how: str, stocks: Mapping[str, Stock | None]) -> None:
    """One operation, issued in one way, with each stock, length and amount of data: a ring of its own for each combination.

    All that are wrong are named, each with the first difference.
    io_buffer_select(), io_buffers_select(), io_put_kbuf(), io_kbuf_recycle()
    """
    wrong = {}
    lengths = {"whole": 0} if op.multishot else LENGTHS
    for stock, length, ready in product(stocks, lengths, READY):
        call = _transfer(op, how, lengths[length], READY[ready])
        if meaningless(call, stocks[stock], profile.traits):
            continue
        with closing(Subject(Ring(8, HOW[how].flags), Arena())) as subject:
            scene = Scene(subject, stocks[stock], profile.traits)
            got, after = scene.run(call), scene.afterwards()
        want = expect(call, stocks[stock], profile.traits)
        if (got, after) != (want, Afterwards()):
            wrong[f"{stock}-{length}-{ready}"] = want.against(got)[0] if got != want else after
    assert not wrong
