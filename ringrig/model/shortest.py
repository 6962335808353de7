"""Scripts of steps that differ: once more, and without what the difference does not need."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from ringrig.model.lockstep import Difference, Lockstep, Step

_IMPOSSIBLE = (KeyError, AssertionError, ValueError)
"""What steps raise that lack the one they build on: no ring to publish to, a pipe that is closed, a file in use."""


def replay(profile: str, steps: Sequence[Step], *, patience: float) -> Lockstep | None:
    """The steps once more, on a ring of their own: where they ended if they differ again."""
    with Lockstep(profile, patience=patience) as both, suppress(*_IMPOSSIBLE):
        try:
            for step in steps:
                getattr(both, step.name)(*step.args, **step.options)
        except Difference:
            return both
    return None


def shortest(profile: str, found: Lockstep, *, patience: float, seconds: float) -> Lockstep:
    """The script of `found` without the steps that its difference does not need; `seconds`: when to be content."""
    limit = time.monotonic() + seconds
    at = len(found.steps)
    while at > 0 and time.monotonic() < limit:
        at -= 1
        fewer = replay(profile, [*found.steps[:at], *found.steps[at + 1 :]], patience=patience)
        if fewer is not None:
            found, at = fewer, len(fewer.steps)
    return found
