"""Bundles that are refused: operations that know none, flags that do not go with them, no selection."""

from __future__ import annotations

import ctypes
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from ringrig.model.profiles import Profile
from ringrig.model.shelf import BGID, Shelf, to_the_end
from ringrig.model.subject import Subject
from ringrig.model.transfer import Reply
from ringrig.uring import consts as c
from ringrig.uring.requests import Vector, selecting
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("bundle"), pytest.mark.ends_within(3)]

BUNDLE, MULTISHOT = c.IORING_RECVSEND_BUNDLE, c.IORING_RECV_MULTISHOT
UNKNOWN = 1 << 9
FIXED = c.IORING_RECVSEND_FIXED_BUF


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A request over group 7, of one buffer; without `select` it has memory of its own (as it would need)."""

    opcode: int
    ioprio: int = BUNDLE
    select: bool = True
    msg_flags: int = 0
    error: int = errno.EINVAL


REFUSED = {
    "unknown_flag": Refused(opcode=c.IORING_OP_SEND, ioprio=UNKNOWN),
    "unknown_flag_of_recv": Refused(opcode=c.IORING_OP_RECV, ioprio=UNKNOWN),
    "unknown_flag_and_bundle": Refused(opcode=c.IORING_OP_SEND, ioprio=UNKNOWN | BUNDLE),
    "unknown_flag_and_bundle_of_recv": Refused(opcode=c.IORING_OP_RECV, ioprio=UNKNOWN | BUNDLE),
    "registered_memory": Refused(opcode=c.IORING_OP_SEND, ioprio=FIXED),
    "registered_memory_and_bundle": Refused(opcode=c.IORING_OP_SEND, ioprio=FIXED | BUNDLE),
    "registered_memory_and_bundle_of_recv": Refused(opcode=c.IORING_OP_RECV, ioprio=FIXED | BUNDLE),
    "multishot_send": Refused(opcode=c.IORING_OP_SEND, ioprio=MULTISHOT),
    "multishot_send_bundle": Refused(opcode=c.IORING_OP_SEND, ioprio=MULTISHOT | BUNDLE),
    "bundle_by_recvmsg": Refused(opcode=c.IORING_OP_RECVMSG),
    "multishot_bundle_by_recvmsg": Refused(opcode=c.IORING_OP_RECVMSG, ioprio=MULTISHOT | BUNDLE),
    "bundle_by_recvmsg_of_its_own": Refused(opcode=c.IORING_OP_RECVMSG, select=False),
    "bundle_by_sendmsg": Refused(opcode=c.IORING_OP_SENDMSG, error=errno.EOPNOTSUPP),
    "bundle_by_sendmsg_of_its_own": Refused(opcode=c.IORING_OP_SENDMSG, select=False),
    "bundle_by_send_zc": Refused(opcode=c.IORING_OP_SEND_ZC, error=errno.EOPNOTSUPP),
    "multishot_bundle_of_its_own": Refused(opcode=c.IORING_OP_RECV, ioprio=MULTISHOT | BUNDLE, select=False),
    "multishot_bundle_of_all": Refused(
        opcode=c.IORING_OP_RECV, ioprio=MULTISHOT | BUNDLE, msg_flags=socket.MSG_WAITALL
    ),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_refused(ring: Subject, make_wire: Callable[..., Wire], call: Refused) -> None:
    """-EINVAL as it is submitted (-EOPNOTSUPP of what selects no buffers), the buffer stays, and so does the data.

    io_init_req(), io_sendmsg_prep(), io_recvmsg_prep(), io_send_zc_prep()
    """
    shelf, wire = Shelf(ring, {3: 64}), make_wire()
    wire.feed(b"data")
    vectored = call.opcode in {c.IORING_OP_RECVMSG, c.IORING_OP_SENDMSG}
    vector = Vector(64) if vectored else None
    sqe = selecting(ring.ring, call.opcode, wire.near, bgid=BGID, vector=vector)
    sqe.ioprio, sqe.msg_flags = call.ioprio, call.msg_flags
    if not call.select:
        sqe.flags, sqe.buf_group = 0, 0
        memory = ring.arena.anon(64)
        if vector is not None:
            vector.iovecs[0].iov_base = memory
        else:
            sqe.addr, sqe.len = memory, 0 if call.ioprio & MULTISHOT else 64

    found = to_the_end(ring.ring)

    assert found == [Reply(res=-call.error)]
    assert (wire.unread(), wire.received()) == (4, b"")
    assert shelf.left() == [(3, 64)]


def test_without_select(ring: Subject, make_wire: Callable[..., Wire], profile: Profile) -> None:
    """SEND with the flag from memory of its own: -EINVAL; later kernels send it, and then once more, of length 0.

    io_sendmsg_prep(); io_send_finish() asks nobody whether there are buffers, and io_mshot_prep_retry() clears the length
    """
    wire, memory = make_wire(), ring.arena.anon(64)
    ctypes.memmove(memory, b"data", 4)
    sqe = ring.ring.sqe()
    sqe.opcode, sqe.fd, sqe.addr, sqe.len = c.IORING_OP_SEND, wire.near, memory, 4
    sqe.ioprio = BUNDLE

    found = to_the_end(ring.ring)

    if "send_bundle_alone" in profile.traits:
        assert (found, wire.received()) == ([Reply(res=4, more=True), Reply(res=0)], b"data")
    else:
        assert (found, wire.received()) == ([Reply(res=-errno.EINVAL)], b"")
