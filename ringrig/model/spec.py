"""The model itself: a profile's traits and a state that follows the calls."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ringrig.model.calls import BufReg, BufStatus, Call, registration, status, unregistration
from ringrig.model.checks import PREFIX, REGISTER, STATUS, UNREGISTER, Check, Effect, Traits, group_id
from ringrig.model.state import BGID_ARRAY, Group, Restrictions, State
from ringrig.uring import consts as c


def name_of(res: int) -> str:
    """`-EINVAL` for -22; a result that is no error as it is."""
    return f"-{errno.errorcode.get(-res, str(-res))}" if res < 0 else str(res)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a call returned or must return; equal if `res` and (status only) `head` are."""

    res: int
    head: int | None = None
    call: str = field(default="", compare=False)
    fired: str = field(default="", compare=False)
    later: tuple[tuple[int, str], ...] = field(default=(), compare=False)

    def __repr__(self) -> str:
        return name_of(self.res) if self.head is None else f"{name_of(self.res)} head {self.head}"

    def against(self, got: Outcome) -> list[str]:
        """Why `got`, which differs, is wrong: lines for a person, the first of them stable."""
        lines = [f"{got.call}: got {got!r}, want {self!r}"]
        if self.fired:
            lines.append(f"the check that decides: {self.fired}")
        elif self.res >= 0:
            lines.append("no check is broken: the call must succeed")
        lines += [f"{got!r} is what a later check says: {text}" for res, text in self.later if res == got.res]
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What user space can see of one group without reading into it, in the order it was asked.

    `removed`: REMOVE_BUFFERS; `unregistered`, then `taken`: whether the id takes a new ring.
    """

    status: Outcome
    removed: int
    unregistered: int
    taken: int

    def against(self, got: Survey) -> list[str]:
        """What of `got` is wrong, a line each."""
        lines = []
        for name, text in _SURVEYED.items():
            seen, wanted = getattr(got, name), getattr(self, name)
            if seen != wanted:
                shown = [name_of(one) if isinstance(one, int) else repr(one) for one in (seen, wanted)]
                lines.append(f"afterwards, {text}: got {shown[0]}, want {shown[1]}")
        return lines


_SURVEYED = {
    "status": "REGISTER_PBUF_STATUS of the group",
    "removed": "REMOVE_BUFFERS from the group",
    "unregistered": "UNREGISTER_PBUF_RING of the group",
    "taken": "REGISTER_PBUF_RING of a new ring in its place",
}


class Model:
    """Follows one io_uring: each method returns what the kernel must, and the state moves with it."""

    def __init__(self, traits: Traits, state: State | None = None) -> None:
        self.traits = traits
        self.state = state or State()

    def _holds(self, row: Check[Any] | Effect[Any]) -> bool:
        return row.only <= self.traits and not row.unless & self.traits

    def _judge(self, table: Sequence[Check[Any] | Effect[Any]], call: Call) -> Outcome | None:
        """The failure, with the state as the kernel leaves it, or None."""
        rows = [row for row in (*PREFIX, *table) if self._holds(row)]
        for at, row in enumerate(rows):
            if isinstance(row, Effect):
                self.state = row.apply(call, self.state)
            elif row.broken(call, self.state, self.traits):
                later = tuple(
                    (-other.errno, str(other))
                    for other in rows[at + 1 :]
                    if isinstance(other, Check) and other.broken(call, self.state, self.traits)
                )
                return Outcome(res=-row.errno, fired=str(row), later=later)
        return None

    def register_pbuf_ring(self, call: BufReg) -> Outcome:
        """io_uring/kbuf.c, io_register_pbuf_ring()."""
        if failure := self._judge(REGISTER, call):
            return failure
        flags = 0 if "bgid_32_bits" in self.traits else call.flags
        group = Group(entries=call.entries, flags=flags, min_left=call.min_left)
        self.state = self.state.having(group_id(call, self.traits), group)
        return Outcome(res=0)

    def unregister_pbuf_ring(self, call: BufReg) -> Outcome:
        """io_uring/kbuf.c, io_unregister_pbuf_ring()."""
        if failure := self._judge(UNREGISTER, call):
            return failure
        self.state = self.state.having(group_id(call, self.traits), None)
        return Outcome(res=0)

    def pbuf_status(self, call: BufStatus) -> Outcome:
        """io_uring/kbuf.c, io_register_pbuf_status()."""
        if failure := self._judge(STATUS, call):
            return failure
        group = self.state.find(call.bgid)
        assert group is not None
        return Outcome(res=0, head=group.head)

    def say(self, call: BufReg | BufStatus) -> Outcome:
        """Whichever of the three it is."""
        if isinstance(call, BufStatus):
            return self.pbuf_status(call)
        if call.op == c.IORING_UNREGISTER_PBUF_RING:
            return self.unregister_pbuf_ring(call)
        return self.register_pbuf_ring(call)

    def provide_buffers(self, *, bgid: int, count: int) -> int:
        """A well-formed IORING_OP_PROVIDE_BUFFERS: its result."""
        group = self.state.find(bgid)
        if group is not None and group.is_ring:
            return -errno.EINVAL
        if "low_bgids_stay" in self.traits and bgid < BGID_ARRAY:
            self.state = replace(self.state, low_array=True)
        buffers = (group.buffers if group else 0) + count
        self.state = self.state.having(bgid, Group(buffers=buffers))
        return 0

    def remove_buffers(self, *, bgid: int, count: int) -> int:
        """A well-formed IORING_OP_REMOVE_BUFFERS: buffers removed, or -errno."""
        group = self.state.find(bgid)
        if group is None:
            return -errno.ENOENT
        if group.is_ring:
            return -errno.EINVAL
        removed = min(count, group.buffers)
        self.state = self.state.having(bgid, replace(group, buffers=group.buffers - removed))
        return removed

    def consumed(self, *, bgid: int, buffers: int) -> None:
        """`buffers` of a ring were used up: the head moved (u16, free-running, io_uring/kbuf.h)."""
        group = self.state.groups[bgid]
        self.state = self.state.having(bgid, replace(group, head=(group.head + buffers) & 0xFFFF))

    def survey(self, bgid: int) -> Survey:
        """What Subject.survey() must find."""
        seen = self.pbuf_status(status(bgid=bgid))
        removed = self.remove_buffers(bgid=bgid, count=100)
        unregistered = self.unregister_pbuf_ring(unregistration(bgid=bgid)).res
        taken = self.register_pbuf_ring(registration(bgid=bgid)).res
        return Survey(status=seen, removed=removed, unregistered=unregistered, taken=taken)

    def bind(self) -> None:
        """The ring has a submitter: the main thread (SINGLE_ISSUER, and not or no longer disabled)."""
        self.state = replace(self.state, bound=True)

    def disable(self) -> None:
        """The ring was set up with IORING_SETUP_R_DISABLED."""
        self.state = replace(self.state, disabled=True)

    def enable(self) -> None:
        """IORING_REGISTER_ENABLE_RINGS."""
        self.state = replace(self.state, disabled=False)

    def restrict(self, *register_ops: int, sqe_only: bool = False, inherited: bool = False) -> None:
        """IORING_REGISTER_RESTRICTIONS: only `register_ops` stay allowed once the ring is enabled.

        `inherited`: of the task, before it made the ring.
        """
        allowed = frozenset(register_ops)
        restrictions = Restrictions(register_ops=allowed, sqe_only=sqe_only, inherited=inherited)
        self.state = replace(self.state, restrictions=restrictions)
