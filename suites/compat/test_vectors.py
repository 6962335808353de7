"""READV and RECVMSG of a 32-bit program: iovec and msghdr have 32-bit fields, and lengths there have a sign."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from ringrig.model.course import expect
from ringrig.model.profiles import Profile
from ringrig.model.scene import Afterwards, Scene
from ringrig.model.subject import Subject
from ringrig.model.transfer import RECVMSG_HEADER, Buffer, Issue, Kind, Op, Reply, Stock, Transfer
from ringrig.uring import consts as c
from ringrig.uring.compat import CompatRing, CompatVector, compat_iovec, compat_msghdr
from ringrig.uring.group import Group
from ringrig.uring.memory import Arena
from ringrig.uring.requests import Vector, selecting
from ringrig.uring.ring import Cqe, Ring
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("compat32"), pytest.mark.ends_within(3)]

BUFFERS = tuple(Buffer(bid=bid) for bid in (41, 7, 0xFFFF, 3))
LENGTHS = {"zero": 0, "one": 1, "shorter": 24, "equal": 64, "longer": 65, "largest": 0x7FFFFFFF}
NEGATIVE = {"minus_one": -1, "s32_min": -(1 << 31)}
STOCKS = {kind.value: Stock(kind=kind, buffers=BUFFERS) for kind in Kind}
WAYS = {f"{op.value}_{issue.value}": (op, issue) for op in (Op.READV, Op.RECVMSG) for issue in Issue}
OPS = {"readv": c.IORING_OP_READV, "recvmsg": c.IORING_OP_RECVMSG}
each_op = pytest.mark.parametrize("opcode", OPS.values(), ids=OPS)
_DATA = bytes(range(1, 41))


@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("stock", STOCKS.values(), ids=STOCKS)
@pytest.mark.parametrize("op, issue", WAYS.values(), ids=WAYS)
def test_the_iovecs_length_counts(  # noqa: PLR0917
    make_scene: Callable[[Stock | None], Scene],
    profile: Profile,
    op: Op,
    issue: Issue,
    stock: Stock,
    length: int,
) -> None:
    """40 bytes are ready and one iovec of 8 bytes says the length: as much comes as with a 64-bit iovec.

    io_iov_compat_buffer_select_prep(), io_compat_msg_copy_hdr()
    """
    call = Transfer(op=op, issue=issue, length=length, ready=40)
    scene = make_scene(stock)

    got = scene.run(call)

    assert got == expect(call, stock, profile.traits)
    assert scene.afterwards() == Afterwards()


class Table:
    """A group with buffers 5 and 3 on a ring, and 40 bytes in a file that READV and RECVMSG can have."""

    def __init__(self, subject: Subject) -> None:
        self.ring, self.arena = subject.ring, subject.arena
        self.wire = Wire(subject.arena)
        self.wire.feed(_DATA)
        self.group = Group(self.ring, self.arena)
        assert self.group.register() == 0
        subject.owns(self.group.bgid)
        self.group.publish(5, 3)

    def say(self, opcode: int, vector: Vector) -> Cqe:
        """A request that selects, over that vector."""
        selecting(self.ring, opcode, self.wire.near, bgid=self.group.bgid, vector=vector)
        return self.ring.complete()[0]

    def is_as_before(self) -> bool:
        """Nothing was read, nothing written, and the first buffer is the next to go."""
        unread, empty = self.wire.unread() == len(_DATA), self.group.content(0, 8 * 64) == bytes(8 * 64)
        return unread and empty and self.group.next() == 5


@pytest.fixture
def table(ring: Subject) -> Iterator[Table]:
    made = Table(ring)
    yield made
    made.wire.close()


@pytest.mark.parametrize("length", NEGATIVE.values(), ids=NEGATIVE)
@each_op
def test_a_negative_length(table: Table, profile: Profile, opcode: int, length: int) -> None:
    """iov_len is a compat_ssize_t: with its sign bit set -EINVAL, and no buffer goes. From 6.15 on it was taken for a
    length beyond all buffers, until iovec_from_user() read it.

    io_iov_compat_buffer_select_prep(), io_compat_msg_copy_hdr()
    """
    cqe = table.say(opcode, CompatVector(table.arena, length))

    if "compat_length_unsigned" in profile.traits:
        assert (cqe.res, cqe.bid) == (len(_DATA), 5)
        assert table.group.content(5, 41) == _DATA + b"\0"
    else:
        assert (cqe.res, cqe.flags) == (-errno.EINVAL, 0)
        assert table.is_as_before()


COUNTS = {"none": 0, "two": 2, "three": 3}


@pytest.mark.parametrize("count", COUNTS.values(), ids=COUNTS)
@each_op
def test_the_number_of_iovecs(table: Table, opcode: int, count: int) -> None:
    """One iovec is what selecting wants: of two -EINVAL; of none READV -EINVAL, and RECVMSG takes the whole buffer.

    io_iov_buffer_select_prep(), io_compat_msg_copy_hdr()
    """
    cqe = table.say(opcode, CompatVector(table.arena, 8, count=count))

    if count == 0 and opcode == c.IORING_OP_RECVMSG:
        assert Reply.of(cqe.res, cqe.flags & ~c.IORING_CQE_F_SOCK_NONEMPTY) == Reply(res=40, bid=5)
        assert table.group.content(5, 40) == _DATA
    else:
        assert (cqe.res, cqe.flags) == (-errno.EINVAL, 0)
        assert table.is_as_before()


@each_op
def test_the_base_is_nobodys(table: Table, opcode: int) -> None:
    """iov_base is not looked at where a buffer is selected: an address that nothing is at does no harm.

    io_iov_compat_buffer_select_prep(), io_compat_msg_copy_hdr(): iov_len alone
    """
    vector = CompatVector(table.arena, 24)
    vector.iovecs[0].iov_base = 0xFFFFF000

    cqe = table.say(opcode, vector)

    assert (cqe.res, cqe.bid) == (24, 5)
    assert table.group.content(5, 25) == _DATA[:24] + b"\0"


def _moved(table: Table, readable: int) -> CompatVector:
    """A vector whose iovec, of 24 bytes, lies so that its page ends after `readable` of the iovec's own."""
    at = table.arena.guarded(readable)
    ctypes.memmove(at, bytes(compat_iovec(iov_len=24)), readable)
    vector = CompatVector(table.arena, 0)
    vector.iovecs = (compat_iovec * 1).from_address(at)
    vector.header.msg_iov = at
    return vector


@each_op
def test_an_iovec_at_the_end_of_its_page(table: Table, opcode: int) -> None:
    """Eight bytes are read of an iovec and not one more: it may end with its page.

    io_iov_compat_buffer_select_prep(), io_compat_msg_copy_hdr(): struct compat_iovec
    """
    cqe = table.say(opcode, _moved(table, 8))

    assert (cqe.res, cqe.bid) == (24, 5)
    assert table.group.content(5, 25) == _DATA[:24] + b"\0"


@each_op
@pytest.mark.parametrize("readable", [0, 4], ids=["nothing", "all_but_the_length"])
def test_an_iovec_that_cannot_be_read(table: Table, opcode: int, readable: int) -> None:
    """An iovec whose length cannot be read: -EFAULT, and no buffer goes.

    io_iov_compat_buffer_select_prep(), io_compat_msg_copy_hdr()
    """
    cqe = table.say(opcode, _moved(table, readable))

    assert (cqe.res, cqe.flags) == (-errno.EFAULT, 0)
    assert table.is_as_before()


@pytest.mark.parametrize("readable", [28, 27, 0], ids=["whole", "a_byte_short", "unreadable"])
def test_a_msghdr_at_the_end_of_its_page(table: Table, readable: int) -> None:
    """A msghdr has 28 bytes: it may end with its page; a byte beyond it, -EFAULT. io_compat_msg_copy_hdr()"""
    vector = CompatVector(table.arena, 24)
    at = table.arena.guarded(readable)
    ctypes.memmove(at, bytes(vector.header), readable)
    vector.header = compat_msghdr.from_address(at)

    cqe = table.say(c.IORING_OP_RECVMSG, vector)

    if readable == 28:
        assert (cqe.res, cqe.bid) == (24, 5)
    else:
        assert (cqe.res, cqe.flags) == (-errno.EFAULT, 0)
        assert table.is_as_before()


@each_op
@pytest.mark.parametrize("ring_of", ["32_bits", "64_bits"])
def test_the_set_up_decides(opcode: int, ring_of: str) -> None:
    """A ring set up by a call of one kind and entered by the other: iovecs are as the set-up was. ctx->compat"""
    made, entered = (CompatRing, Ring) if ring_of == "32_bits" else (Ring, CompatRing)
    arena, owner = Arena(low=True), made()
    ring = entered.adopt(os.dup(owner.fd), owner.params)
    table = Table(Subject(ring, arena))
    vector = CompatVector(arena, 24) if made is CompatRing else Vector(24)

    cqe = table.say(opcode, vector)

    assert (cqe.res, cqe.bid) == (24, 5)
    assert table.group.content(5, 25) == _DATA[:24] + b"\0"
    assert table.group.unregister() == 0
    table.wire.close()
    for one in (ring, owner, arena):
        one.close()


_CMSG = struct.Struct("<IiiIII")
"""struct compat_cmsghdr (length, level, type), and the struct ucred of SCM_CREDENTIALS."""
ROOM = {"exact": 24, "more": 40, "part": 20, "none": 0}


@pytest.mark.needs("recv_multishot")
@pytest.mark.parametrize("msg_flags", [0, socket.MSG_TRUNC], ids=["plain", "msg_trunc"])
@pytest.mark.parametrize("control", ROOM.values(), ids=ROOM)
def test_a_message_with_control_data(ring: Subject, control: int, msg_flags: int) -> None:
    """Multishot RECVMSG: control data have a 32-bit program's cmsghdr, and the header's flags tell nothing of it.

    MSG_CMSG_COMPAT is the kernel's own flag: put_cmsg_compat() goes by it, io_recvmsg_multishot() takes it off.
    """
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
    near, far = socket.socketpair(socket.AF_UNIX, kind)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    group = Group(ring.ring, ring.arena, size=96)
    assert group.register() == 0
    ring.owns(group.bgid)
    group.publish(5)
    vector = CompatVector(ring.arena, 0, count=0)
    vector.header.msg_controllen = control
    sqe = selecting(ring.ring, c.IORING_OP_RECVMSG, near.fileno(), bgid=group.bgid, vector=vector)
    sqe.ioprio, sqe.msg_flags = c.IORING_RECV_MULTISHOT, msg_flags
    room = 96 - RECVMSG_HEADER.size - control
    far.send(bytes(range(1, room + 2)))  # a byte too long

    cqe = ring.ring.complete()[0]

    credentials = _CMSG.pack(
        24, socket.SOL_SOCKET, socket.SCM_CREDENTIALS, os.getpid(), os.geteuid(), os.getegid()
    )
    used = min(control, _CMSG.size)
    told = socket.MSG_TRUNC | socket.MSG_CTRUNC * (control < _CMSG.size)
    header = RECVMSG_HEADER.pack(0, used, room + bool(msg_flags), told)
    said = (used.to_bytes(4, "little") + credentials[4:])[:used]
    assert (cqe.res, cqe.bid) == (96, 5)
    assert group.content(5, 96) == header + said.ljust(control, b"\0") + bytes(range(1, room + 1))
    near.close()
    far.close()
