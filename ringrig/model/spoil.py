"""Ways to be wrong, each named, to be combined: two at once show which check the kernel makes first.

`axes` are what a way occupies; two ways that share one cannot be combined. `group` is what the call's group
must be beforehand, `bound` and `restricted` what the ring must.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, TypeVar

from ringrig.model.calls import Arg, Call, Fd, Memory
from ringrig.uring import consts as c

C = TypeVar("C", bound=Call)
RING, LEGACY, ABSENT = "ring", "legacy", "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoil:
    """Applied to a call by `changes`; flags are added to what the call has."""

    name: str
    axes: frozenset[str]
    changes: Mapping[str, Any] = field(default_factory=dict)
    flags: int = 0
    bound: bool = False
    restricted: bool = False
    group: str = ""

    def apply(self, call: C) -> C:
        """The call with this wrong in it."""
        changes = dict(self.changes)
        if self.flags:
            changes["flags"] = getattr(call, "flags", 0) | self.flags
        return replace(call, **changes)


def _spoil(name: str, *axes: str, flags: int = 0, group: str = "", **changes: Any) -> Spoil:
    return Spoil(name=name, axes=frozenset(axes), changes=changes, flags=flags, group=group)


_COMMON = (
    _spoil("closed_fd", "fd", fd=Fd.CLOSED),
    Spoil(name="wrong_thread", axes=frozenset({"thread"}), changes={"other_thread": True}, bound=True),
    Spoil(name="restricted", axes=frozenset({"restriction", "sqe"}), restricted=True),
    _spoil("two_args", "nr_args", nr_args=2),
    _spoil("null_arg", "arg", arg=Arg.NULL),
    _spoil("unreadable_arg", "arg", arg=Arg.STRADDLING),
)

REGISTER_SPOILS = (
    *_COMMON,
    _spoil("reserved_word", "resv", resv=(0, 0, 0, 0, 1)),
    _spoil("unknown_flag", "flag", flags=4),
    _spoil("entries_zero", "entries", entries=0),
    _spoil("entries_three", "entries", entries=3),
    _spoil("entries_65536", "entries", entries=65536),
    _spoil("min_left_without_inc", "min_left", min_left=1),
    _spoil("null_addr", "addr", "offset", "mmap", memory=Memory.NULL),
    _spoil("misaligned_addr", "offset", offset=16),
    _spoil("unmapped_addr", "addr", memory=Memory.UNMAPPED),
    _spoil("read_only_addr", "addr", memory=Memory.READ_ONLY),
    _spoil("last_page_addr", "addr", memory=Memory.LAST_PAGE),
    _spoil("mmap_with_addr", "mmap", flags=c.IOU_PBUF_RING_MMAP),
    _spoil("group_is_a_ring", "group", group=RING),
    _spoil("group_is_legacy", "group", "sqe", group=LEGACY),
)

UNREGISTER_SPOILS = (
    *_COMMON,
    _spoil("reserved_word", "resv", resv=(0, 0, 0, 0, 1)),
    _spoil("any_flag", "flag", flags=c.IOU_PBUF_RING_MMAP),
    _spoil("group_unknown", "group", group=ABSENT),
    _spoil("group_is_legacy", "group", "sqe", group=LEGACY),
)

STATUS_SPOILS = (
    *_COMMON,
    _spoil("read_only_arg", "arg", arg=Arg.READ_ONLY),
    _spoil("reserved_word", "resv", resv=(0,) * 7 + (1,)),
    _spoil("group_unknown", "group", group=ABSENT),
    _spoil("group_beyond_16_bits", "group", group=RING, bgid=65536 + 7),
    _spoil("group_is_legacy", "group", "sqe", group=LEGACY),
)


def pairs(spoils: Iterable[Spoil]) -> list[tuple[Spoil, Spoil]]:
    """Every two that can be wrong at once, in the table's order."""
    return [(one, other) for one, other in combinations(spoils, 2) if not one.axes & other.axes]


def by_name(value: object) -> str | None:
    """For pytest's ids."""
    return value.name if isinstance(value, Spoil) else None
