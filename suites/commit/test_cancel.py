"""What cancels a request that waits with a buffer ring, and what does not: by its user_data, its file, its operation."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NamedTuple

import pytest

from ringrig.model.shelf import REQUEST, Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.group import Pipe
from ringrig.uring.requests import cancel
from ringrig.uring.structs import io_uring_sync_cancel_reg, kernel_timespec
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(3)

OTHER, CANCEL = 2, 3
ALL, FD, ANY = c.IORING_ASYNC_CANCEL_ALL, c.IORING_ASYNC_CANCEL_FD, c.IORING_ASYNC_CANCEL_ANY
USERDATA, OP = c.IORING_ASYNC_CANCEL_USERDATA, c.IORING_ASYNC_CANCEL_OP
multishot = pytest.mark.needs("recv_multishot")
each_op = pytest.mark.parametrize(
    "opcode, ioprio",
    [
        pytest.param(c.IORING_OP_READ, 0, id="read"),
        pytest.param(c.IORING_OP_RECV, 0, id="recv"),
        pytest.param(c.IORING_OP_RECV, c.IORING_RECV_MULTISHOT, id="recv_multishot", marks=multishot),
    ],
)


class Way(NamedTuple):
    """cancel_flags, which of the named values is another one's (None: all are the request's), and what is found."""

    flags: int
    wrong: str | None = None
    res: int = 0


HITS = {
    "user_data": Way(0),
    "user_data_all": Way(ALL, res=1),
    "file": Way(FD),
    "file_all": Way(FD | ALL, res=1),
    "operation": Way(OP),
    "operation_all": Way(OP | ALL, res=1),
    "file_and_operation": Way(FD | OP),
    "file_and_user_data": Way(FD | USERDATA),
    "operation_and_user_data": Way(OP | USERDATA),
    "all_three": Way(FD | OP | USERDATA),
}
MISSES = {
    "user_data": Way(0, "user_data", -errno.ENOENT),
    "user_data_all": Way(ALL, "user_data"),
    "file": Way(FD, "file", -errno.ENOENT),
    "operation": Way(OP, "operation", -errno.ENOENT),
    "operation_all": Way(OP | ALL, "operation"),
    "file_of_file_and_operation": Way(FD | OP, "file", -errno.ENOENT),
    "operation_of_file_and_operation": Way(FD | OP, "operation", -errno.ENOENT),
    "user_data_of_file_and_user_data": Way(FD | USERDATA, "user_data", -errno.ENOENT),
    "user_data_of_operation_and_user_data": Way(OP | USERDATA, "user_data", -errno.ENOENT),
}


def by(table: dict[str, Way]) -> pytest.MarkDecorator:
    """Each way by a request, and by io_uring_register()."""
    rows = []
    for name, way in table.items():
        by_operation = way.flags & (OP | USERDATA)
        for call, needed in (("request", "cancel_op"), ("register", "sync_cancel_op")):
            marks = [pytest.mark.needs(needed)] if by_operation else []
            rows.append(pytest.param(way, call, id=f"{call}-{name}", marks=marks))
    return pytest.mark.parametrize("way, call", rows)


class Waiting:
    """Two requests that wait: the one on trial, and one of another file, operation and user_data, which never is."""

    def __init__(self, subject: Subject, wire: Wire, pipe: Pipe, *, opcode: int, ioprio: int) -> None:
        self.ring, self.shelf, self._opcode = subject.ring, Shelf(subject, {5: 64, 2: 64}), opcode
        ends = {c.IORING_OP_READ: (pipe.reader, pipe.feed), c.IORING_OP_RECV: (wire.near, wire.send)}
        self._fd, self.feed = ends.pop(opcode)
        [(other, (fd, self.feed_other))] = ends.items()
        self.shelf.queue(opcode, self._fd, ioprio=ioprio)
        self.shelf.queue(other, fd).user_data = OTHER
        assert self.ring.submit() == 2
        assert self.ring.cqes() == []

    def cancel(self, way: Way) -> None:
        """Queue it."""
        sqe = cancel(self.ring, 99 if way.wrong == "user_data" else REQUEST, own=CANCEL)
        sqe.cancel_flags, sqe.fd, sqe.len = way.flags, *self._file_and_operation(way)

    def cancel_now(self, way: Way) -> int:
        """By io_uring_register()."""
        fd, opcode = self._file_and_operation(way)
        addr = 99 if way.wrong == "user_data" else REQUEST
        call = io_uring_sync_cancel_reg(addr=addr, fd=fd, flags=way.flags, opcode=opcode)
        call.timeout = kernel_timespec(-1, -1)
        return self.ring.register(c.IORING_REGISTER_SYNC_CANCEL, call, 1)

    def _file_and_operation(self, way: Way) -> tuple[int, int]:
        """-1, 0 for what the flags do not name."""
        fd = self.shelf.group.zero() if way.wrong == "file" else self._fd
        opcode = c.IORING_OP_RECVMSG if way.wrong == "operation" else self._opcode
        return fd if way.flags & FD else -1, opcode if way.flags & OP else 0

    def told(self, count: int) -> dict[int, Reply]:
        """Replies by user_data."""
        return {cqe.user_data: Reply.of(cqe.res, cqe.flags) for cqe in self.ring.complete(count)}


@pytest.fixture
def waiting(ring: Subject, make_wire: Callable[..., Wire], pipe: Pipe, opcode: int, ioprio: int) -> Waiting:
    return Waiting(ring, make_wire(), pipe, opcode=opcode, ioprio=ioprio)


@each_op
@by(HITS)
def test_what_is_named_is_cancelled(waiting: Waiting, way: Way, call: str) -> None:
    """-ECANCELED without a buffer, and the canceller says 0, or with ALL how many; the other request gets the first buffer.

    io_cancel_req_match(), __io_poll_cancel(); REGISTER_SYNC_CANCEL: io_sync_cancel().
    Fixed by "io_uring: use cancelation match helper for poll and timeout requests" (6.6). Live in 6.1.192.
    Fixed in 6.18.15. Live in 6.16.12, 6.17.13.
    """
    if call == "request":
        waiting.cancel(way)
        found = waiting.told(1)
    else:
        found = {CANCEL: Reply(res=waiting.cancel_now(way))}
    canceller = Reply(res=way.res)
    if len(found) < 2 and found.get(CANCEL, canceller) == canceller:
        found |= waiting.told(1)
    waiting.feed_other(incoming(0, 20))

    assert found == {REQUEST: Reply(res=-errno.ECANCELED), CANCEL: canceller}
    assert waiting.told(1) == {OTHER: Reply(res=20, bid=5)}
    assert waiting.shelf.written() == {5: incoming(0, 20)}
    assert waiting.shelf.left() == [(2, 64)]


@each_op
@by(MISSES)
def test_what_is_not_named_waits_on(waiting: Waiting, ioprio: int, way: Way, call: str) -> None:
    """-ENOENT, or with ALL 0; data comes for the request that is no other's, and it gets the first buffer.

    Fixed by "io_uring: use cancelation match helper for poll and timeout requests" (6.6). Live in 6.1.192.
    """
    if call == "request":
        waiting.cancel(way)
        found = waiting.told(1)
    else:
        found = {CANCEL: Reply(res=waiting.cancel_now(way))}
    waiting.feed(incoming(0, 20))

    assert found == {CANCEL: Reply(res=way.res)}
    assert waiting.told(1) == {REQUEST: Reply(res=20, bid=5, more=bool(ioprio))}
    assert waiting.shelf.written() == {5: incoming(0, 20)}
    assert waiting.shelf.left() == [(2, 64)]


@each_op
def test_all_are_cancelled(waiting: Waiting) -> None:
    """IORING_ASYNC_CANCEL_ANY and _ALL: 2, both are -ECANCELED, and both buffers are there.

    __io_async_cancel() goes on until io_try_cancel() finds none
    """
    waiting.cancel(Way(ANY | ALL))

    gone = Reply(res=-errno.ECANCELED)
    assert waiting.told(3) == {REQUEST: gone, OTHER: gone, CANCEL: Reply(res=2)}
    assert waiting.shelf.left() == [(5, 64), (2, 64)]


POLL_UPDATE_EVENTS = 1 << 1
REMOVALS = {
    "poll_remove": (c.IORING_OP_POLL_REMOVE, 0),
    "poll_update": (c.IORING_OP_POLL_REMOVE, POLL_UPDATE_EVENTS),
    "timeout_remove": (c.IORING_OP_TIMEOUT_REMOVE, 0),
}


@each_op
@pytest.mark.parametrize("remove, flags", REMOVALS.values(), ids=REMOVALS)
def test_what_removes_polls_and_timeouts_does_not_know_it(
    waiting: Waiting, ioprio: int, remove: int, flags: int
) -> None:
    """It waits for poll, but is no POLL_ADD: -ENOENT, and it goes on. io_poll_find(): poll_only"""
    sqe = waiting.ring.sqe()
    sqe.opcode, sqe.fd, sqe.addr, sqe.len, sqe.user_data = remove, -1, REQUEST, flags, CANCEL
    found = waiting.told(1)
    waiting.feed(incoming(0, 20))

    assert found == {CANCEL: Reply(res=-errno.ENOENT)}
    assert waiting.told(1) == {REQUEST: Reply(res=20, bid=5, more=bool(ioprio))}
    assert waiting.shelf.left() == [(2, 64)]
