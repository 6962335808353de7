"""Receives of datagrams: one that is empty, whom it came from, and what of their iovec counts."""

from __future__ import annotations

import ctypes
import errno
import socket
from collections.abc import Iterator

import pytest

from ringrig.model.course import expect
from ringrig.model.params import ops
from ringrig.model.profiles import Profile
from ringrig.model.scene import OPCODES
from ringrig.model.shelf import BGID, REQUEST, Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import (
    RECVMSG_HEADER,
    Buffer,
    Issue,
    Kind,
    Op,
    Reply,
    Result,
    Stock,
    Then,
    Transfer,
    incoming,
)
from ringrig.model.waiting import without_nonempty
from ringrig.uring import consts as c
from ringrig.uring.requests import Vector, selecting

pytestmark = pytest.mark.ends_within(3)

BIDS = (5, 300, 2, 9)
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
each_time = pytest.mark.parametrize("waits", [False, True], ids=["there", "waits"])


class Post:
    """Two datagram sockets of AF_UNIX, each with a name of its own, connected or not."""

    def __init__(self) -> None:
        self.near, self.far = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
        for end in (self.near, self.far):
            end.bind("")
        self.near.setblocking(False)
        self.name = self.far.getsockname()

    def send(self, data: bytes) -> None:
        self.far.sendto(data, self.near.getsockname())


@pytest.fixture
def post() -> Iterator[Post]:
    made = Post()
    with made.near, made.far:
        yield made


@each_kind
@each_time
@pytest.mark.parametrize("issue", Issue, ids=lambda issue: issue.value)
@pytest.mark.parametrize("op", ops([Op.RECV, Op.RECVMSG, Op.RECV_MULTISHOT, Op.RECVMSG_MULTISHOT]))
def test_an_empty_one(  # noqa: PLR0917
    ring: Subject, post: Post, profile: Profile, op: Op, issue: Issue, waits: bool, kind: Kind
) -> None:
    """0 bytes: as at a stream's end 0, and no buffer goes but to a worker; a multishot RECVMSG has its header. All end with it.

    The next datagram has the next buffer. io_recv(): mshot_finished; io_recvmsg_multishot(): finished
    """
    shelf = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind)
    call = Transfer(op=op, issue=issue, eof=not waits, then=(Then.EOF,) if waits else ())
    header = RECVMSG_HEADER.size if op is Op.RECVMSG_MULTISHOT else 0
    if header:
        want = Result(replies=(Reply(res=header, bid=BIDS[0]),), head=1, left=BIDS[1:])
    else:
        stock = Stock(kind=kind, buffers=tuple(Buffer(bid=bid) for bid in BIDS))
        want = expect(call, stock, profile.traits)

    def queue(flags: int = 0) -> None:
        length, ioprio = 64 * (not op.multishot), c.IORING_RECV_MULTISHOT * op.multishot
        shelf.queue(OPCODES[op], post.near.fileno(), length=length, ioprio=ioprio, flags=flags)
        assert ring.ring.submit() == 1

    if not waits:
        post.send(b"")
    queue(c.IOSQE_ASYNC * (issue is Issue.IO_WQ))
    if waits:
        assert ring.ring.cqes() == []
        post.send(b"")
    assert without_nonempty(shelf.some(1)) == list(want.replies)
    queue()
    post.send(incoming(0, 20))
    found = shelf.some(1)
    if op.multishot:
        assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]

    used = want.left[0]
    assert found == [Reply(res=header + 20, bid=used, more=op.multishot)]
    assert shelf.written()[used][header:] == incoming(0, 20)
    assert [bid for bid, _ in shelf.left()] == list(want.left[1:])


@each_kind
@each_time
@pytest.mark.parametrize("room", [0, 4, 16, 110], ids=["none", "cut", "more", "largest"])
def test_whom_it_came_from(ring: Subject, post: Post, room: int, waits: bool, kind: Kind) -> None:
    """RECVMSG with so much room at msg_name: the sender's address as far as it goes, its full length in msg_namelen.

    io_recvmsg(): kmsg->uaddr; move_addr_to_user()
    """
    shelf, vector = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind), Vector(64)
    memory = (ctypes.c_ubyte * 128)(*([0xA5] * 128))
    vector.header.msg_name = ctypes.addressof(memory) if room else 0
    vector.header.msg_namelen = room
    if not waits:
        post.send(incoming(0, 20))
    selecting(
        ring.ring, c.IORING_OP_RECVMSG, post.near.fileno(), bgid=BGID, vector=vector
    ).user_data = REQUEST
    assert ring.ring.submit() == 1
    if waits:
        post.send(incoming(0, 20))

    assert shelf.some(1) == [Reply(res=20, bid=BIDS[0])]
    address = socket.AF_UNIX.to_bytes(2, "little") + post.name
    told = address[:room]
    assert bytes(memory) == told + b"\xa5" * (len(memory) - len(told))
    assert vector.header.msg_namelen == (len(address) if room else 0)
    assert shelf.written() == {BIDS[0]: incoming(0, 20)}
    assert [bid for bid, _ in shelf.left()] == list(BIDS[1:])


@each_kind
@each_time
@pytest.mark.parametrize("opcode", [c.IORING_OP_READV, c.IORING_OP_RECVMSG], ids=["readv", "recvmsg"])
@pytest.mark.parametrize(
    "base", [1, 1 << 47, (1 << 64) - 64, (1 << 64) - 1], ids=["one", "beyond_users", "kernel", "all_ones"]
)
def test_the_iovecs_base_is_nobodys(  # noqa: PLR0917
    ring: Subject, post: Post, opcode: int, base: int, waits: bool, kind: Kind
) -> None:
    """iov_base is not looked at where a buffer is selected: an address that nobody has does no harm.

    io_iov_buffer_select_prep(), io_msg_copy_hdr()
    """
    shelf, vector = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind), Vector(24)
    vector.iovecs[0].iov_base = base
    if not waits:
        post.send(incoming(0, 40))
    selecting(ring.ring, opcode, post.near.fileno(), bgid=BGID, vector=vector).user_data = REQUEST
    assert ring.ring.submit() == 1
    if waits:
        post.send(incoming(0, 40))

    assert shelf.some(1) == [Reply(res=24, bid=BIDS[0])]
    assert shelf.written() == {BIDS[0]: incoming(0, 24)}
    assert [bid for bid, _ in shelf.left()] == list(BIDS[1:])
