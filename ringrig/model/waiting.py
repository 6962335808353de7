"""Receives of every sort that wait for their data, on rings that differ in who runs them once it comes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ringrig.model.scene import OPCODES
from ringrig.model.shelf import Shelf
from ringrig.model.transfer import RECVMSG_HEADER, Op, Reply
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.ring import Ring
from ringrig.uring.structs import io_uring_sqe
from ringrig.uring.wire import Wire

DEFERRING = c.IORING_SETUP_SINGLE_ISSUER | c.IORING_SETUP_DEFER_TASKRUN
RINGS: dict[str, tuple[int, tuple[str, ...]]] = {
    "plain": (0, ()),
    "cooperative": (c.IORING_SETUP_COOP_TASKRUN, ("coop_taskrun",)),
    "deferring": (DEFERRING, ("defer_taskrun",)),
    "polling": (c.IORING_SETUP_SQPOLL, ("sqpoll",)),
}
"""Set-up flags, and the capabilities they are. Run by: the submitter, interrupted; the submitter, once it is in the kernel
for whatever reason; the submitter in io_uring_enter(); the ring's own thread."""


def receive(shelf: Shelf, op: Op, wire: Wire, *, length: int = 64, flags: int = 0) -> io_uring_sqe:
    """Queue a receive of that sort; a multishot has no length."""
    ioprio = c.IORING_RECV_MULTISHOT * (op.multishot and not op.reads)
    wanted = 0 if op.multishot else length
    return shelf.queue(OPCODES[op], wire.near, length=wanted, ioprio=ioprio, flags=flags)


def waits(ring: Ring, op: Op, *, count: int = 1, busy: bool = False) -> bool:
    """So many such requests come to be armed for poll (`busy`: Ring.armed()), and there is no completion."""
    return settled(lambda: ring.armed(OPCODES[op], busy=busy), count) == count and not ring.cqes()


def _header(op: Op) -> int:
    return RECVMSG_HEADER.size * (op is Op.RECVMSG_MULTISHOT)


def told(op: Op, bid: int, length: int) -> Reply:
    """What such a receive tells of so many bytes."""
    return Reply(res=_header(op) + length, bid=bid, more=op.multishot)


def payloads(shelf: Shelf, op: Op) -> dict[int, bytes]:
    """What such receives wrote, without the header that some put before it."""
    return {bid: held[_header(op) :] for bid, held in shelf.written().items()}


def without_nonempty(replies: Iterable[Reply]) -> list[Reply]:
    """F_SOCK_NONEMPTY left out: before 6.10 chance says it of a RECVMSG of a worker's, whose memory nobody cleared (msg_inq)."""
    return [replace(reply, nonempty=False) for reply in replies]
