"""Walks over the faults that one call can meet."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from io import FileIO
from itertools import count

import pytest

from ringrig.model.subject import Subject
from ringrig.uring import consts as c
from ringrig.uring.bufring import explain
from ringrig.uring.counters import pinned_pages, settled
from ringrig.uring.faults import Fault, FaultyRing, Hit, Injector, Kind
from ringrig.uring.memory import Arena
from ringrig.uring.requests import selecting
from ringrig.uring.ring import Ring

_MOST = 300
"""More places than any of these calls has."""

Attempt = Callable[[Subject, FaultyRing, Fault], None]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "lasting" in metafunc.fixturenames:
        metafunc.parametrize("lasting", [False, True], ids=["once", "from_then_on"])


@pytest.fixture
def walk(lasting: bool) -> Iterator[Callable[..., None]]:
    """walk(attempt, must): attempt(subject, ring, fault) on a fresh ring for the 1st, 2nd, … fault of its call,
    until it meets none. A failure names the fault. Faults of the kinds `must` have to be met, and none if it is
    empty (`perhaps`: some); and no page may stay pinned.
    """
    with Injector() as injector:
        yield lambda attempt, must, *, perhaps=False: _walk(
            injector, attempt, frozenset(must), perhaps=perhaps, lasting=lasting
        )


def _walk(
    injector: Injector, attempt: Attempt, must: frozenset[Kind], *, perhaps: bool, lasting: bool
) -> None:
    hits: list[Hit] = []
    before = settled(pinned_pages, 0, seconds=0.3)
    for nth in count(1):
        assert nth < _MOST, f"{nth} faults, and no end"
        hit = _attempt(injector, attempt, Fault(nth=nth, lasting=lasting))
        if hit is None:
            break
        print(hit)
        hits.append(hit)
    assert settled(pinned_pages, before, seconds=2) <= before, (
        "pages stay pinned after the last ring has gone"
    )
    met = frozenset(kind for hit in hits for kind in hit.kinds)
    missed = ", ".join(sorted(kind.value for kind in must - met))
    assert not missed, f"no fault of {missed} was met; the call met {[str(hit) for hit in hits]}"
    assert must or perhaps or not hits, (
        f"a call that allocates and copies nothing met {[str(hit) for hit in hits]}"
    )


def _attempt(injector: Injector, attempt: Attempt, fault: Fault) -> Hit | None:
    ring = FaultyRing(injector)
    subject = Subject(ring, Arena())
    try:
        ring.sqe()  # what a ring allocates for its first request is not what is asked here
        ring.complete()
        attempt(subject, ring, fault)
    except AssertionError as error:
        raise AssertionError(f"{ring.hit or 'no fault'}: {error}") from error
    finally:
        subject.close()
    return ring.hit


@pytest.fixture
def handed_out() -> Callable[[Ring, int], list[int]]:
    """handed_out(ring, bgid): the buffers that reads of /dev/zero get, until there are none."""
    return _handed_out


def _handed_out(ring: Ring, bgid: int) -> list[int]:
    found: list[int] = []
    with FileIO("/dev/zero") as zero:
        while True:
            selecting(ring, c.IORING_OP_READ, zero.fileno(), bgid=bgid, length=1)
            cqe = ring.complete()[0]
            if cqe.bid is None:
                assert cqe.res == -errno.ENOBUFS, f"a read says {explain(cqe.res)}"
                return found
            found.append(cqe.bid)
