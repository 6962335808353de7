"""An eventfd of the ring's (IORING_REGISTER_EVENTFD): whoever reads it alone knows of each completion."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from ringrig.model.params import ops, receives, rings
from ringrig.model.scene import OPCODES
from ringrig.model.shelf import Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Op, Reply, incoming
from ringrig.model.waiting import payloads, receive, told, waits
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(3)

BIDS = (5, 300, 2, 9)
_LENGTH = 20
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)


class Bell:
    """The eventfd of a ring. `to`: IORING_REGISTER_EVENTFD, or _ASYNC."""

    def __init__(self, subject: Subject, to: int = c.IORING_REGISTER_EVENTFD) -> None:
        self._fd = subject.arena.own(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
        assert subject.ring.register(to, self._fd.to_bytes(4, "little"), 1) == 0

    def rang(self) -> bool:
        """Since it was last asked."""
        try:
            return os.eventfd_read(self._fd) > 0
        except BlockingIOError:
            return False

    def rings(self) -> bool:
        """Now, or in a moment: an RCU grace period later (io_eventfd_do_signal())."""
        return settled(lambda: int(self.rang()), 1, seconds=0.4) == 1


@each_kind
@pytest.mark.parametrize("flags", rings())
@pytest.mark.parametrize("op", receives())
def test_each_completion_tells(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire], op: Op, flags: int, kind: Kind
) -> None:
    """A receive waits, and nothing is told; its data comes, and it is; so too each time that a multishot goes on.

    With IORING_SETUP_DEFER_TASKRUN there is something to do then. io_cqring_wake(), io_eventfd_signal(), io_req_local_work_add().
    Fixed by clearing IO_EVENTFD_OP_SIGNAL_BIT in io_eventfd_do_signal() (7.3.4). Live in 6.12.117.
    """
    ring, wire = make_ring(flags=flags), make_wire()
    shelf, bell = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind), Bell(ring)
    found: list[Reply] = []
    for at in range(3):
        if not at or not op.multishot:
            receive(shelf, op, wire, length=_LENGTH)
            ring.ring.submit()
            assert waits(ring.ring, op)
        assert not bell.rang()

        wire.send(incoming(_LENGTH * at, _LENGTH))

        assert bell.rings(), f"the eventfd is told nothing of data that came: {at} were told of"
        found += shelf.some(1)
        bell.rang()

    if op.multishot:
        assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
    assert found == [told(op, bid, _LENGTH) for bid in BIDS[:3]]
    assert payloads(shelf, op) == {bid: incoming(_LENGTH * at, _LENGTH) for at, bid in enumerate(BIDS[:3])}
    assert [bid for bid, _ in shelf.left()] == list(BIDS[3:])


@each_kind
@pytest.mark.parametrize("op", ops([Op.READ, Op.READV]))
@pytest.mark.parametrize(
    "to", [c.IORING_REGISTER_EVENTFD, c.IORING_REGISTER_EVENTFD_ASYNC], ids=["all", "async"]
)
@pytest.mark.parametrize("flags", [0, c.IOSQE_ASYNC], ids=["locked", "io_wq"])
def test_who_wants_to_know_of_workers_alone(ring: Subject, op: Op, to: int, flags: int, kind: Kind) -> None:
    """A read of /dev/zero by the submitter, or by a worker: the eventfd for asynchronous ones is told of the second alone.

    io_eventfd_trigger(): eventfd_async
    """
    shelf, bell = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind), Bell(ring, to)
    shelf.queue(OPCODES[op], shelf.group.zero(), length=_LENGTH, flags=flags)

    assert shelf.some(1) == [Reply(res=_LENGTH, bid=BIDS[0])]
    assert bell.rings() if flags or to == c.IORING_REGISTER_EVENTFD else not bell.rang()
    assert shelf.written() == {BIDS[0]: bytes(_LENGTH)}
