"""poll(), select() and epoll of the io_uring itself: readable while there are completions, in the CQ ring or beyond it."""

from __future__ import annotations

import errno
import select
import threading
from collections.abc import Callable, Iterator

import pytest

from ringrig.model.params import ops, rings
from ringrig.model.shelf import Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Op, Reply, incoming
from ringrig.model.waiting import payloads, receive, told, waits, without_nonempty
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.ring import Ring
from ringrig.uring.stuck import asleep
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(3)

BIDS = (5, 300, 2, 9, 7, 1)
_SIZE = 8
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
each_op = pytest.mark.parametrize(
    "op", [Op.READ, Op.READV, Op.RECV, Op.RECVMSG], ids=["read", "readv", "recv", "recvmsg"]
)


class Watch:
    """A ring's descriptor as poll(), select() and epoll show it; epoll has it from the start.

    Not epoll where requests are deferred: it tells of wakeups, and not all kernels wake there (docs/semantics.md).
    """

    def __init__(self, ring: Ring) -> None:
        self._fd = ring.fd
        self.poll, self.epoll = select.poll(), select.epoll()
        self.poll.register(ring.fd, select.POLLIN)
        self._deferring = bool(ring.params.flags & c.IORING_SETUP_DEFER_TASKRUN)
        self.epoll.register(ring.fd, select.EPOLLIN)

    def said(self) -> list[bool]:
        """Is it readable, by each of them?"""
        said = [
            self.poll.poll(0) == [(self._fd, select.POLLIN)],
            select.select([self._fd], [], [], 0)[0] == [self._fd],
        ]
        return said if self._deferring else [*said, self.epoll.poll(0) == [(self._fd, select.EPOLLIN)]]

    def readable(self) -> bool:
        """It is so by all three, or by none."""
        said = self.said()
        assert len(set(said)) == 1, f"readable by poll(), select(), epoll: {said}"
        return said[0]

    def becomes_readable(self) -> bool:
        """By all three, while what makes it so may be on its way."""
        return settled(lambda: int(all(self.said())), 1) == 1


@pytest.fixture
def watch() -> Iterator[Callable[[Ring], Watch]]:
    made: list[Watch] = []

    def make(ring: Ring) -> Watch:
        made.append(Watch(ring))
        return made[-1]

    yield make
    for one in made:
        one.epoll.close()


class Sleeper:
    """A thread that sleeps in poll() or epoll_wait() of the io_uring."""

    def __init__(self, look: Watch, by: str) -> None:
        self.seen: list[list[tuple[int, int]]] = []
        sleep = look.poll.poll if by == "poll" else look.epoll.poll
        self._thread = threading.Thread(target=lambda: self.seen.append(sleep()), daemon=True)
        self._thread.start()
        assert settled(lambda: int(asleep(self._thread.native_id or 0)), 1) == 1

    def woken(self, ring: Ring) -> tuple[bool, list[Reply]]:
        """Within a second; and the completion. Afterwards it has ended."""
        self._thread.join(1)
        woken = not self._thread.is_alive()
        found = [Reply.of(cqe.res, cqe.flags) for cqe in ring.complete()]
        if not woken:  # let it go: a completion that stays
            ring.sqe()
            ring.submit()
        self._thread.join()
        return woken, found


def overflowed(ring: Ring) -> bool:
    """IORING_SQ_CQ_OVERFLOW: completions wait in the kernel for room in the CQ ring."""
    return bool(ring.sq_flags.value & c.IORING_SQ_CQ_OVERFLOW)


def reaped(ring: Ring) -> list[Reply]:
    return [Reply.of(cqe.res, cqe.flags) for cqe in ring.cqes()]


@each_kind
@each_op
@pytest.mark.parametrize("flags", rings("plain", "deferring"))
def test_completions_beyond_the_ring(  # noqa: PLR0917
    make_ring: Callable[..., Subject],
    make_wire: Callable[..., Wire],
    watch: Callable[[Ring], Watch],
    flags: int,
    op: Op,
    kind: Kind,
) -> None:
    """A CQ of 4, six requests: readable, also when the four were taken off, until the other two were asked for and taken off too.

    Buffers 7 and 1 are used up and nobody has been told. io_uring_poll(): io_has_work(), IO_CHECK_CQ_OVERFLOW_BIT
    """
    subject = make_ring(entries=2, cq_entries=4, flags=flags)
    ring, want = subject.ring, [Reply(res=_SIZE, bid=bid) for bid in BIDS]
    shelf = Shelf(subject, dict.fromkeys(BIDS, _SIZE), kind=kind)
    look = watch(ring)
    assert (look.readable(), overflowed(ring)) == (False, False)

    for at in range(len(BIDS)):
        wire = make_wire()
        wire.send(incoming(_SIZE * at, _SIZE))
        receive(shelf, op, wire, length=_SIZE)
        assert ring.submit() == 1
        assert (look.readable(), overflowed(ring)) == (True, at >= 4)
    assert reaped(ring) == want[:4]
    assert ring.cqes() == []
    assert (look.readable(), overflowed(ring)) == (True, True), "completions wait beyond the ring"
    ring.submit()
    assert (look.readable(), overflowed(ring)) == (True, False)
    assert reaped(ring) == want[4:]

    assert (look.readable(), overflowed(ring)) == (False, False)
    assert shelf.written() == {bid: incoming(_SIZE * at, _SIZE) for at, bid in enumerate(BIDS)}
    assert shelf.left() == []


@each_kind
@each_op
@pytest.mark.parametrize("flags", rings("plain", "cooperative", "deferring"))
def test_completions_of_workers_beyond_the_ring(
    make_ring: Callable[..., Subject],
    make_wire: Callable[..., Wire],
    flags: int,
    op: Op,
    kind: Kind,
) -> None:
    """A CQ of 4 and six requests that workers do (IOSQE_ASYNC), in whatever order: two completions wait beyond it, none is lost.

    io_req_complete_post(): io_req_cqe_overflow()
    """
    subject = make_ring(entries=2, cq_entries=4, flags=flags)
    ring, shelf = subject.ring, Shelf(subject, dict.fromkeys(BIDS, _SIZE), kind=kind)

    def beyond() -> int:
        ring.submit()
        return overflowed(ring)

    for at in range(len(BIDS)):
        wire = make_wire()
        wire.send(incoming(_SIZE * at, _SIZE))
        receive(shelf, op, wire, length=_SIZE, flags=c.IOSQE_ASYNC).user_data = at
        ring.submit()
    assert settled(beyond, 1) == 1

    found = ring.cqes()
    assert len(found) == 4
    found += ring.complete(2, timeout=2)

    assert sorted(cqe.user_data for cqe in found) == list(range(len(BIDS)))
    told_of = without_nonempty(Reply.of(cqe.res, cqe.flags) for cqe in found)
    assert told_of == [Reply(res=_SIZE, bid=cqe.bid) for cqe in found]
    assert shelf.written() == {cqe.bid: incoming(_SIZE * cqe.user_data, _SIZE) for cqe in found}
    assert sorted(shelf.written()) == sorted(BIDS)
    assert shelf.left() == []


@pytest.mark.needs("recv_multishot")
@each_kind
@pytest.mark.parametrize("flags", rings("plain", "deferring"))
def test_rounds_beyond_the_ring(
    make_ring: Callable[..., Subject],
    make_wire: Callable[..., Wire],
    watch: Callable[[Ring], Watch],
    flags: int,
    kind: Kind,
) -> None:
    """A CQ of 4, and a multishot RECV with data for six buffers: the four taken off, it is readable for what follows them.

    The completion that found no room is the last one, or not. io_req_post_cqe(), io_uring_poll()
    """
    subject, wire = make_ring(entries=2, cq_entries=4, flags=flags), make_wire()
    ring, shelf = subject.ring, Shelf(subject, dict.fromkeys(BIDS, _SIZE), kind=kind)
    look = watch(ring)
    receive(shelf, Op.RECV_MULTISHOT, wire)
    assert ring.submit() == 1
    assert look.readable() is False

    wire.send(incoming(0, _SIZE * len(BIDS)))
    ring.submit()
    found = reaped(ring)
    assert ring.cqes() == []
    assert (look.readable(), overflowed(ring)) == (True, True), "completions wait beyond the ring"
    ring.submit()
    assert (look.readable(), overflowed(ring)) == (True, False)
    found += reaped(ring)

    assert len(found) > 4
    assert [(reply.res, reply.bid) for reply in found] == [(_SIZE, bid) for bid in BIDS[: len(found)]]
    assert [reply.more for reply in found[:-1]] == [True] * (len(found) - 1)
    assert look.readable() is False


@each_kind
@pytest.mark.parametrize("flags", rings())
@pytest.mark.parametrize("op", [Op.READ, Op.RECV], ids=["read", "recv"])
def test_a_request_that_waits_and_ends(  # noqa: PLR0917
    make_ring: Callable[..., Subject],
    make_wire: Callable[..., Wire],
    watch: Callable[[Ring], Watch],
    op: Op,
    flags: int,
    kind: Kind,
) -> None:
    """A request waits: not readable; its data comes: readable; its completion is taken off: no longer. And so again.

    With IORING_SETUP_DEFER_TASKRUN readable means that there is something to do: io_uring_poll(), io_has_work()
    """
    subject, wire = make_ring(flags=flags), make_wire()
    ring, shelf = subject.ring, Shelf(subject, dict.fromkeys(BIDS, _SIZE), kind=kind)
    look = watch(ring)
    for at, bid in enumerate(BIDS[:2]):
        receive(shelf, op, wire, length=_SIZE)
        ring.submit()
        assert waits(ring, op)
        assert look.readable() is False

        wire.send(incoming(_SIZE * at, _SIZE))
        assert look.becomes_readable()
        ring.submit()
        assert look.becomes_readable()
        assert reaped(ring) == [Reply(res=_SIZE, bid=bid)]

        assert look.readable() is False
    assert shelf.written() == {bid: incoming(_SIZE * at, _SIZE) for at, bid in enumerate(BIDS[:2])}
    assert [bid for bid, _ in shelf.left()] == list(BIDS[2:])


@each_kind
@pytest.mark.parametrize("flags", rings())
@pytest.mark.parametrize("by", ["poll", "epoll"])
def test_who_sleeps_in_poll_is_woken(  # noqa: PLR0917
    make_ring: Callable[..., Subject],
    make_wire: Callable[..., Wire],
    watch: Callable[[Ring], Watch],
    by: str,
    flags: int,
    kind: Kind,
) -> None:
    """A RECV waits, and a thread in poll() or epoll_wait() of the io_uring: data comes, and the thread is woken.

    With IORING_SETUP_DEFER_TASKRUN by what there is to do: no completion comes by itself. io_poll_wq_wake(), io_req_local_work_add().
    Fixed by io_poll_wq_wake_rcu() (6.12.117, 7.3.4). Live in 6.18.44, 7.2.12.
    """
    subject, wire = make_ring(flags=flags), make_wire()
    ring, shelf = subject.ring, Shelf(subject, dict.fromkeys(BIDS, _SIZE), kind=kind)
    look = watch(ring)
    receive(shelf, Op.RECV, wire, length=_SIZE)
    ring.submit()
    assert waits(ring, Op.RECV)
    sleeper = Sleeper(look, by)

    wire.send(incoming(0, _SIZE))
    woken, found = sleeper.woken(ring)

    assert woken, f"who sleeps in {by}() of the io_uring is not woken by data"
    assert sleeper.seen == [[(ring.fd, select.POLLIN)]]
    assert found == [Reply(res=_SIZE, bid=5)]
    assert shelf.written() == {5: incoming(0, _SIZE)}
    assert [bid for bid, _ in shelf.left()] == list(BIDS[1:])


@each_kind
@pytest.mark.parametrize("flags", rings("plain", "cooperative", "polling"))
@pytest.mark.parametrize("by", ["poll", "epoll"])
@pytest.mark.parametrize("op", ops(op for op in Op if op.multishot))
def test_who_sleeps_in_poll_is_woken_by_each_round(  # noqa: PLR0917
    make_ring: Callable[..., Subject],
    make_wire: Callable[..., Wire],
    watch: Callable[[Ring], Watch],
    op: Op,
    by: str,
    flags: int,
    kind: Kind,
) -> None:
    """A multishot waits, and a thread in poll() or epoll_wait(): data comes, a completion with F_MORE, and the thread is woken; and again.

    __io_cq_unlock_post(): io_commit_cqring_flush()
    """
    subject, wire = make_ring(flags=flags), make_wire()
    ring, shelf = subject.ring, Shelf(subject, dict.fromkeys(BIDS, 64), kind=kind)
    look = watch(ring)
    receive(shelf, op, wire)
    ring.submit()
    assert waits(ring, op)

    for at, bid in enumerate(BIDS[:2]):
        sleeper = Sleeper(look, by)
        wire.send(incoming(_SIZE * at, _SIZE))
        woken, found = sleeper.woken(ring)

        assert woken, f"who sleeps in {by}() of the io_uring is not woken by a multishot's data"
        assert sleeper.seen == [[(ring.fd, select.POLLIN)]]
        assert found == [told(op, bid, _SIZE)]
    assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
    assert payloads(shelf, op) == {bid: incoming(_SIZE * at, _SIZE) for at, bid in enumerate(BIDS[:2])}
    assert [bid for bid, _ in shelf.left()] == list(BIDS[2:])
