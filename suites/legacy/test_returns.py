"""Legacy buffers that come back, or do not, from two requests that wait or find nothing: who has which, and what is next."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping

import pytest

from ringrig.model.profiles import Profile
from ringrig.model.shelf import Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.group import Pipe
from ringrig.uring.requests import cancel
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(3)

STOCK = {5: 64, 300: 48, 2: 16, 9: 32}
_CANCEL = 9

each_receive = pytest.mark.parametrize(
    "opcode", [c.IORING_OP_RECV, c.IORING_OP_RECVMSG], ids=["recv", "recvmsg"]
)
_WITH_DATA: Mapping[str, Callable[[tuple[int, ...]], tuple[int, ...]]] = {
    "both_cancelled": lambda _: (),
    "cancelled_then_data": lambda order: order[1:],
    "data_then_cancelled": lambda order: order[:1],
    "data_for_both": lambda order: order,
}
"""Which of two that end in that order get data; the others are cancelled."""
each_order = pytest.mark.parametrize(
    "order", [(0, 1), (1, 0)], ids=["first_before_second", "second_before_first"]
)


def _supply(source: Pipe | Wire, data: bytes) -> None:
    if isinstance(source, Pipe):
        source.feed(data)
    else:
        source.send(data)


@pytest.mark.parametrize(
    "opcode",
    [c.IORING_OP_RECV, c.IORING_OP_RECVMSG, c.IORING_OP_READ],
    ids=["recv", "recvmsg", "read"],
)
@each_order
@pytest.mark.parametrize("ends", _WITH_DATA)
def test_two_that_waited(  # noqa: PLR0917
    ring: Subject,
    make_wire: Callable[..., Wire],
    profile: Profile,
    ends: str,
    order: tuple[int, ...],
    opcode: int,
) -> None:
    """Two requests wait, and end one after the other, cancelled or with data. Receives held no buffer meanwhile: each had the
    first and put it back in front, and buffers go in their order to those that get data.

    A READ may keep its own while it waits (trait poll_arm_returns_legacy_buffer): it tells of it either way, and the rest is
    in order. io_kbuf_recycle_legacy(): list_add(); io_arm_poll_handler()
    """
    shelf, reads = Shelf(ring, STOCK, kind=Kind.LEGACY), opcode == c.IORING_OP_READ
    sources = [Pipe(ring.arena) if reads else make_wire() for _ in range(2)]
    for number, source in enumerate(sources):
        fd = source.reader if isinstance(source, Pipe) else source.near
        shelf.queue(opcode, fd, length=64).user_data = number
    assert ring.ring.submit() == 2
    assert settled(lambda: ring.ring.armed(opcode), 2) == 2
    holds = reads and "poll_arm_returns_legacy_buffer" not in profile.traits
    with_data = _WITH_DATA[ends](order)

    bids = dict(zip(range(2) if holds else with_data, STOCK, strict=False))
    found, want = [], []
    for number in order:
        if number in with_data:
            _supply(sources[number], incoming(number, 8))
            want.append({number: Reply(res=8, bid=bids[number])})
        else:
            cancel(ring.ring, number, own=_CANCEL)
            want.append({number: Reply(res=-errno.ECANCELED, bid=bids.get(number)), _CANCEL: Reply(res=0)})
        cqes = ring.ring.complete(len(want[-1]))
        found.append({cqe.user_data: Reply.of(cqe.res, cqe.flags) for cqe in cqes})

    assert found == want
    assert shelf.written() == {bids[number]: incoming(number, 8) for number in with_data}
    assert shelf.left() == list(STOCK.items())[len(bids) :]


@each_receive
@pytest.mark.parametrize("flags", [0, c.IOSQE_ASYNC], ids=["at_once", "by_a_worker"])
def test_two_that_do_not_wait(
    ring: Subject, make_wire: Callable[..., Wire], profile: Profile, flags: int, opcode: int
) -> None:
    """Two receives with MSG_DONTWAIT that find nothing: -EAGAIN, no buffer, and the order is as it was; or (6.1, without the
    trait dontwait_keeps_buffer) each its own buffer, told of and gone.

    io_recv(), io_recvmsg(): io_kbuf_recycle()
    """
    shelf = Shelf(ring, STOCK, kind=Kind.LEGACY)
    for number in range(2):
        wire = make_wire()
        shelf.queue(
            opcode, wire.near, length=64, msg_flags=socket.MSG_DONTWAIT, flags=flags
        ).user_data = number

    found = {cqe.user_data: Reply.of(cqe.res, cqe.flags) for cqe in ring.ring.complete(2)}

    lost = [] if "dontwait_keeps_buffer" in profile.traits else list(STOCK)[:2]
    if lost and flags:  # two workers: whichever is first has the first
        assert sorted(found) == [0, 1]
        assert {reply.bid for reply in found.values()} == set(lost)
        assert {reply.res for reply in found.values()} == {-errno.EAGAIN}
    else:
        assert found == {at: Reply(res=-errno.EAGAIN, bid=lost[at] if lost else None) for at in range(2)}
    assert shelf.written() == {}
    assert shelf.left() == list(STOCK.items())[len(lost) :]
