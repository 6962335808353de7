"""Receives that go on through an entry of 2 GiB and more, whose length an int does not hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ringrig.model.params import ops
from ringrig.model.scene import OPCODES
from ringrig.model.shelf import REQUEST
from ringrig.model.transfer import RECVMSG_HEADER, Op, Reply, incoming
from ringrig.model.waiting import told
from ringrig.uring import consts as c
from ringrig.uring.group import Group
from ringrig.uring.requests import Vector, selecting
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(3)

LENGTHS = {"sign_bit": 1 << 31, "all_bits": 0xFFFFFFFF}
each_length = pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)
each_op = pytest.mark.parametrize("op", ops(op for op in Op if op.multishot))


def begin(group: Group, op: Op, wire: Wire) -> None:
    """Issue such a receive."""
    vector = Vector(0) if op is Op.RECVMSG_MULTISHOT else None
    sqe = selecting(group.ring, OPCODES[op], wire.near, bgid=group.bgid, vector=vector)
    sqe.ioprio, sqe.user_data = c.IORING_RECV_MULTISHOT * (not op.reads), REQUEST
    group.ring.submit()


def told_of(group: Group, wire: Wire, pieces: int) -> list[Reply]:
    """What the receive tells of pieces of 20 bytes, which come one after the other while it goes on."""
    found: list[Reply] = []
    for at in range(pieces):
        if not found or found[-1].more:
            wire.send(incoming(20 * at, 20))
            found += [Reply.of(cqe.res, cqe.flags) for cqe in group.ring.complete()]
    return found


@each_length
@each_op
def test_one_after_the_other(group: Group, make_wire: Callable[..., Wire], op: Op, length: int) -> None:
    """Entries of 2 GiB and more, of 64 bytes, and of 2 GiB, 20 bytes for each: told, and it goes on in the next.

    io_recv_buf_select(), io_recvmsg(): MAX_RW_COUNT; kmsg->payloadlen, an int, was negative, and nothing was received.
    Fixed in 6.12.117, 7.3.4. Live in 6.1.192, 6.18.44, 7.2.
    """
    wire = make_wire()
    for bid, size in ((3, length), (6, 64), (1, length), (8, 64)):
        group.publish(bid, size=size)
    begin(group, op, wire)

    found = told_of(group, wire, 3)

    assert found == [told(op, bid, 20) for bid in (3, 6, 1)]
    header = RECVMSG_HEADER.size * (op is Op.RECVMSG_MULTISHOT)
    for at, bid in enumerate((3, 6, 1)):
        assert group.content(bid, 64)[header:] == incoming(20 * at, 20) + bytes(44 - header)
    assert group.next() == 8


@pytest.mark.needs("inc")
@each_length
@each_op
def test_piece_by_piece(
    make_group: Callable[..., Group], make_wire: Callable[..., Wire], op: Op, length: int
) -> None:
    """An incremental entry of 2 GiB and more, 20 bytes, three times: each with F_BUF_MORE, and the entry is that much shorter.

    io_kbuf_inc_commit(): a u32 less what came; c64eff368ac6, CVE-2025-39822.
    The message's: Fixed in 6.12.117, 7.3.4. Live in 6.1.192, 6.18.44, 7.2.
    """
    group, wire = make_group(flags=c.IOU_PBUF_RING_INC, size=256), make_wire()
    group.publish(3, size=length)
    begin(group, op, wire)

    found = told_of(group, wire, 3)

    piece = told(op, 3, 20).res
    assert found == [replace(told(op, 3, 20), buf_more=True)] * 3
    assert group.entry(0) == (group.address_of(3) + 3 * piece, length - 3 * piece, 3)
    held, header = group.content(3, 256), piece - 20
    assert b"".join(held[at * piece + header : (at + 1) * piece] for at in range(3)) == incoming(0, 60)
    assert held[3 * piece :] == bytes(256 - 3 * piece)
    assert group.head() == 0
