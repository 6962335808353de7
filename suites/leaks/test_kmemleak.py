"""Memory that nothing points to any more, whichever case lost it."""

from __future__ import annotations

import pytest

from ringrig.uring.leaks import Kmemleak
from ringrig.uring.probe import probe
from ringrig.uring.request_loops import LOOPS


@pytest.mark.needs("kmemleak", "pin_counters")
def test_nothing_is_lost() -> None:
    """After some hundred rounds of each loop, kmemleak finds no memory of io_uring's lost: by them, or by a case before.

    An object names the task that wanted it: a case's is its number. Fixed by 9a709b7e98e6 (6.12.36).
    Fixed by 11893e144ed7 (6.10.5).
    """
    for loop in LOOPS.values():
        if all(probe()["capabilities"][name] for name in loop.needs):
            loop.run(256)

    with Kmemleak() as search:
        lost = [one for one in search.scan() if any("io_" in function for function in one.stack)]

    owners: dict[str, set[str]] = {}
    for one in lost:
        owners.setdefault(f"{one.size} bytes, {' < '.join(one.stack[:3])}", set()).add(one.comm)
    kinds = [f"{what}, by {', '.join(sorted(who))}" for what, who in owners.items()]
    assert not lost, f"{len(lost)} objects are lost: {'; '.join(kinds)}"
