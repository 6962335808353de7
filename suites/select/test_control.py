"""What comes beside the data: a descriptor (SCM_RIGHTS), for a receive with and without room for it."""

from __future__ import annotations

import array
import ctypes
import errno
import os
import select
import socket
import struct
from collections.abc import Iterator

import pytest

from ringrig.model.shelf import BGID, REQUEST, Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.requests import Vector, selecting

pytestmark = pytest.mark.ends_within(3)

LINKED = 77
ROOM = socket.CMSG_SPACE(4)
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)


class Letter:
    """Two connected sockets, and a message of 64 bytes on its way with the only descriptor of a pipe's end."""

    def __init__(self, subject: Subject) -> None:
        near, self._far = socket.socketpair()
        self.near = subject.arena.own(near.detach())
        self._reader = -1

    def send(self) -> None:
        self._reader, writer = os.pipe()
        self._far.sendmsg(
            [incoming(0, 64)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writer]))]
        )
        os.close(writer)

    def dropped(self) -> bool:
        """Nobody has the descriptor; it is not on its way either. It goes before the receive returns."""
        poll = select.poll()
        poll.register(self._reader, select.POLLHUP)
        return bool(poll.poll(0))

    def close(self) -> None:
        self._far.close()
        os.close(self._reader)


@pytest.fixture
def letter(ring: Subject) -> Iterator[Letter]:
    made = Letter(ring)
    yield made
    made.close()


class Control:
    """A RECVMSG's header with `room` bytes for control data, all 0xA5."""

    def __init__(self, room: int) -> None:
        self.vector = Vector(64)
        self.memory = (ctypes.c_ubyte * max(room, 1))(*([0xA5] * room))
        self.vector.header.msg_control = ctypes.addressof(self.memory) if room else 0
        self.vector.header.msg_controllen = room

    def descriptor(self) -> int:
        """That was received; the case closes it."""
        return int.from_bytes(bytes(self.memory)[socket.CMSG_LEN(0) : socket.CMSG_LEN(4)], "little")


@each_kind
@pytest.mark.parametrize("msg_flags", [0, socket.MSG_WAITALL], ids=["any", "all"])
@pytest.mark.parametrize("room", [None, 0, 8, ROOM], ids=["recv", "none", "too_little", "enough"])
def test_what_is_cut_is_no_success_of_who_wants_all(
    ring: Subject, letter: Letter, msg_flags: int, room: int | None, kind: Kind
) -> None:
    """64 bytes with a descriptor, for RECV or for a RECVMSG with such room: they are there, in their buffer.

    Without room the descriptor is dropped, and with MSG_WAITALL what is linked is cancelled.
    io_recvmsg(), io_recv(): MSG_TRUNC | MSG_CTRUNC; scm_detach_fds()
    """
    shelf, control = Shelf(ring, {5: 64, 2: 64}, kind=kind), Control(room or 0)
    letter.send()
    if room is None:
        sqe = shelf.queue(c.IORING_OP_RECV, letter.near, length=64, msg_flags=msg_flags)
    else:
        sqe = selecting(ring.ring, c.IORING_OP_RECVMSG, letter.near, bgid=BGID, vector=control.vector)
        sqe.msg_flags, sqe.user_data = msg_flags, REQUEST
    sqe.flags |= c.IOSQE_IO_LINK
    ring.ring.sqe().user_data = LINKED
    found = {cqe.user_data: Reply.of(cqe.res, cqe.flags) for cqe in ring.ring.complete(2)}

    broken = bool(msg_flags) and room != ROOM
    assert found == {REQUEST: Reply(res=64, bid=5), LINKED: Reply(res=-errno.ECANCELED if broken else 0)}
    assert letter.dropped() == (room != ROOM)
    if room == ROOM:
        os.close(control.descriptor())
        assert letter.dropped()
    assert shelf.written() == {5: incoming(0, 64)}
    assert shelf.left() == [(2, 64)]


class Before:
    """A message with room for a descriptor, or with one to send: the ring keeps its memory for the next."""

    def __init__(self, ring: Subject, shelf: Shelf, opcode: int, ioprio: int) -> None:
        self.control = Control(ROOM)
        header = self.control.vector.header
        near, far = socket.socketpair()
        with near, far:
            far.send(b"x")
            if ioprio:
                sqe = selecting(ring.ring, opcode, near.fileno(), bgid=BGID, vector=self.control.vector)
            else:
                header.msg_iovlen = 0
                sqe = ring.ring.sqe()
                sqe.opcode, sqe.fd, sqe.addr, sqe.len = opcode, near.fileno(), ctypes.addressof(header), 1
            if opcode == c.IORING_OP_SENDMSG:
                rights = struct.pack(
                    "=QiiiI", socket.CMSG_LEN(4), socket.SOL_SOCKET, socket.SCM_RIGHTS, shelf.group.zero(), 0
                )
                ctypes.memmove(self.control.memory, rights, ROOM)
            sqe.ioprio, sqe.user_data = ioprio, REQUEST
            assert ring.ring.complete()[0].res >= 0
            if ioprio:
                assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
        self.told = bytes(self.control.memory)


BEFORE = {
    "recvmsg": (c.IORING_OP_RECVMSG, 0),
    "recvmsg_multishot": (c.IORING_OP_RECVMSG, c.IORING_RECV_MULTISHOT),
    "sendmsg": (c.IORING_OP_SENDMSG, 0),
}


@each_kind
@pytest.mark.parametrize("waits", [False, True], ids=["there", "waits"])
@pytest.mark.parametrize(
    "opcode, ioprio",
    [
        pytest.param(*asked, id=name, marks=[pytest.mark.needs("recv_multishot")] if asked[1] else [])
        for name, asked in BEFORE.items()
    ],
)
def test_the_room_was_of_the_message_before(  # noqa: PLR0917
    ring: Subject, letter: Letter, opcode: int, ioprio: int, waits: bool, kind: Kind
) -> None:
    """A message with control data; then RECV of 64 bytes with a descriptor: it is dropped, and they alone are written.

    io_recvmsg_prep_setup(): msg_control
    """
    shelf = Shelf(ring, {9: 128, 5: 64, 2: 64} if ioprio else {5: 64, 2: 64}, kind=kind)
    before = Before(ring, shelf, opcode, ioprio)
    told = shelf.written()
    if waits:
        shelf.queue(c.IORING_OP_RECV, letter.near)
        assert ring.ring.submit() == 1
    letter.send()
    if not waits:
        shelf.queue(c.IORING_OP_RECV, letter.near)
    found = shelf.to_the_end()

    assert found == [Reply(res=64, bid=5)]
    assert bytes(before.control.memory) == before.told
    assert letter.dropped()
    assert shelf.written() == {**told, 5: incoming(0, 64)}
    assert shelf.left() == [(2, 64)]
