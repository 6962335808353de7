"""Groups that change while io-wq copies to a buffer of theirs; the copy waits until the case lets it go on."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable

import pytest

from ringrig.model.profiles import Profile
from ringrig.model.subject import Subject
from ringrig.uring import consts as c
from ringrig.uring.bufring import BufRing
from ringrig.uring.group import Group, bids, legacy
from ringrig.uring.requests import selecting
from ringrig.uring.userfault import FaultingPage
from ringrig.uring.wire import Wire

_BGID = 700
"""Not below 64, where 6.1 keeps groups for good (trait low_bgids_stay)."""

pytestmark = [pytest.mark.ends_within(3), pytest.mark.needs("root")]


def _receive(ring: Subject, wire: Wire) -> None:
    wire.feed(b"data")
    sqe = selecting(ring.ring, c.IORING_OP_RECV, wire.near, bgid=_BGID, length=64)
    sqe.flags |= c.IOSQE_ASYNC
    assert ring.ring.submit() == 1


@pytest.mark.crashes
@pytest.mark.parametrize("then", ["ring", "nothing"])
def test_a_buffer_whose_group_is_gone_goes_nowhere(
    ring: Subject,
    make_group: Callable[..., Group],
    make_wire: Callable[..., Wire],
    profile: Profile,
    then: str,
) -> None:
    """io-wq has the last provided buffer; its group becomes a ring, or nothing; the copy fails: -EFAULT alone.

    The buffer is put back to a list of provided buffers only; a ring's own buffers are as they were.
    io_kbuf_recycle_legacy(); CVE-2026-43366, c2c185be5c85
    """
    if "upgrade_refused" in profile.traits:
        pytest.skip("needs upgrade: this ABI makes no ring of an emptied group")
    page = FaultingPage()
    assert legacy(ring.ring, bgid=_BGID, addr=page.addr, size=64, count=1, bid=5) == 0
    _receive(ring, make_wire())
    page.touched()

    group = make_group(bgid=_BGID)
    group.publish(3)
    if then == "nothing":
        assert group.unregister() == 0
    page.fail()
    cqe = ring.ring.complete()[0]

    assert (cqe.res, cqe.flags) == (-errno.EFAULT, 0)
    if then == "nothing":
        assert legacy(ring.ring, bgid=_BGID, addr=ring.arena.anon(64), count=1, bid=3) == 0
    assert bids(group.read(length=1) for _ in range(2)) == [3, None]


def test_a_new_ring_is_not_charged_for_the_old_one(
    ring: Subject, make_group: Callable[..., Group], make_wire: Callable[..., Wire]
) -> None:
    """io-wq copies to a ring's buffer; the ring goes, another comes: done, with the old bid, and all of the new is left.

    Unregistering does not wait, nor does a copy hold the lock. io_ring_buffer_select(): committed at once
    """
    page = FaultingPage()
    old = make_group(bgid=_BGID)
    old.memory.publish(page.addr, 64, 5)
    _receive(ring, make_wire())
    page.touched()

    assert old.unregister() == 0
    new = make_group(bgid=_BGID)
    new.publish(8, 2)
    page.fill()
    cqe = ring.ring.complete()[0]
    held = ctypes.string_at(page.addr, 5)
    page.unmap()

    assert (cqe.res, cqe.bid, held) == (4, 5, b"data\0")
    assert bids(new.drain(2)) == [8, 2]


def test_what_the_entry_says_later_does_not_matter(
    ring: Subject, make_group: Callable[..., Group], make_wire: Callable[..., Wire]
) -> None:
    """io-wq copies to a ring's buffer, and the application fills the slot anew and takes the tail back.

    The completion has the bid that the entry had, and its bytes; the head counts one. io_ring_buffer_select()
    """
    page = FaultingPage()
    group = make_group(bgid=_BGID)
    group.memory.publish(page.addr, 64, 5)
    _receive(ring, make_wire())
    page.touched()

    memory: BufRing = group.memory
    memory.write(0, group.address_of(1), 2, 9)
    memory.producer = 0
    page.fill()
    cqe = ring.ring.complete()[0]
    held = ctypes.string_at(page.addr, 5)
    page.unmap()
    memory.producer = 1
    group.publish(4)

    assert (cqe.res, cqe.bid, held) == (4, 5, b"data\0")
    assert [group.next(), group.next()] == [4, None]
