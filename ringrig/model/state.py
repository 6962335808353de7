"""What the model remembers of a ring between calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

BGID_ARRAY = 64
"""Groups below it lie in an array on kernels with the trait low_bgids_stay (io_uring/kbuf.c)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A buffer group: a ring (`entries` > 0) or a legacy list of `buffers`."""

    entries: int = 0
    head: int = 0
    flags: int = 0
    min_left: int = 0
    buffers: int = 0

    @property
    def is_ring(self) -> bool:
        return self.entries > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Restrictions:
    """What IORING_REGISTER_RESTRICTIONS set up; in force once the ring is enabled, at once if `inherited`."""

    register_ops: frozenset[int] = frozenset()
    sqe_only: bool = False
    inherited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Of one io_uring. `bound`: the main thread is its submitter. `disabled`: R_DISABLED still holds."""

    groups: Mapping[int, Group] = field(default_factory=dict)
    low_array: bool = False
    bound: bool = False
    disabled: bool = False
    restrictions: Restrictions | None = None

    def find(self, bgid: int) -> Group | None:
        """The group, as io_buffer_get_list() would see it."""
        if bgid in self.groups:
            return self.groups[bgid]
        return Group() if self.low_array and bgid < BGID_ARRAY else None

    def having(self, bgid: int, group: Group | None) -> State:
        """This state with `group` under `bgid`, or with none."""
        groups = {known: one for known, one in self.groups.items() if known != bgid}
        if group is not None:
            groups[bgid] = group
        return replace(self, groups=groups)
