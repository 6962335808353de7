"""Lengths that were taken for others: of buffers of 2 GiB, of cut datagrams, of entries that change under the kernel."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import pytest

from ringrig.model.shelf import BGID, Rest, Shelf, spread, to_the_end
from ringrig.model.subject import Subject
from ringrig.model.transfer import Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.group import Group, Pipe
from ringrig.uring.requests import Vector, selecting
from ringrig.uring.wire import Wire

pytestmark = pytest.mark.ends_within(3)

LENGTHS = {"sign_bit": 1 << 31, "all_bits": 0xFFFFFFFF}
each_length = pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)


@each_length
@pytest.mark.parametrize("opcode", [c.IORING_OP_RECV, c.IORING_OP_RECVMSG], ids=["recv", "recvmsg"])
def test_a_buffer_of_two_gigabytes_receives(
    group: Group, make_wire: Callable[..., Wire], opcode: int, length: int
) -> None:
    """An entry that says 2 GiB and more, no length asked for, 5 bytes: they come, and the buffer is gone.

    Live: sr->len, an int, becomes negative.
    Fixed by "net: keep recv / recvmsg buffer select length within MAX_RW_COUNT" (6.12.115 to 6.12.117).
    """
    wire = make_wire()
    wire.feed(b"fives")
    group.publish(3, size=length)
    vector = Vector(0) if opcode == c.IORING_OP_RECVMSG else None
    selecting(group.ring, opcode, wire.near, bgid=group.bgid, vector=vector)

    assert to_the_end(group.ring) == [Reply(res=5, bid=3)]
    assert group.content(3, 6) == b"fives\0"
    assert group.read(length=1).res == -errno.ENOBUFS


@pytest.mark.needs("inc")
@each_length
def test_a_buffer_of_two_gigabytes_is_used_in_part(
    make_group: Callable[..., Group], pipe: Pipe, length: int
) -> None:
    """An incremental entry of 2 GiB and more, a READ of 5 bytes: the entry says 5 less, 5 further on.

    Live: this_len, an int, is negative; the buffer moves backwards. io_kbuf_inc_commit().
    Fixed by c64eff368ac6 (CVE-2025-39822; 6.16.5).
    """
    group = make_group(flags=c.IOU_PBUF_RING_INC)
    group.publish(3, size=length)
    pipe.feed(b"fives")
    group.queue_read(pipe.reader, length=64)

    assert to_the_end(group.ring) == [Reply(res=5, bid=3, buf_more=True)]
    assert group.entry(0) == (group.address_of(3) + 5, length - 5, 3)
    assert (group.head(), group.content(3, 6)) == (0, b"fives\0")


@pytest.mark.crashes
@pytest.mark.needs("inc")
def test_a_buffer_over_its_own_ring(make_group: Callable[..., Group], pipe: Pipe) -> None:
    """An incremental buffer is the ring itself, and 32 zeros are read into it: one completion, no end of the world.

    Live: the entry's length is 0 as it is committed, and the loop never ends. io_kbuf_inc_commit().
    Fixed by 98b6fa62c84f (CVE-2025-39816; 6.12.49).
    """
    group = make_group(flags=c.IOU_PBUF_RING_INC)
    group.memory.publish(group.memory.addr, 32, 3)
    pipe.feed(bytes(32))
    group.queue_read(pipe.reader, length=32)

    assert to_the_end(group.ring) == [Reply(res=32, bid=3, buf_more=True)]
    assert (group.memory.raw(), group.head()) == (bytes(16 * group.entries), 0)
    group.publish(5)
    assert group.read(length=64).bid == 5


@pytest.mark.needs("inc")
def test_a_cut_message_uses_up_what_was_stored(ring: Subject) -> None:
    """RECVMSG with MSG_TRUNC, 100 bytes for a buffer of 64, then 30: 100 and 30 are reported, 64 and 30 used.

    Live: what was cut is charged to the next buffer. io_recvmsg(); liburing #1619.
    Fixed by 6028b543884f (6.12.112, 7.2.7, 7.3-rc3).
    """
    near, far = socket.socketpair(type=socket.SOCK_DGRAM)
    sizes = {300: 64, 2: 64}
    shelf = Shelf(ring, sizes, flags=c.IOU_PBUF_RING_INC)
    found = []
    with near, far:
        far.send(incoming(0, 100))
        far.send(incoming(64, 30))
        for _ in range(2):
            vector = Vector(64)
            sqe = selecting(
                ring.ring, c.IORING_OP_RECVMSG, near.fileno(), bgid=BGID, length=64, vector=vector
            )
            sqe.msg_flags = socket.MSG_TRUNC
            found += to_the_end(ring.ring)

    used = [rest.used for rest in shelf.rests()]
    assert not found[0].buf_more, f"a cut datagram uses up the next buffer: used of each {used}"
    assert found == [Reply(res=100, bid=300), Reply(res=30, bid=2, buf_more=True)]
    assert shelf.rests() == [Rest(300, 0, 0), Rest(2, 30, 34)]
    assert shelf.written() == spread(sizes, (64, 30))
