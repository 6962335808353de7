"""SEND with IORING_RECVSEND_BUNDLE: all that is published, a completion for each 256 buffers or part of them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytest

from ringrig.model.shelf import BGID, Rest, Shelf, to_the_end
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.requests import selecting
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("bundle"), pytest.mark.ends_within(3)]

FOUR = {9: 64, 300: 64, 0x8000: 64, 4: 64}
BUNDLE = c.IORING_RECVSEND_BUNDLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """A bundle of `length`; for each completion the bytes it sends of one buffer after the other."""

    sizes: Mapping[int, int]
    rounds: tuple[tuple[int, ...], ...]
    length: int = 0


TABLE = {
    "everything": Rounds(sizes=FOUR, rounds=((64, 64, 64, 64),)),
    "one_buffer": Rounds(sizes={0xFFFF: 64}, rounds=((64,),)),
    "mixed": Rounds(sizes={1: 10, 0: 1, 8: 100, 2: 33}, rounds=((10, 1, 100, 33),)),
    "length_of_all": Rounds(sizes=FOUR, length=256, rounds=((64, 64, 64, 64),)),
    "length_of_two": Rounds(sizes=FOUR, length=128, rounds=((64, 64), (64, 64))),
    "length_within_the_first": Rounds(sizes=FOUR, length=40, rounds=((40,), (64, 64, 64))),
    "length_within_the_second": Rounds(sizes=FOUR, length=100, rounds=((64,), (64, 64, 64))),
    "longer_than_all": Rounds(sizes=FOUR, length=1000, rounds=((64, 64, 64, 64),)),
    "large_first": Rounds(sizes={5: 64, 0: 16, 1: 16, 2: 16}, length=100, rounds=((64, 16), (16, 16))),
    "empty_in_the_middle": Rounds(sizes={5: 64, 0: 0, 1: 16}, rounds=((64, 0, 16),)),
    "empty_at_the_end": Rounds(sizes={5: 64, 0: 0}, rounds=((64, 0),)),
    "more_than_256": Rounds(sizes={7 * at: 4 for at in range(300)}, rounds=((4,) * 256, (4,) * 44)),
    "exactly_256": Rounds(sizes={7 * at: 4 for at in range(256)}, rounds=((4,) * 256,)),
    "three_rounds": Rounds(sizes={7 * at: 4 for at in range(520)}, rounds=((4,) * 256, (4,) * 256, (4,) * 8)),
}


def want(rounds: Rounds) -> tuple[list[Reply], bytes]:
    """The completions, and what the other end gets: buffers hold one stream, of which cut ends are left out."""
    bids, sizes = list(rounds.sizes), list(rounds.sizes.values())
    replies, sent, at, place = [], b"", 0, 0
    for number, pieces in enumerate(rounds.rounds):
        more = number < len(rounds.rounds) - 1
        replies.append(Reply(res=sum(pieces), bid=bids[at], more=more))
        for piece in pieces:
            sent += incoming(place, piece)
            place += sizes[at]
            at += 1
    return replies, sent


@pytest.mark.parametrize("start", [0, 6], ids=["from_slot_0", "over_the_end"])
@pytest.mark.parametrize("rounds", TABLE.values(), ids=TABLE)
def test_a_bundle_sends_all_there_is(
    ring: Subject, make_wire: Callable[..., Wire], rounds: Rounds, start: int
) -> None:
    """Completions with the first bid of their round, F_MORE on all but the last; the head is at the tail.

    The length is of the first round alone. A last buffer that it would cut waits for the next round, unless it is
    the first: then its rest is lost. io_ring_buffers_peek(), io_send_finish(), io_mshot_prep_retry()
    """
    shelf, wire = Shelf(ring, rounds.sizes, start=start), make_wire()
    shelf.load()

    shelf.queue(c.IORING_OP_SEND, wire.near, length=rounds.length, ioprio=BUNDLE)
    found = shelf.to_the_end()

    assert (found, wire.received()) == want(rounds)
    assert shelf.head() == len(rounds.sizes)
    assert shelf.group.read(length=1).res == -errno.ENOBUFS


LEGACY = {
    "everything": Rounds(sizes={9: 64, 300: 10, 4: 30}, rounds=((64,), (10,), (30,))),
    "one_buffer": Rounds(sizes={9: 64}, rounds=((64,),)),
    "with_a_length": Rounds(sizes={9: 64, 300: 10, 4: 30}, length=20, rounds=((64,), (10,), (30,))),
}


@pytest.mark.parametrize("rounds", LEGACY.values(), ids=LEGACY)
def test_provided_buffers_go_one_by_one(
    ring: Subject, make_wire: Callable[..., Wire], rounds: Rounds
) -> None:
    """A completion for each, whole whatever the length says, F_MORE on all but the last. io_provided_buffers_select()"""
    shelf, wire = Shelf(ring, rounds.sizes, kind=Kind.LEGACY), make_wire()
    shelf.load()

    shelf.queue(c.IORING_OP_SEND, wire.near, length=rounds.length, ioprio=BUNDLE)
    found = shelf.to_the_end()

    assert (found, wire.received()) == want(rounds)
    assert shelf.left() == []


SINGLE = {"no_length": (0, 64), "shorter": (40, 40), "equal": (64, 64), "longer": (200, 64)}


EARLIER = {20: 64, 21: 64, 22: 64, 23: 64}


@pytest.mark.parametrize("before", [{}, EARLIER], ids=["alone", "after_a_bundle"])
@pytest.mark.parametrize("length, sent", SINGLE.values(), ids=SINGLE)
def test_a_plain_send_takes_one_buffer(
    ring: Subject, make_wire: Callable[..., Wire], length: int, sent: int, before: Mapping[int, int]
) -> None:
    """Without the flag: one buffer, and no more than it holds, also where a bundle of four has left its vector.

    io_send(): nr_iovs 1; the request's memory is used again. Fixed by 8fe8ac24adcd (6.10.5).
    """
    shelf, wire = Shelf(ring, {**before, **FOUR}, published=len(before)), make_wire()
    stream = shelf.load()
    if before:
        other = make_wire()
        shelf.queue(c.IORING_OP_SEND, other.near, ioprio=BUNDLE)
        assert shelf.to_the_end() == [Reply(res=256, bid=20)]
    for bid in FOUR:
        shelf.provide(bid)

    shelf.queue(c.IORING_OP_SEND, wire.near, length=length)

    assert shelf.to_the_end() == [Reply(res=sent, bid=9)]
    assert wire.received() == stream[sum(before.values()) :][:sent]
    assert shelf.left() == list(FOUR.items())[1:]


@pytest.mark.parametrize("ioprio", [0, BUNDLE], ids=["plain", "bundle"])
@pytest.mark.parametrize("length", [0, 64], ids=["no_length", "length"])
def test_a_length_of_zero_at_the_head(
    ring: Subject, make_wire: Callable[..., Wire], ioprio: int, length: int
) -> None:
    """The first entry has length 0: -ENOBUFS, and it stays; nothing divides by it. Fixed by e0ee967630c8 (6.10.7)."""
    shelf, wire = Shelf(ring, {4: 0, 5: 64}), make_wire()

    shelf.queue(c.IORING_OP_SEND, wire.near, length=length, ioprio=ioprio)

    assert shelf.to_the_end() == [Reply(res=-errno.ENOBUFS)]
    assert (shelf.head(), wire.received()) == (0, b"")


@pytest.mark.parametrize("ioprio", [0, BUNDLE], ids=["plain", "bundle"])
@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_no_buffer(ring: Subject, make_wire: Callable[..., Wire], kind: Kind, ioprio: int) -> None:
    """An empty group: -ENOBUFS alone; the head stays. io_buffers_select()"""
    shelf, wire = Shelf(ring, {3: 64}, kind=kind), make_wire()
    assert shelf.left() == [(3, 64)]

    shelf.queue(c.IORING_OP_SEND, wire.near, ioprio=ioprio)

    assert shelf.to_the_end() == [Reply(res=-errno.ENOBUFS)]
    if kind is Kind.RING:
        assert shelf.head() == 1
        shelf.provide(3)
    assert shelf.left() == ([(3, 64)] if kind is Kind.RING else [])


@pytest.mark.parametrize("ioprio", [0, BUNDLE], ids=["plain", "bundle"])
def test_no_group(ring: Subject, make_wire: Callable[..., Wire], ioprio: int) -> None:
    """Nobody made the group: -ENOENT. io_buffers_select()"""
    selecting(ring.ring, c.IORING_OP_SEND, make_wire().near, bgid=BGID).ioprio = ioprio

    assert to_the_end(ring.ring) == [Reply(res=-errno.ENOENT)]


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_nobody_is_there(ring: Subject, make_wire: Callable[..., Wire], kind: Kind) -> None:
    """The other end is closed: -EPIPE with the first bid, no F_MORE. A ring's buffers are all gone, else one is.

    io_send_finish(): bundle_finished. Open.
    """
    shelf, wire = Shelf(ring, FOUR, kind=kind), make_wire()
    wire.close()

    shelf.queue(c.IORING_OP_SEND, wire.near, ioprio=BUNDLE)

    assert shelf.to_the_end() == [Reply(res=-errno.EPIPE, bid=9)]
    assert shelf.left() == ([] if kind is Kind.RING else list(FOUR.items())[1:])


def test_io_wq_sends_nothing(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """IOSQE_ASYNC and a socket that has room: -ECANCELED, nothing is sent and no buffer is gone.

    io_wq_submit_work() leaves a request with several completions to poll, and gives up where there is no need to.
    Fixed by "net: fix io_req_post_cqe abuse by send bundle" (6.12.24).
    """
    shelf, wire = Shelf(ring, FOUR), make_wire()
    shelf.load()

    shelf.queue(c.IORING_OP_SEND, wire.near, ioprio=BUNDLE, flags=c.IOSQE_ASYNC)

    assert shelf.to_the_end() == [Reply(res=-errno.ECANCELED)]
    assert (shelf.head(), wire.received()) == (0, b"")


WHOLE = {"bundle": (BUNDLE, 0, 4), "plain_waitall": (0, socket.MSG_WAITALL, 1)}


@pytest.mark.parametrize("ioprio, msg_flags, count", WHOLE.values(), ids=WHOLE)
def test_what_does_not_fit_waits(
    ring: Subject, make_wire: Callable[..., Wire], ioprio: int, msg_flags: int, count: int
) -> None:
    """A buffer of 90,000 bytes, three of 4,000, a socket that takes a few thousand: as it is read from, all are sent.

    One completion with all bytes of the round, no F_MORE as it had to wait. io_net_retry(): MSG_WAITALL
    """
    sizes = {9: 90_000, 300: 4000, 2: 4000, 1: 4000}
    shelf, wire = Shelf(ring, sizes), make_wire()
    wire.narrow()
    stream = shelf.load()[: sum([*sizes.values()][:count])]

    shelf.queue(c.IORING_OP_SEND, wire.near, ioprio=ioprio, msg_flags=msg_flags)
    shelf.ring.submit()
    assert shelf.ring.cqes() == []
    assert shelf.head() == count
    got = b""
    while len(got) < len(stream):
        got += wire.received(1)
        got += wire.received()
        shelf.ring.submit()

    assert shelf.to_the_end() == [Reply(res=len(stream), bid=9)]
    assert got == stream
    assert shelf.left() == list(sizes.items())[count:]


def test_what_had_to_wait_is_the_last_round(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """300 buffers of 100 bytes, a socket that takes a few thousand: 256 are sent in the end, no F_MORE, 44 stay.

    Another round could be overtaken by other sends. io_send_finish(): REQ_F_POLLED.
    Fixed by "net: don't continue send bundle if poll was required" (6.12.75).
    """
    sizes = {7 * at: 100 for at in range(300)}
    shelf, wire = Shelf(ring, sizes), make_wire()
    wire.narrow()
    stream = shelf.load()[:25_600]

    shelf.queue(c.IORING_OP_SEND, wire.near, ioprio=BUNDLE)
    shelf.ring.submit()
    assert shelf.ring.cqes() == []
    got = b""
    while len(got) < len(stream):
        got += wire.received(1)
        got += wire.received()
        shelf.ring.submit()

    assert shelf.to_the_end() == [Reply(res=25_600, bid=0)]
    assert got == stream
    assert shelf.head() == 256


def test_a_full_completion_queue_ends_a_bundle(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire]
) -> None:
    """No room for the completion with F_MORE: it comes as the last one, and 44 of 300 buffers stay.

    io_send_finish(): io_req_post_cqe() fails, and the result is the request's own (kept as overflow).
    """
    ring = make_ring(entries=4, cq_entries=4)
    sizes = {7 * at: 4 for at in range(300)}
    shelf, wire = Shelf(ring, sizes), make_wire()
    stream = shelf.load()
    for _ in range(4):
        ring.ring.sqe().user_data = 77
    ring.ring.submit()

    shelf.queue(c.IORING_OP_SEND, wire.near, ioprio=BUNDLE)
    ring.ring.submit()
    nops = ring.ring.cqes()
    found = shelf.to_the_end()

    assert [cqe.user_data for cqe in nops] == [77] * 4
    assert found == [Reply(res=1024, bid=0)]
    assert wire.received() == stream[:1024]
    assert shelf.head() == 256


@pytest.mark.parametrize("opcode", [c.IORING_OP_SEND, c.IORING_OP_RECV], ids=["send", "recv"])
def test_a_length_above_31_bits(ring: Subject, make_wire: Callable[..., Wire], opcode: int) -> None:
    """sqe->len 0x80000000: -EINVAL, and the buffer stays. io_sendmsg_prep() and such. Fixed by b948f9d5d305 (CVE-2026-31774; 6.12.81)."""
    shelf, wire = Shelf(ring, {3: 64}), make_wire()
    wire.feed(b"data")
    shelf.queue(opcode, wire.near, length=1 << 31)

    assert shelf.to_the_end() == [Reply(res=-errno.EINVAL)]
    assert shelf.left() == [(3, 64)]


@pytest.mark.parametrize("opcode", [c.IORING_OP_SEND, c.IORING_OP_RECV], ids=["send", "recv"])
def test_the_sqe_has_no_address(ring: Subject, make_wire: Callable[..., Wire], opcode: int) -> None:
    """With a selection sqe->addr says nothing, even if it is the kernel's. io_send_setup(), io_recvmsg_prep_setup()"""
    Shelf(ring, {3: 4})
    wire = make_wire()
    wire.feed(b"data")
    selecting(ring.ring, opcode, wire.near, bgid=BGID, length=4).addr = 0xFFFF888000000000

    assert to_the_end(ring.ring) == [Reply(res=4, bid=3)]


@pytest.mark.needs("inc")
class TestIncremental:
    """Bundles that use a part of their last buffer."""

    THREE: ClassVar = {300: 64, 2: 64, 8: 64}

    def test_the_rest_goes_with_the_next_round(self, ring: Subject, make_wire: Callable[..., Wire]) -> None:
        """Length 100: 64 + 36 with F_BUF_MORE; the next round sends 28 + 64, without.

        io_ring_buffers_peek() does not leave out what the length cuts; REQ_F_BUF_MORE is the round's.
        """
        shelf, wire = Shelf(ring, self.THREE, flags=c.IOU_PBUF_RING_INC), make_wire()
        stream = shelf.load()

        shelf.queue(c.IORING_OP_SEND, wire.near, length=100, ioprio=BUNDLE)

        assert shelf.to_the_end() == [
            Reply(res=100, bid=300, more=True, buf_more=True),
            Reply(res=92, bid=2),
        ]
        assert wire.received() == stream
        assert shelf.rests() == [Rest(300, 0, 0), Rest(2, 36, 0), Rest(8, 0, 0)]
        assert shelf.head() == 3

    def test_it_ends_in_the_last_buffer(self, ring: Subject, make_wire: Callable[..., Wire]) -> None:
        """Length 170: 64 + 64 + 42, the last completion, with F_BUF_MORE; 22 bytes stay. io_send_finish(): REQ_F_BL_EMPTY"""
        shelf, wire = Shelf(ring, self.THREE, flags=c.IOU_PBUF_RING_INC), make_wire()
        stream = shelf.load()

        shelf.queue(c.IORING_OP_SEND, wire.near, length=170, ioprio=BUNDLE)

        assert shelf.to_the_end() == [Reply(res=170, bid=300, buf_more=True)]
        assert wire.received() == stream[:170]
        assert shelf.rests() == [Rest(300, 0, 0), Rest(2, 0, 0), Rest(8, 42, 22)]
        assert shelf.head() == 2
