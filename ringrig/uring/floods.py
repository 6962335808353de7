"""Requests by the thousand in a few system calls: an SQ ring full of one round of them, again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ringrig.uring.bufring import explain
from ringrig.uring.ring import Ring
from ringrig.uring.structs import io_uring_sqe

_SLOTS = 1024
_PATIENCE = 20.0
"""Seconds for the completions of one SQ ring."""


class LoopFailed(AssertionError):
    """A call of a loop went wrong, so nothing can be said about leaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request of a round, and the results it may have."""

    sqe: io_uring_sqe
    want: tuple[int, ...]


def request(opcode: int, fd: int = -1, *, want: int | tuple[int, ...] = 0, **fields: int) -> Step:
    """A Step; `fields` are those of struct io_uring_sqe."""
    sqe = io_uring_sqe(opcode=opcode, fd=fd)
    for name, value in fields.items():
        setattr(sqe, name, value)
    return Step(sqe=sqe, want=want if isinstance(want, tuple) else (want,))


def pour(ring: Ring, steps: Sequence[Step], rounds: int) -> None:
    """Make `rounds` rounds of these steps or some more, in order, on a ring of flood_ring(); all must end at once.

    A step's user_data is its place in the round. LoopFailed: a result that the step does not want.
    """
    if _SLOTS % len(steps):
        raise ValueError(f"{len(steps)} steps do not fill {_SLOTS} slots")
    for at, step in enumerate(steps):
        step.sqe.user_data = at
    lap = b"".join(bytes(step.sqe) for step in steps) * (_SLOTS // len(steps))
    for _ in range(-(-rounds * len(steps) // _SLOTS)):
        ring.queue(lap)
        for cqe in ring.complete(_SLOTS, timeout=_PATIENCE):
            if cqe.res not in steps[cqe.user_data].want:
                wanted = " or ".join(map(explain, steps[cqe.user_data].want))
                raise LoopFailed(f"request {cqe.user_data} of a round says {explain(cqe.res)}, not {wanted}")


def flood_ring() -> Ring:
    """A Ring for pour() and nothing else."""
    return Ring(_SLOTS)
