"""Commands to files (IORING_OP_URING_CMD), which may select where they are to go on; and operations of 128 bytes.

The only driver whose commands use a selected buffer is ublk: io_uring_cmd_buffer_select() has no other caller up to 7.3,
and a ublk server is more than a case can be.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from ringrig.model.shelf import BGID, Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.group import Group
from ringrig.uring.probe import probe
from ringrig.uring.requests import selecting
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(3)

_FIXED, _MULTISHOT = c.IORING_URING_CMD_FIXED, c.IORING_URING_CMD_MULTISHOT
COMMANDS = {
    "once": (0, -errno.EINVAL),
    "from_registered_memory": (_MULTISHOT | _FIXED, -errno.EINVAL),
    "of_a_file_without_commands": (_MULTISHOT, -errno.EOPNOTSUPP),
}
"""uring_cmd_flags, result."""


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("issue", [0, c.IOSQE_ASYNC], ids=["locked", "io_wq"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_takes_no_buffer(
    ring: Subject, make_wire: Callable[..., Wire], name: str, issue: int, kind: Kind
) -> None:
    """URING_CMD with a selection, of TCP with 20 bytes: refused unless it is to go on, of no buffer; buffers and bytes stay.

    -EOPNOTSUPP where no command may select. io_init_req(), io_uring_cmd_prep(), io_uring_cmd()
    """
    shelf, wire = Shelf(ring, {5: 64, 2: 64}, kind=kind), make_wire(tcp=True)
    wire.feed(incoming(0, 20))
    command, want = COMMANDS[name]
    fd = ring.arena.memfd(64) if name == "of_a_file_without_commands" else wire.near
    sqe = selecting(ring.ring, c.IORING_OP_URING_CMD, fd, bgid=BGID)
    sqe.msg_flags = command
    sqe.flags |= issue

    (reply,) = shelf.to_the_end()

    assert reply in {Reply(res=-errno.EOPNOTSUPP), Reply(res=want)}
    assert (wire.unread(), shelf.written()) == (20, {})
    assert shelf.left() == [(5, 64), (2, 64)]


def test_a_command_that_goes_on_must_select(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """IORING_URING_CMD_MULTISHOT without a selection: -EINVAL, as where there is no such flag. io_uring_cmd_prep()"""
    wire = make_wire(tcp=True)
    sqe = ring.ring.sqe()
    sqe.opcode, sqe.fd, sqe.msg_flags = c.IORING_OP_URING_CMD, wire.near, _MULTISHOT

    cqe = ring.ring.complete()[0]

    assert (cqe.res, cqe.flags) == (-errno.EINVAL, 0)


LARGE = {"nop": (c.IORING_OP_NOP128, errno.EOPNOTSUPP), "command": (c.IORING_OP_URING_CMD128, errno.EINVAL)}


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(0, id="sqes_of_64_bytes"),
        pytest.param(c.IORING_SETUP_SQE128, id="sqes_of_128_bytes", marks=pytest.mark.needs("sqe128")),
    ],
)
@pytest.mark.parametrize("opcode, error", LARGE.values(), ids=LARGE)
def test_an_operation_of_128_bytes(
    make_ring: Callable[..., Subject], opcode: int, error: int, flags: int
) -> None:
    """NOP128 and URING_CMD128 with a selection: -EOPNOTSUPP, and -EINVAL of a command that does not go on.

    -EINVAL of both where there is no room for so large an SQE, or no such operation; the buffer stays. io_init_req()
    """
    subject = make_ring(flags=flags)
    group = Group(subject.ring, subject.arena)
    assert group.register() == 0
    subject.owns(group.bgid)
    group.publish(4)
    selecting(subject.ring, opcode, -1, bgid=group.bgid)

    cqe = subject.ring.complete()[0]

    known = flags and opcode <= max(probe()["ops"])
    assert (cqe.res, cqe.flags) == (-(error if known else errno.EINVAL), 0)
    assert group.next() == 4


@pytest.mark.crashes
@pytest.mark.needs("own_kernel")
def test_a_command_that_is_done_at_once_does_not_go_on(ring: Subject, make_wire: Callable[..., Wire]) -> None:
    """SIOCINQ of TCP with 20 bytes, that was to go on with a ring's buffers: 20, and no buffer is used.

    Where no command may go on it is refused. 6.18 has it wait for completions that nobody posts, for ever, and the io_uring with
    it. io_uring_cmd(): IOU_ISSUE_SKIP_COMPLETE. Fixed in 7.2. Live in 6.18.15, 6.18.44.
    """
    shelf, wire = Shelf(ring, {5: 64, 2: 64}, kind=Kind.RING), make_wire(tcp=True)
    wire.feed(incoming(0, 20))
    selecting(ring.ring, c.IORING_OP_URING_CMD, wire.near, bgid=BGID).msg_flags = _MULTISHOT
    assert ring.ring.submit() == 1

    found = shelf.some(1, timeout=1)

    assert found in ([Reply(res=20)], [Reply(res=-errno.EOPNOTSUPP)], [Reply(res=-errno.EINVAL)])
    assert (wire.unread(), shelf.written()) == (20, {})
    assert shelf.left() == [(5, 64), (2, 64)]
