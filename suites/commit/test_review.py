"""The five remarks of the RFC's review, a case or more each, on every ABI.

1. "does this need locking? both on buf_list being available or atomic increment on tail"
2. "for consistency … maybe better to pick one approach" (what is cleared when a buffer is put)
3. "task work can also run unlocked operations"
4. "bid is 16 bits due to the way it comes back in CQE flags"
5. "ditto for bgid"

Races go for a fixed number of rounds, from a seed; the invariant is said with each.
"""

from __future__ import annotations

import errno
import random
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ringrig.model.course import expect
from ringrig.model.profiles import Profile
from ringrig.model.scene import Scene
from ringrig.model.subject import Subject
from ringrig.model.transfer import Buffer, Issue, Kind, Op, Source, Stock, Then, Transfer, incoming
from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.counters import settled
from ringrig.uring.group import Group, Pipe, bids, legacy, remove_legacy
from ringrig.uring.requests import selecting
from ringrig.uring.structs import io_uring_buf_reg

pytestmark = pytest.mark.ends_within(5)

WIDE = {"zero": 0, "last_positive": 0x7FFF, "first_negative": 0x8000, "last": 0xFFFF}


class Crowd:
    """As many pipes as buffers, each read once a round; what each must get is known to the byte."""

    def __init__(self, subject: Subject, *, size: int) -> None:
        self.ring, self.size = subject.ring, size
        self.group = Group(subject.ring, subject.arena, entries=size, size=8)
        assert self.group.register() == 0
        subject.owns(self.group.bgid)
        self.pipes = [Pipe(subject.arena) for _ in range(size)]

    def round(self, dice: random.Random) -> None:
        """Publish all buffers, read all pipes at once, by the submitter or by io-wq, data before or after.

        Each completion's buffer holds its own pipe's bytes, and all buffers come back: so none was handed out
        twice, nor lost.
        """
        order = dice.sample(range(self.size), self.size)
        self.group.publish(*order)
        late = []
        for number, pipe in enumerate(self.pipes):
            sqe = selecting(self.ring, c.IORING_OP_READ, pipe.reader, bgid=self.group.bgid, length=8)
            sqe.user_data = number
            sqe.flags |= c.IOSQE_ASYNC * (dice.random() < 0.5)
            if dice.random() < 0.5:
                pipe.feed(number.to_bytes(8, "little"))
            else:
                late.append(number)
        assert self.ring.submit() == self.size
        for number in dice.sample(late, len(late)):
            self.pipes[number].feed(number.to_bytes(8, "little"))

        found = self.ring.complete(self.size)

        got = {cqe.user_data: self.group.content(cqe.bid, 8) for cqe in found if cqe.bid is not None}
        assert got == {number: number.to_bytes(8, "little") for number in range(self.size)}
        assert sorted(cqe.bid for cqe in found if cqe.bid is not None) == sorted(order)


@pytest.fixture
def noise(make_ring: Callable[..., Subject]) -> Iterator[Callable[[Subject], None]]:
    """noise(subject): from then on another thread registers and unregisters groups of it, without a pause."""
    stop = threading.Event()
    threads: list[threading.Thread] = []
    answers = {0}

    def start(subject: Subject) -> None:
        page = subject.arena.anon(libc.PAGE_SIZE)

        def work() -> None:
            while not stop.is_set():
                answers.add(bufring.register(subject.ring, addr=page, bgid=900))
                answers.add(bufring.unregister(subject.ring, 900))

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join()
    assert answers == {0}


@pytest.mark.parametrize("seed", range(3))
def test_1_each_buffer_is_committed_once(make_ring: Callable[..., Subject], seed: int) -> None:
    """32 reads by submitter and io-wq at once, 6 rounds: no bid twice before it is published again, none lost.

    The head moves under uring_lock only: io_ring_buffer_select(), io_put_kbuf().
    """
    dice = random.Random(seed)
    crowd = Crowd(make_ring(entries=64), size=32)

    for _ in range(6):
        crowd.round(dice)

    assert crowd.group.next() is None


WAITS = {
    "read": Transfer(op=Op.READ, length=64),
    "readv": Transfer(op=Op.READV, length=64),
    "recv": Transfer(op=Op.RECV, length=64),
    "recvmsg": Transfer(op=Op.RECVMSG, length=64),
}


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("issue", Issue, ids=lambda issue: issue.value)
@pytest.mark.parametrize("call", WAITS.values(), ids=WAITS)
def test_1_two_requests_that_wait_do_not_share_a_buffer(
    ring: Subject, profile: Profile, call: Transfer, issue: Issue, kind: Kind
) -> None:
    """Two requests wait, data comes for both: two bids, each with its own bytes, and the third is left.

    What waits holds nothing (looks again when woken), or what is gone from the group.
    io_kbuf_recycle(), or io_kbuf_commit() in io_ring_buffer_select()
    """
    scene = Scene(ring, Stock(kind=kind, buffers=tuple(Buffer(bid=bid) for bid in (8, 1, 5))), profile.traits)

    found = scene.side_by_side(replace(call, issue=issue, then=(Then.DATA,), more=20), count=2)

    assert [(reply.res, reply.bid is None) for reply in found] == [(20, False)] * 2
    assert {reply.bid for reply in found} | set(scene.left()) == {8, 1, 5}
    assert len({reply.bid for reply in found}) == 2


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("op", [Op.RECV, Op.RECVMSG], ids=["recv", "recvmsg"])
def test_1_receives_that_wait_for_the_rest_do_not_share_a_buffer(
    ring: Subject, profile: Profile, op: Op, kind: Kind
) -> None:
    """Two receives with MSG_WAITALL got 8 of 64 bytes and wait; the rest comes: two bids, all bytes in place.

    A buffer with bytes in it is gone, or the next request would get it: io_kbuf_recycle() with
    REQ_F_PARTIAL_IO, later io_net_kbuf_recyle(). Fixed by "net: commit partial buffers on retry" (CVE-2025-38730; 6.12.44).
    """
    scene = Scene(ring, Stock(kind=kind, buffers=tuple(Buffer(bid=bid) for bid in (8, 1, 5))), profile.traits)
    call = Transfer(op=op, length=64, ready=8, then=(Then.DATA,), more=56, op_flags=socket.MSG_WAITALL)

    found = scene.side_by_side(call, count=2)

    assert sorted((reply.res, reply.bid or 0) for reply in found) == [(64, 1), (64, 8)]
    assert scene.written() == (((8, incoming(0, 64)), (1, incoming(0, 64))), ())
    assert scene.left() == (5,)


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_1_short_reads_of_files_do_not_share_a_buffer(ring: Subject, profile: Profile, kind: Kind) -> None:
    """Two READs of 4-byte files, submitted together, into buffers of 64: two bids.

    A read that gets less than it asked for goes on elsewhere with its buffer: it must be committed by then.
    __io_read(): need_complete_io(), REQ_F_PARTIAL_IO.
    Fixed by immediate commit of buffers for reads of files that cannot be polled (5.19-rc3).
    """
    scene = Scene(ring, Stock(kind=kind, buffers=tuple(Buffer(bid=bid) for bid in (8, 1, 5))), profile.traits)

    found = scene.side_by_side(Transfer(op=Op.READ, source=Source.FILE, length=64, ready=4), count=2)

    assert sorted(reply.bid or 0 for reply in found) == [1, 8]
    assert scene.left() == (5,)


def test_1_a_group_goes_while_io_wq_has_its_buffers(ring: Subject, make_group: Callable[..., Group]) -> None:
    """Reads wait in io-wq with buffers of a group; it goes, another comes under the id: nobody moves its head.

    A request keeps the buffer's address, no reference to the list: req->buf_list is cleared at selection.
    Fixed by commits on multishots with selected buffers, io_req_prep_async and rw's commit on async (CVE-2025-40364;
    6.12.14, 6.1.129).
    """
    old = make_group(bgid=700)
    old.publish(1, 2)
    pipes = [Pipe(ring.arena) for _ in range(2)]
    for pipe in pipes:
        old.queue_read(pipe.reader, length=8, flags=c.IOSQE_ASYNC)
    assert ring.ring.submit() == 2
    assert settled(lambda: ring.ring.armed(c.IORING_OP_READ), 2) == 2

    assert old.unregister() == 0
    new = make_group(bgid=700)
    new.publish(7, 9)
    for pipe in pipes:
        pipe.feed(b"whatever")
    found = ring.ring.complete(2)

    assert sorted(bids(found), key=str) == [1, 2]
    assert bids(new.drain(2)) == [7, 9]


@pytest.mark.parametrize("issue", Issue, ids=lambda issue: issue.value)
def test_2_a_buffer_is_reported_once_and_gone_or_back(ring: Subject, profile: Profile, issue: Issue) -> None:
    """Legacy buffers through success, end, failure, cancel, skipping: each is reported or back, never both.

    __io_put_kbuf(), io_kbuf_recycle_legacy() clear the request's pointer and flag alike. REMOVE counts the rest.
    """
    calls = (
        Transfer(op=Op.READ, ready=40),
        Transfer(op=Op.RECV, eof=True),
        Transfer(op=Op.READ, source=Source.WRITE_END),
        Transfer(op=Op.READ, then=(Then.CANCEL,)),
        Transfer(op=Op.RECVMSG, then=(Then.CANCEL,)),
        Transfer(op=Op.READ, ready=64, skip_success=True),
        Transfer(op=Op.READ, then=(Then.DATA,), more=5),
        Transfer(op=Op.READ, source=Source.ZERO),
    )
    stock = Stock(kind=Kind.LEGACY, buffers=tuple(Buffer(bid=bid) for bid in range(20, 30)))
    scene = Scene(ring, stock, profile.traits)

    for call in (replace(one, issue=issue) for one in calls):
        want = expect(call, stock, profile.traits)
        assert scene.transfer(call)[0] == want.replies
        stock = replace(stock, buffers=tuple(one for one in stock.buffers if one.bid in want.left))

    assert remove_legacy(ring.ring, bgid=7, count=100) == len(stock.buffers)


@pytest.mark.parametrize("seed", range(2))
def test_3_wakeups_while_the_lock_is_taken(
    make_ring: Callable[..., Subject], noise: Callable[[Subject], None], seed: int
) -> None:
    """The same crowd while another thread takes uring_lock all the time: nothing twice, nothing lost, no hang.

    Then task work finds the lock taken: 6.1's tctx_task_work() goes on without it, later ones wait for it.
    """
    dice = random.Random(100 + seed)
    subject = make_ring(entries=64)
    crowd = Crowd(subject, size=16)
    noise(subject)

    for _ in range(6):
        crowd.round(dice)


@pytest.mark.parametrize("bid", WIDE.values(), ids=WIDE)
@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_4_a_bid_has_16_bits(
    make_scene: Callable[[Stock | None], Scene], profile: Profile, bid: int, kind: Kind
) -> None:
    """Each end of the range comes back as it is, and no bit of it in the lower half of the flags.

    __io_put_kbufs(): IORING_CQE_BUFFER_SHIFT
    """
    stock = Stock(kind=kind, buffers=(Buffer(bid=bid),))
    call = Transfer(op=Op.READ, length=64, ready=9)

    assert make_scene(stock).run(call) == expect(call, stock, profile.traits)


def test_4_a_wider_bid_is_cut(profile: Profile, group: Group) -> None:
    """The RFC's entries have 32 bits for it: the completion has the lower 16, and clean flags.

    io_ring_buffer_select(): req->buf_index is a u16
    """
    if "rfc_layout" not in profile.traits:
        pytest.skip("an entry of this ABI has 16 bits for a bid")
    group.memory.publish(group.address_of(1), 8, 0x50041)

    cqe = group.read(length=8)

    assert (cqe.res, cqe.flags) == (8, 0x41 << 16 | c.IORING_CQE_F_BUFFER)


def test_4_no_bid_beyond_16_bits_is_provided(ring: Subject) -> None:
    """PROVIDE of bid 65535 works, of two from 65535 on is -EINVAL, of 65536 -E2BIG. io_provide_buffers_prep()

    Fixed by "kbuf: Fix check of BID wrapping in provided buffers" (6.5.12).
    """
    addr = ring.arena.anon(libc.PAGE_SIZE)

    assert legacy(ring.ring, bgid=7, addr=addr, count=1, bid=65535) == 0
    assert legacy(ring.ring, bgid=7, addr=addr, count=2, bid=65535) == -errno.EINVAL
    assert legacy(ring.ring, bgid=7, addr=addr, count=1, bid=65536) == -errno.E2BIG


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_5_groups_at_the_ends_of_16_bits(ring: Subject, make_group: Callable[..., Group], kind: Kind) -> None:
    """Groups 0, 63, 64, 0x7fff, 0x8000 and 65535 at once: a read of each gets its own buffer.

    io_buffer_get_list(); ids below 64 had an array until 09ab7eff3820
    """
    ids = (0, 63, 64, 0x7FFF, 0x8000, 0xFFFF)
    addr = ring.arena.anon(libc.PAGE_SIZE)
    for bid, bgid in enumerate(ids):
        if kind is Kind.RING:
            make_group(bgid=bgid).publish(bid)
        else:
            assert legacy(ring.ring, bgid=bgid, addr=addr, count=1, bid=bid) == 0

    found = {}
    with open("/dev/zero", "rb") as zero:  # noqa: PTH123
        for bgid in reversed(ids):
            selecting(ring.ring, c.IORING_OP_READ, zero.fileno(), bgid=bgid, length=1)
            found[bgid] = ring.ring.complete()[0].bid

    assert found == {bgid: bid for bid, bgid in enumerate(ids)}


def test_5_an_id_beyond_16_bits_is_no_other_group(ring: Subject, profile: Profile) -> None:
    """Registering with the upper half of the RFC's 32-bit id set (now flags): refused, or a group of its own.

    Either way a request for the lower half finds nothing. io_register_pbuf_ring()
    """
    page = ring.arena.anon(libc.PAGE_SIZE)
    reg = io_uring_buf_reg(ring_addr=page, ring_entries=1, bgid=7, flags=1 << 15)

    res = ring.ring.register(c.IORING_REGISTER_PBUF_RING, reg, 1)
    with open("/dev/zero", "rb") as zero:  # noqa: PTH123
        selecting(ring.ring, c.IORING_OP_READ, zero.fileno(), bgid=7, length=1)

        assert res == (0 if "bgid_32_bits" in profile.traits else -errno.EINVAL)
        assert ring.ring.complete()[0].res == -errno.ENOBUFS
