"""How requests, rings and groups end: with their process, their thread, their last descriptor or mapping."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

import pytest

from ringrig.model.course import expect
from ringrig.model.params import receives
from ringrig.model.profiles import Profile
from ringrig.model.scene import Scene
from ringrig.model.shelf import Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Buffer, Issue, Kind, Op, Reply, Result, Stock, Then, Transfer
from ringrig.model.waiting import receive, waits
from ringrig.uring import bufring
from ringrig.uring import consts as c
from ringrig.uring.counters import PinWatch
from ringrig.uring.group import Group, bids
from ringrig.uring.neighbour import Neighbour
from ringrig.uring.requests import selecting
from ringrig.uring.ring import Ring
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(5)

InAThread = Callable[[Callable[[], object]], None]

BUFFERS = tuple(Buffer(bid=bid) for bid in (41, 7, 0xFFFF, 3))
STOCKS = {kind.value: Stock(kind=kind, buffers=BUFFERS) for kind in Kind}
_NEEDS = {
    Op.READ_MULTISHOT: [pytest.mark.needs("read_multishot")],
    Op.RECV_MULTISHOT: [pytest.mark.needs("recv_multishot")],
}
WAITING = [
    pytest.param(
        Transfer(op=op, issue=issue, then=(Then.CANCEL,)),
        id=f"{op.value}_{issue.value}",
        marks=_NEEDS.get(op, []),
    )
    for op, issue in (
        (Op.READ, Issue.LOCKED),
        (Op.READ, Issue.IO_WQ),
        (Op.READV, Issue.LOCKED),
        (Op.RECV, Issue.LOCKED),
        (Op.RECVMSG, Issue.LOCKED),
        (Op.READ_MULTISHOT, Issue.LOCKED),
        (Op.RECV_MULTISHOT, Issue.LOCKED),
    )
]
each_waiting = pytest.mark.parametrize("call", WAITING)
each_stock = pytest.mark.parametrize("stock", STOCKS.values(), ids=STOCKS)


def _after(scene: Scene, ring: Ring) -> Result:
    """What the request that waited has come to, by `ring`."""
    scene.ring = ring
    replies = tuple(Reply.of(cqe.res, cqe.flags & ~c.IORING_CQE_F_SOCK_NONEMPTY) for cqe in ring.complete())
    return Result(replies=replies, head=scene.head(), left=scene.left())


@each_stock
@each_waiting
@pytest.mark.parametrize("how", ["kill", "end"])
def test_a_process_that_dies_waits_no_more(
    make_scene: Callable[[Stock | None], Scene], profile: Profile, how: str, call: Transfer, stock: Stock
) -> None:
    """A child's request waits for data; the child dies, and with it the other end of its file: the request is
    cancelled, as by ASYNC_CANCEL, and who still has the ring sees it. The group goes on. io_req_task_work_add()
    """
    scene = make_scene(stock)
    kept = []
    with Neighbour(lambda: kept.append(scene.begin(call))) as child:
        child.work()
        getattr(child, how)()
    with Ring.adopt(os.dup(scene.ring.fd), scene.ring.params) as ring:
        got = _after(scene, ring)

    assert got == expect(call, stock, profile.traits)


@each_stock
@each_waiting
def test_a_thread_that_ended_gets_nothing(
    make_scene: Callable[[Stock | None], Scene],
    profile: Profile,
    in_a_thread: InAThread,
    call: Transfer,
    stock: Stock,
) -> None:
    """A thread's request waits for data, the thread ends, data comes: the request is cancelled, as by ASYNC_CANCEL,
    and the ring is the others'.

    A thread's end leaves what waits for poll alone (io_match_task() without cancel_all); its task work then finds no
    task and runs as one that must terminate. io_req_normal_work_add(), io_poll_check_events()
    """
    scene = make_scene(stock)
    kept = []
    in_a_thread(lambda: kept.append(scene.begin(call)))
    assert scene.ring.cqes() == []

    replies = scene.end(kept[0], 8)

    got = Result(replies=replies, head=scene.head(), left=scene.left())
    assert got == expect(call, stock, profile.traits)
    kept[0].close()


@each_stock
def test_exec_cancels_what_waits(
    make_scene: Callable[[Stock | None], Scene], profile: Profile, stock: Stock
) -> None:
    """A child's read waits for data, and the child executes a program: the read is cancelled, and who has the ring
    sees it. begin_new_exec(): io_uring_task_cancel()
    """
    call = Transfer(op=Op.READ, then=(Then.CANCEL,))
    scene = make_scene(stock)
    kept = []
    with Neighbour(lambda: kept.append(scene.begin(call))) as child:
        child.work()
        child.become("/bin/cat")
        with Ring.adopt(os.dup(scene.ring.fd), scene.ring.params) as ring:
            got = _after(scene, ring)

    assert got == expect(call, stock, profile.traits)


@pytest.mark.needs("single_issuer", "pin_counters")
def test_a_single_issuers_ring_without_its_thread(
    make_ring: Callable[..., Subject], pins: PinWatch, in_a_thread: InAThread
) -> None:
    """The thread that a ring was bound to has ended: to all others every call is -EEXIST, and closing frees all.

    ctx->submitter_task is held for the ring's life.
    """

    def make_and_leave() -> None:
        made: list[Subject] = []

        def make() -> None:
            made.append(make_ring(flags=c.IORING_SETUP_SINGLE_ISSUER))
            assert Group(made[0].ring, made[0].arena).register() == 0

        in_a_thread(make)
        ring = made[0].ring
        assert bufring.register(ring, addr=made[0].arena.anon(1), bgid=8) == -errno.EEXIST
        assert bufring.unregister(ring, 7) == -errno.EEXIST
        ring.close()

    assert pins.after(make_and_leave, wanted=0) == 0


CLOSED = {
    "read": (c.IORING_OP_READ, 0, 0),
    "read_by_io_wq": (c.IORING_OP_READ, 0, c.IOSQE_ASYNC),
    "recv": (c.IORING_OP_RECV, 0, 0),
    "recv_by_io_wq": (c.IORING_OP_RECV, 0, c.IOSQE_ASYNC),
    "recv_multishot": (c.IORING_OP_RECV, c.IORING_RECV_MULTISHOT, 0),
}


@pytest.mark.needs("pin_counters")
@pytest.mark.parametrize("opcode, ioprio, flags", CLOSED.values(), ids=CLOSED)
def test_closing_ends_what_waits(
    make_ring: Callable[..., Subject], pins: PinWatch, opcode: int, ioprio: int, flags: int
) -> None:
    """Close a ring whose request waits for data, with a buffer at hand or in io-wq's: it ends, and the ring's page
    comes back. What is sent afterwards stays in the socket, and no buffer gets any of it. io_ring_exit_work()
    """
    ended: list[tuple[Group, Wire]] = []

    def wait_and_close() -> None:
        subject = make_ring()
        group, wire = Group(subject.ring, subject.arena), Wire(subject.arena)
        assert group.register() == 0
        group.publish(5, 3)
        sqe = selecting(subject.ring, opcode, wire.near, bgid=7)
        sqe.ioprio = ioprio
        sqe.flags |= flags
        assert subject.ring.submit() == 1
        ended.append((group, wire))
        subject.ring.close()

    assert pins.after(wait_and_close, wanted=0) == 0
    for group, wire in ended:
        wire.feed(b"later")
        assert (wire.unread(), group.content(0, 8 * 64)) == (5, bytes(8 * 64))
        wire.close()


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("flags", [0, c.IOSQE_ASYNC], ids=["locked", "io_wq"])
@pytest.mark.parametrize("op", receives())
def test_closing_lets_go_of_the_file(
    make_ring: Callable[..., Subject], make_wire: Callable[..., Wire], op: Op, flags: int, kind: Kind
) -> None:
    """Whoever armed it, the submitter or a worker: a receive waits for a socket that nobody else has; the ring is closed.

    The peer sees the end: the request let go of the socket. io_poll_remove_all()
    """
    subject = make_ring()
    shelf = Shelf(subject, {5: 64, 3: 64}, kind=kind)
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        receive(shelf, op, make_wire(), flags=flags).fd = near.fileno()
        assert subject.ring.submit() == 1
        assert waits(subject.ring, op)
        near.close()
        subject.ring.close()

        far.settimeout(2)
        assert far.recv(1) == b""
    assert shelf.written() == {}


@pytest.mark.parametrize("then", ["goes_on", "executes"])
def test_what_a_refused_request_kept_from_being_submitted(ring: Subject, then: str) -> None:
    """A child submits five, of which the first is refused (PROVIDE_BUFFERS of none): io_uring_enter() stops behind it.

    The four others are still to be submitted, and have their buffers then; or the child executes a program, for which it need
    not wait for what never began. io_submit_sqes(): cached_refs
    """
    group = Group(ring.ring, ring.arena)
    assert group.register() == 0
    ring.owns(group.bgid)
    group.publish(5, 3, 1, 2)

    def submit() -> tuple[int, list[int | None]]:
        with Ring.adopt(os.dup(ring.ring.fd), ring.ring.params) as group.ring:
            sqe = group.ring.sqe()
            sqe.opcode, sqe.buf_group = c.IORING_OP_PROVIDE_BUFFERS, 9
            for _ in range(4):
                group.queue_read(length=1)
            first = group.ring.submit()
            left = group.ring.show()
            if then == "executes":
                return left, [cqe.res for cqe in group.ring.cqes()]
            refused, *read = group.ring.complete(5) if first == 1 else group.ring.cqes()
            return left, [refused.res, *bids(read)]

    with Neighbour(submit) as child:
        left, seen = child.work()
        if then == "executes":
            child.become("/bin/cat")

    assert left == 4
    assert seen == ([-errno.E2BIG] if then == "executes" else [-errno.E2BIG, 5, 3, 1, 2])


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(0, id="user_memory"),
        pytest.param(c.IOU_PBUF_RING_MMAP, id="kernel_memory", marks=pytest.mark.needs("mmap")),
    ],
)
def test_a_disabled_ring_takes_groups(make_ring: Callable[..., Subject], flags: int) -> None:
    """IORING_SETUP_R_DISABLED: groups are registered at once, requests are -EBADFD until the ring is enabled, and
    then they select from the group that was there.
    io_uring_enter() asks for IORING_SETUP_R_DISABLED, io_register_pbuf_ring() does not
    """
    subject = make_ring(flags=c.IORING_SETUP_R_DISABLED)
    group = Group(subject.ring, subject.arena, flags=flags)
    assert group.register() == 0
    subject.owns(7)
    group.publish(5, 3)
    group.queue_read(length=1)
    assert subject.ring.submit() == -errno.EBADFD

    assert subject.ring.enable() == 0

    assert bids([*subject.ring.complete(), group.read(length=1), group.read(length=1)]) == [5, 3, None]


@pytest.mark.needs("pin_counters")
def test_a_ring_that_was_never_enabled_ends(make_ring: Callable[..., Subject], pins: PinWatch) -> None:
    """Closed while it is disabled: its group's page comes back. io_uring_release(), io_destroy_buffers()"""

    def make_and_close() -> None:
        subject = make_ring(flags=c.IORING_SETUP_R_DISABLED)
        assert Group(subject.ring, subject.arena).register() == 0
        subject.ring.close()

    assert pins.after(make_and_close, wanted=0) == 0
