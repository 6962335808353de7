"""Requests that may not select a buffer, or not so."""

from __future__ import annotations

import ctypes
import errno
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from ringrig.model.profiles import Profile
from ringrig.model.subject import Subject
from ringrig.uring import consts as c
from ringrig.uring.floods import request
from ringrig.uring.group import Group
from ringrig.uring.probe import probe
from ringrig.uring.requests import Vector, selecting

# enum io_uring_op up to 7.3's last, without those that select on some kernel: READV, RECVMSG, READ, SEND, RECV,
# READ_MULTISHOT; NOP, which does with patches/nop-buffer-select; URING_CMD, and that of 128 bytes, which do for ublk.
REFUSING = {
    "writev": 2, "fsync": 3, "read_fixed": 4, "write_fixed": 5, "poll_add": 6, "poll_remove": 7,
    "sync_file_range": 8, "sendmsg": 9, "timeout": 11, "timeout_remove": 12, "accept": 13,
    "async_cancel": 14, "link_timeout": 15, "connect": 16, "fallocate": 17, "openat": 18, "close": 19,
    "files_update": 20, "statx": 21, "write": 23, "fadvise": 24, "madvise": 25, "openat2": 28,
    "epoll_ctl": 29, "splice": 30, "provide_buffers": 31, "remove_buffers": 32, "tee": 33, "shutdown": 34,
    "renameat": 35, "unlinkat": 36, "mkdirat": 37, "symlinkat": 38, "linkat": 39, "msg_ring": 40,
    "fsetxattr": 41, "setxattr": 42, "fgetxattr": 43, "getxattr": 44, "socket": 45, "send_zc": 47,
    "sendmsg_zc": 48, "waitid": 50, "futex_wait": 51, "futex_wake": 52, "futex_waitv": 53,
    "fixed_fd_install": 54, "ftruncate": 55, "bind": 56, "listen": 57, "recv_zc": 58, "epoll_wait": 59,
    "readv_fixed": 60, "writev_fixed": 61, "pipe": 62,
}  # fmt: skip


@pytest.mark.parametrize("opcode", REFUSING.values(), ids=REFUSING)
def test_an_operation_that_takes_no_buffer_says_so(ring: Subject, group: Group, opcode: int) -> None:
    """IOSQE_BUFFER_SELECT with an operation that cannot: -EOPNOTSUPP, no flags, and the buffer stays.

    Of one that came after this kernel, by IORING_REGISTER_PROBE: -EINVAL. io_init_req(): io_issue_defs[].buffer_select
    """
    group.publish(4)
    selecting(ring.ring, opcode, -1, bgid=group.bgid)

    cqe = ring.ring.complete()[0]

    error = errno.EINVAL if opcode > max(probe()["ops"]) else errno.EOPNOTSUPP
    assert (cqe.res, cqe.flags) == (-error, 0)
    assert group.next() == 4


def test_a_send_says_whether_it_takes_one(ring: Subject, group: Group, profile: Profile) -> None:
    """IOSQE_BUFFER_SELECT with SEND, of no file: -EBADF, and before it could select -EOPNOTSUPP; the buffer stays.

    io_init_req(): the operation is asked first
    """
    group.publish(4)
    selecting(ring.ring, c.IORING_OP_SEND, -1, bgid=group.bgid, length=4)

    cqe = ring.ring.complete()[0]

    error = errno.EBADF if "send_select" in profile.traits else errno.EOPNOTSUPP
    assert (cqe.res, cqe.flags) == (-error, 0)
    assert group.next() == 4


@pytest.mark.parametrize("name", ["sendmsg", "send_zc", "sendmsg_zc", "recv", "recvmsg"])
def test_a_refusal_is_not_what_the_request_before_left(ring: Subject, group: Group, name: str) -> None:
    """Refused before its operation has a look, for its selection or an unknown personality, in memory in which PROVIDE_BUFFERS
    has kept a group's number: the errno, and not a number of bytes.

    io_init_fail_req(), io_sendrecv_fail()
    """
    group.publish(4)
    at_hand = ring.ring.params.sq_entries  # IO_REQ_ALLOC_BATCH
    provide = request(c.IORING_OP_PROVIDE_BUFFERS, 1, addr=ring.arena.anon(64), len=64, buf_group=9)
    ring.ring.fill(provide.sqe, at_hand)
    assert {cqe.res for cqe in ring.ring.complete(at_hand)} == {0}
    opcode = {"recv": c.IORING_OP_RECV, "recvmsg": c.IORING_OP_RECVMSG}.get(name)
    sqe = selecting(ring.ring, REFUSING[name] if opcode is None else opcode, -1, bgid=group.bgid)
    sqe.personality = 0 if opcode is None else 77

    cqe = ring.ring.complete()[0]

    error = errno.EOPNOTSUPP if opcode is None else errno.EINVAL
    assert (cqe.res, cqe.flags) == (-error, 0)
    assert group.next() == 4


@dataclass(frozen=True, kw_only=True)
class Malformed:
    """A request that would receive 4 bytes but for `fields`; `iovecs`: so many, where it takes any."""

    opcode: int
    error: int
    iovecs: int | None = None
    fields: Mapping[str, int] = field(default_factory=dict)
    on_a_file: bool = False


_READV, _RECVMSG, _RECV, _MANY = (
    c.IORING_OP_READV,
    c.IORING_OP_RECVMSG,
    c.IORING_OP_RECV,
    c.IORING_OP_READ_MULTISHOT,
)
_MULTISHOT = {"ioprio": c.IORING_RECV_MULTISHOT}
PLAIN = {
    "readv_of_no_iovec": Malformed(opcode=_READV, iovecs=0, error=errno.EINVAL),
    "readv_of_two_iovecs": Malformed(opcode=_READV, iovecs=2, error=errno.EINVAL),
    "readv_of_an_unreadable_iovec": Malformed(
        opcode=_READV, fields={"addr": 1, "len": 1}, error=errno.EFAULT
    ),
    "recvmsg_of_two_iovecs": Malformed(opcode=_RECVMSG, iovecs=2, error=errno.EINVAL),
    "recvmsg_of_an_unreadable_header": Malformed(opcode=_RECVMSG, fields={"addr": 1}, error=errno.EFAULT),
    "recv_with_an_unknown_flag": Malformed(opcode=_RECV, fields={"ioprio": 1 << 15}, error=errno.EINVAL),
    "recv_into_registered_memory": Malformed(
        opcode=_RECV, fields={"ioprio": c.IORING_RECVSEND_FIXED_BUF}, error=errno.EINVAL
    ),
    "recvmsg_with_an_unknown_flag": Malformed(
        opcode=_RECVMSG, iovecs=1, fields={"ioprio": 1 << 15}, error=errno.EINVAL
    ),
}
RECV_MULTISHOT = {
    "recv_multishot_without_select": Malformed(
        opcode=_RECV, fields={**_MULTISHOT, "flags": 0}, error=errno.EINVAL
    ),
    "recv_multishot_with_waitall": Malformed(
        opcode=_RECV, fields={**_MULTISHOT, "msg_flags": socket.MSG_WAITALL}, error=errno.EINVAL
    ),
}
BUNDLE = {
    "recvmsg_bundle": Malformed(
        opcode=_RECVMSG, iovecs=1, fields={"ioprio": c.IORING_RECVSEND_BUNDLE}, error=errno.EINVAL
    ),
}
READ_MULTISHOT = {
    "read_multishot_without_select": Malformed(opcode=_MANY, fields={"flags": 0}, error=errno.EINVAL),
    "read_multishot_with_address": Malformed(opcode=_MANY, fields={"addr": 4096}, error=errno.EINVAL),
    "read_multishot_with_length": Malformed(opcode=_MANY, fields={"len": 8}, error=errno.EINVAL),
    "read_multishot_of_a_file": Malformed(opcode=_MANY, on_a_file=True, error=errno.EBADFD),
}
CASES = [
    pytest.param(call, id=name, marks=[pytest.mark.needs(*needs)] if needs else [])
    for table, needs in (
        (PLAIN, ()),
        (RECV_MULTISHOT, ("recv_multishot",)),
        (READ_MULTISHOT, ("read_multishot",)),
        (BUNDLE, ("bundle",)),
    )
    for name, call in table.items()
]


@pytest.mark.parametrize("call", CASES)
def test_a_malformed_request_takes_no_buffer(ring: Subject, group: Group, call: Malformed) -> None:
    """A request that its operation's prep (or first look) refuses: the errno, no flags, the buffer stays.

    io_iov_buffer_select_prep(), io_msg_copy_hdr(), io_recvmsg_prep(), io_read_mshot_prep(), io_read_mshot()
    """
    group.publish(4)
    near, far = socket.socketpair()
    vector = None if call.iovecs is None else Vector(64, count=call.iovecs)
    with near, far:
        near.setblocking(False)
        far.send(b"data")
        fd = ring.arena.memfd(1) if call.on_a_file else near.fileno()
        sqe = selecting(ring.ring, call.opcode, fd, bgid=group.bgid, vector=vector)
        for name, value in call.fields.items():
            setattr(sqe, name, value)

        cqe = ring.ring.complete()[0]

        assert (cqe.res, cqe.flags) == (-call.error, 0)
        assert group.next() == 4
        assert near.recv(8) == b"data"


def test_a_nop_takes_no_buffer_or_reports_it(ring: Subject, group: Group) -> None:
    """NOP with a selection: -EOPNOTSUPP; with patches/nop-buffer-select the buffer is in the completion, and gone.

    io_init_req(): accepted without a use would lose what the application asked for.
    """
    group.publish(4, 9)
    selecting(ring.ring, c.IORING_OP_NOP, -1, bgid=group.bgid)

    cqe = ring.ring.complete()[0]
    left = group.next()

    refused = (cqe.res, cqe.flags, left) == (-errno.EOPNOTSUPP, 0, 4)
    assert refused or (cqe.res >= 0, cqe.bid, left) == (True, 4, 9)


def test_a_command_takes_no_buffer(ring: Subject, group: Group) -> None:
    """URING_CMD with a selection is refused before its file is looked at: -EOPNOTSUPP; -EINVAL where a multishot may.

    io_init_req(), io_uring_cmd_prep()
    """
    group.publish(4)
    selecting(ring.ring, c.IORING_OP_URING_CMD, -1, bgid=group.bgid)

    cqe = ring.ring.complete()[0]

    assert cqe.res in {-errno.EOPNOTSUPP, -errno.EINVAL}
    assert (cqe.flags, group.next()) == (0, 4)


@pytest.mark.parametrize("opcode", [c.IORING_OP_READ, c.IORING_OP_RECV], ids=["read", "recv"])
def test_who_does_not_ask_gets_none(ring: Subject, make_group: Callable[..., Group], opcode: int) -> None:
    """A request without IOSQE_BUFFER_SELECT, and there is a group 0: into its own memory. io_do_buffer_select()"""
    group = make_group(bgid=0)
    group.publish(4)
    own = ring.arena.anon(64)
    near, far = socket.socketpair()
    with near, far:
        far.send(b"data")
        sqe = ring.ring.sqe()
        sqe.opcode, sqe.fd, sqe.addr, sqe.len = opcode, near.fileno(), own, 64

        cqe = ring.ring.complete()[0]

    assert (cqe.res, cqe.bid, ctypes.string_at(own, 4)) == (4, None, b"data")
    assert group.next() == 4


@pytest.mark.parametrize("allowed", [True, False], ids=["allowed", "not_allowed"])
def test_a_restricted_ring(make_ring: Callable[..., Subject], allowed: bool) -> None:
    """A ring restricted to READs, and to no flag or to IOSQE_BUFFER_SELECT: -EACCES and no buffer, or the buffer.

    io_check_restriction()
    """
    subject = make_ring(flags=c.IORING_SETUP_R_DISABLED)
    flags = c.IOSQE_BUFFER_SELECT * allowed
    subject.ring.restrict(
        (c.IORING_RESTRICTION_REGISTER_OP, c.IORING_REGISTER_PBUF_RING),
        (c.IORING_RESTRICTION_REGISTER_OP, c.IORING_UNREGISTER_PBUF_RING),
        (c.IORING_RESTRICTION_SQE_OP, c.IORING_OP_READ),
        (c.IORING_RESTRICTION_SQE_FLAGS_ALLOWED, flags),
    )
    assert subject.ring.enable() == 0
    group = Group(subject.ring, subject.arena)
    assert group.register() == 0
    subject.owns(group.bgid)
    group.publish(4)

    cqe = group.read(length=8)

    assert (cqe.res, cqe.bid) == ((8, 4) if allowed else (-errno.EACCES, None))
