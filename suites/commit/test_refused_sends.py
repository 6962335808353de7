"""SENDs that the socket refuses: an error and a bid, no signal, and nothing behind them runs."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from ringrig.model.shelf import REQUEST, Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.wire import Wire, stuff

pytestmark = [pytest.mark.needs("send_select"), pytest.mark.ends_within(3)]

LINKED, FENCE = 77, 88
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
bundle = pytest.mark.needs("bundle")
each_bundle = pytest.mark.parametrize(
    "ioprio", [0, pytest.param(c.IORING_RECVSEND_BUNDLE, marks=bundle)], ids=["one", "bundle"]
)


@pytest.fixture
def broken_pipe() -> Iterator[Callable[[], bool]]:
    """Has SIGPIPE come to this thread? Blocked, it waits, though Python ignores it. kernel/signal.c sig_ignored()"""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
    yield lambda: signal.sigtimedwait({signal.SIGPIPE}, 0) is not None
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _closed(wire: Wire) -> None:
    wire.close()


def _shut(wire: Wire) -> None:
    with socket.socket(fileno=os.dup(wire.near)) as near:
        near.shutdown(socket.SHUT_WR)


def _reset(wire: Wire) -> None:
    """What the other end has not read makes its close() a reset. tcp_close()"""
    os.write(wire.near, b"unread")
    wire.close()
    poll = select.poll()
    poll.register(wire.near, select.POLLHUP)
    assert poll.poll(10_000)


STREAMS = {
    "closed": (False, _closed, errno.EPIPE),
    "shut": (False, _shut, errno.EPIPE),
    "shut_tcp": (True, _shut, errno.EPIPE),
    "reset": (True, _reset, errno.ECONNRESET),
}
Told = list[tuple[int, Reply]]


def _linked(shelf: Shelf, fd: int, *, ioprio: int, flags: int) -> Told:
    """What comes of a SEND and a NOP linked behind it, by user_data."""
    shelf.queue(c.IORING_OP_SEND, fd, ioprio=ioprio, flags=flags | c.IOSQE_IO_LINK)
    shelf.ring.sqe().user_data = LINKED
    cqes = shelf.ring.complete(1 if flags else 2)
    shelf.ring.sqe().user_data = FENCE
    cqes += shelf.ring.complete()
    return [(cqe.user_data, Reply.of(cqe.res, cqe.flags)) for cqe in cqes]


def _refusal(error: int, *, silent: int) -> Told:
    """The error and the bid; what is linked is -ECANCELED, or not heard of either. req_set_fail()"""
    own, linked = (REQUEST, Reply(res=-error, bid=5)), (LINKED, Reply(res=-errno.ECANCELED))
    return [own, *([] if silent else [linked]), (FENCE, Reply(res=0))]


@each_kind
@each_bundle
@pytest.mark.parametrize("silent", [0, c.IOSQE_CQE_SKIP_SUCCESS], ids=["told", "silent"])
@pytest.mark.parametrize("tcp, end, error", STREAMS.values(), ids=STREAMS)
def test_a_stream_that_takes_no_more(  # noqa: PLR0917
    ring: Subject,
    make_wire: Callable[..., Wire],
    broken_pipe: Callable[[], bool],
    tcp: bool,
    end: Callable[[Wire], None],
    error: int,
    silent: int,
    ioprio: int,
    kind: Kind,
) -> None:
    """-EPIPE or -ECONNRESET, with the bid, and no SIGPIPE: a program with a ring is not killed by its peers.

    What it had selected is gone. io_sendmsg_prep(): MSG_NOSIGNAL; io_send(): req_set_fail()
    """
    shelf, wire = Shelf(ring, {5: 64, 2: 64}, kind=kind), make_wire(tcp=tcp)
    end(wire)

    found = _linked(shelf, wire.near, ioprio=ioprio, flags=silent)

    assert found == _refusal(error, silent=silent)
    assert not broken_pipe()
    assert shelf.left() == ([] if ioprio and kind is Kind.RING else [(2, 64)])


@each_kind
@pytest.mark.parametrize("silent", [0, c.IOSQE_CQE_SKIP_SUCCESS], ids=["told", "silent"])
@pytest.mark.parametrize("error", [errno.EMSGSIZE, errno.ECONNREFUSED], ids=["too_long", "nobody"])
def test_a_datagram_that_nobody_takes(ring: Subject, error: int, silent: int, kind: Kind) -> None:
    """One that is longer than the socket's room, or that nobody is there for: nothing of it was sent.

    net/unix/af_unix.c unix_dgram_sendmsg(); io_send(): req_set_fail()
    """
    shelf = Shelf(ring, {5: 90_000, 2: 64}, kind=kind)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 if error == errno.EMSGSIZE else 1 << 18)
        if error == errno.ECONNREFUSED:
            far.close()
        found = _linked(shelf, near.fileno(), ioprio=0, flags=silent)

    assert found == _refusal(error, silent=silent)
    assert shelf.left() == [(2, 64)]


@each_kind
def test_a_send_that_waits_is_refused_without_a_signal(
    ring: Subject, make_wire: Callable[..., Wire], broken_pipe: Callable[[], bool], kind: Kind
) -> None:
    """The socket is full, and the other end goes while the SEND waits: -EPIPE, no SIGPIPE, and the link is broken.

    io_sendmsg_prep(): MSG_NOSIGNAL; io_send(): req_set_fail()
    """
    shelf, wire = Shelf(ring, {5: 64, 2: 64}, kind=kind), make_wire()
    wire.narrow()
    stuff(wire.near)
    shelf.queue(c.IORING_OP_SEND, wire.near, flags=c.IOSQE_IO_LINK)
    ring.ring.sqe().user_data = LINKED
    assert ring.ring.submit() == 2
    assert settled(lambda: ring.ring.armed(c.IORING_OP_SEND), 1) == 1
    wire.close()
    found = {cqe.user_data: Reply.of(cqe.res, cqe.flags) for cqe in ring.ring.complete(2)}

    assert found == {REQUEST: Reply(res=-errno.EPIPE, bid=5), LINKED: Reply(res=-errno.ECANCELED)}
    assert not broken_pipe()
    assert shelf.left() == [(2, 64)]
