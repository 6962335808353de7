"""Multishot RECVMSG: the header in front of each datagram, room for name and control data, truncation, the end."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from ringrig.model.message import Datagram, Messages, expect_messages
from ringrig.model.shelf import Rest, Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import RECVMSG_HEADER, Kind, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring import libc
from ringrig.uring.group import Group, legacy, remove_legacy
from ringrig.uring.requests import Vector, cancel, selecting

pytestmark = [pytest.mark.needs("recv_multishot"), pytest.mark.ends_within(3)]

BIDS = (12, 3, 0xFFFF, 40, 0)
_REQUEST, _CANCEL = 1, 2
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)

NAME = 8
"""Bytes of the address that bind() picks: family, a zero, five digits. net/unix/af_unix.c unix_autobind()"""
HEADER = RECVMSG_HEADER.size
TWO = (Datagram(length=20), Datagram(length=33))

CALLS = {
    "bytes_alone": Messages(datagrams=TWO),
    "a_name": Messages(datagrams=TWO, name=NAME),
    "room_for_a_longer_name": Messages(datagrams=TWO, name=28),
    "room_for_more_than_any_name": Messages(datagrams=TWO, name=200),
    "room_for_part_of_the_name": Messages(datagrams=TWO, name=NAME - 3),
    "room_for_a_byte_of_the_name": Messages(datagrams=TWO, name=1),
    "room_for_a_name_and_none_comes": Messages(datagrams=(Datagram(length=20, named=False),), name=28),
    "named_and_nameless": Messages(datagrams=(*TWO, Datagram(length=5, named=False), *TWO[:1]), name=NAME),
    "control_data": Messages(datagrams=TWO, control=32, credentials=True),
    "control_data_without_padding": Messages(datagrams=TWO, control=28, credentials=True),
    "room_for_more_control_data": Messages(datagrams=TWO, control=64, credentials=True),
    "room_for_part_of_the_control_data": Messages(datagrams=TWO, control=20, credentials=True),
    "room_for_a_cmsghdr": Messages(datagrams=TWO, control=16, credentials=True),
    "room_for_less_than_a_cmsghdr": Messages(datagrams=TWO, control=15, credentials=True),
    "control_data_without_room": Messages(datagrams=TWO, credentials=True),
    "room_for_control_data_and_none_comes": Messages(datagrams=TWO, control=32),
    "all_of_it": Messages(datagrams=(*TWO, *TWO), name=12, control=32, credentials=True),
    "all_of_it_cut": Messages(
        datagrams=(Datagram(length=300), *TWO), name=5, control=20, credentials=True, size=70
    ),
    "longer_than_the_buffer": Messages(datagrams=(Datagram(length=100), *TWO), size=64),
    "longer_and_told_so": Messages(
        datagrams=(Datagram(length=100), *TWO), size=64, msg_flags=socket.MSG_TRUNC
    ),
    "longer_named_and_told_so": Messages(
        datagrams=(Datagram(length=100), *TWO), name=12, size=64, msg_flags=socket.MSG_TRUNC
    ),
    "as_long_as_fits": Messages(datagrams=(Datagram(length=40), *TWO), name=NAME, size=HEADER + NAME + 40),
    "a_byte_longer_than_fits": Messages(
        datagrams=(Datagram(length=41), *TWO), name=NAME, size=HEADER + NAME + 40
    ),
    "room_for_a_byte": Messages(datagrams=TWO, name=NAME, size=HEADER + NAME + 1),
    "no_room_for_bytes": Messages(datagrams=TWO, name=NAME, size=HEADER + NAME),
    "no_room_for_bytes_and_told_so": Messages(
        datagrams=TWO, name=NAME, size=HEADER + NAME, msg_flags=socket.MSG_TRUNC
    ),
    "header_alone": Messages(datagrams=TWO, size=HEADER),
    "header_does_not_fit": Messages(datagrams=TWO, size=HEADER - 1),
    "name_does_not_fit": Messages(datagrams=TWO, name=NAME, size=HEADER + NAME - 1),
    "control_data_does_not_fit": Messages(datagrams=TWO, control=32, size=HEADER + 31, credentials=True),
    "name_and_control_data_do_not_fit": Messages(datagrams=TWO, name=12, control=32, size=HEADER + 43),
    "an_empty_datagram": Messages(datagrams=(Datagram(length=0), *TWO), name=NAME),
    "an_empty_datagram_among_others": Messages(datagrams=(TWO[0], Datagram(length=0), TWO[1])),
    "more_datagrams_than_buffers": Messages(datagrams=(*TWO, *TWO, *TWO), name=NAME),
    "close_on_exec": Messages(datagrams=TWO, msg_flags=socket.MSG_CMSG_CLOEXEC),
}


class Post:
    """A datagram socket for the request, and two that send to it: one has an address, one has none."""

    def __init__(self) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        self.near, self._named, self._nameless = (socket.socket(socket.AF_UNIX, kind) for _ in range(3))
        self.near.bind("")
        self._named.bind("")
        self._sent = 0

    @property
    def sender(self) -> bytes:
        """The struct sockaddr_un of the one that has an address."""
        return socket.AF_UNIX.to_bytes(2, "little") + self._named.getsockname()

    def send(self, datagram: Datagram) -> None:
        """Part after part of incoming()."""
        via = self._named if datagram.named else self._nameless
        via.sendto(incoming(self._sent, datagram.length), self.near.getsockname())
        self._sent += datagram.length

    def close(self) -> None:
        for one in (self.near, self._named, self._nameless):
            one.close()


@pytest.fixture
def post() -> Iterator[Post]:
    made = Post()
    yield made
    made.close()


def _queue(ring: Subject, fd: int, call: Messages, *, length: int = 0) -> Vector:
    """The request of `call`, and its header, over an iovec of `length` bytes."""
    vector = Vector(length)
    vector.header.msg_namelen, vector.header.msg_controllen = call.name, call.control
    sqe = selecting(ring.ring, c.IORING_OP_RECVMSG, fd, bgid=7, vector=vector)
    sqe.ioprio, sqe.msg_flags, sqe.user_data = c.IORING_RECV_MULTISHOT, call.msg_flags, _REQUEST
    return vector


def _replies(ring: Subject, count: int) -> list[Reply]:
    """Those of the request among the next `count` completions."""
    cqes = ring.ring.complete(count) if count else []
    return [Reply.of(cqe.res, cqe.flags) for cqe in cqes if cqe.user_data == _REQUEST]


@each_kind
@pytest.mark.parametrize("when", ["there", "one_by_one"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_a_datagram_comes_with(ring: Subject, post: Post, call: Messages, when: str, kind: Kind) -> None:
    """Datagrams that are there, or come one by one: header, name, control data, bytes, each in
    its place of a buffer of its own; room that is not used is left alone, and so is all behind the buffer.

    The header tells the full length of the name, the length of the control data, what recvmsg() would return,
    and msg_flags. io_recvmsg_multishot()
    """
    post.near.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, call.credentials)
    shelf = Shelf(ring, dict.fromkeys(BIDS, call.size), kind=kind)
    want = expect_messages(call, BIDS, post.sender)
    vector = _queue(ring, post.near.fileno(), call)
    if when == "one_by_one":
        assert ring.ring.submit() == 1

    found: list[Reply] = []
    for datagram in call.datagrams:
        post.send(datagram)
        if when == "one_by_one" and len(found) < len(want.replies):
            found += _replies(ring, 1)
    found += _replies(ring, len(want.replies) - len(found))
    if want.goes_on:
        cancel(ring.ring, _REQUEST, own=_CANCEL)
        found += _replies(ring, 2)

    end = (Reply(res=-errno.ECANCELED),) if want.goes_on else ()
    assert tuple(found) == (*want.replies, *end)
    assert shelf.written() == want.written
    assert shelf.left() == [(bid, call.size) for bid in BIDS if bid not in want.written]
    assert vector.header.msg_namelen == call.name


@each_kind
@pytest.mark.parametrize("when", ["there", "one_by_one"])
def test_a_length_is_of_the_first_alone(ring: Subject, post: Post, when: str, kind: Kind) -> None:
    """An iovec of 40 bytes, header included, and three datagrams of 60: the first is cut, those behind it are whole.

    io_mshot_prep_retry(): sr->len
    """
    shelf = Shelf(ring, dict.fromkeys(BIDS, 256), kind=kind)
    _queue(ring, post.near.fileno(), Messages(datagrams=()), length=40)
    if when == "one_by_one":
        assert ring.ring.submit() == 1
    found = []
    for _ in range(3):
        post.send(Datagram(length=60))
        if when == "one_by_one":
            found += _replies(ring, 1)
    found += _replies(ring, 3 - len(found))
    cancel(ring.ring, _REQUEST, own=_CANCEL)

    assert _replies(ring, 2) == [Reply(res=-errno.ECANCELED)]
    assert [(reply.res, reply.bid, reply.more) for reply in found] == [
        (40, 12, True),
        (HEADER + 60, 3, True),
        (HEADER + 60, 0xFFFF, True),
    ]
    assert [shelf.written()[bid][HEADER:] for bid in BIDS[:3]] == [
        incoming(0, 24),
        incoming(60, 60),
        incoming(120, 60),
    ]


UNFIT = {
    "control_data_of_2_gib": {"msg_controllen": 0x7FFFFFFF},
    "control_data_and_header_of_2_gib": {"msg_controllen": 0x7FFFFFFF - HEADER + 1},
    "control_data_of_4_gib": {"msg_controllen": 0xFFFFFFFF},
    "name_of_2_gib": {"msg_controllen": 0, "msg_namelen": 0x7FFFFFFF},
    "name_and_control_data_of_2_gib": {"msg_controllen": 0x7FFFFFFF - HEADER, "msg_namelen": 1},
}


@pytest.mark.parametrize("fields", UNFIT.values(), ids=UNFIT)
def test_room_that_no_int_holds(ring: Subject, group: Group, post: Post, fields: dict[str, int]) -> None:
    """Room for name and control data that passes 2^31 with the header: -EOVERFLOW at once, and the buffer stays.

    io_recvmsg_mshot_prep()
    """
    group.publish(5)
    vector = _queue(ring, post.near.fileno(), Messages(datagrams=()))
    for name, value in fields.items():
        setattr(vector.header, name, value)

    cqe = ring.ring.complete()[0]

    assert (cqe.res, cqe.flags) == (-errno.EOVERFLOW, 0)
    assert group.next() == 5


def test_room_that_an_int_just_holds(ring: Subject, group: Group, post: Post) -> None:
    """Room that fits in an int, but in no buffer: accepted, and -EFAULT once a datagram is there, of no buffer.

    io_recvmsg_mshot_prep() asks for no more than that; io_recvmsg_prep_multishot()
    """
    group.publish(5)
    vector = _queue(ring, post.near.fileno(), Messages(datagrams=()))
    vector.header.msg_controllen = 0x7FFFFFFF - HEADER
    post.send(Datagram(length=4))

    cqe = ring.ring.complete()[0]

    assert (cqe.res, cqe.flags) == (-errno.EFAULT, 0)
    assert group.next() == 5


@each_kind
@pytest.mark.parametrize("when", ["there", "later"])
def test_a_header_that_cannot_be_written(ring: Subject, post: Post, when: str, kind: Kind) -> None:
    """A buffer whose header falls into a read-only page, its bytes behind it: -EFAULT, the end, and no buffer used.

    copy_to_user() in io_recvmsg_multishot(); the datagram is gone.
    """
    page = ring.arena.anon(2 * libc.PAGE_SIZE)
    ring.arena.protect(page, libc.PAGE_SIZE, libc.PROT_READ)
    addr = page + libc.PAGE_SIZE - HEADER
    group = Group(ring.ring, ring.arena)
    if kind is Kind.RING:
        assert group.register() == 0
        ring.owns(7)
        group.memory.publish(addr, 128, 5)
    else:
        assert legacy(ring.ring, bgid=7, addr=addr, size=128, count=1, bid=5) == 0
    _queue(ring, post.near.fileno(), Messages(datagrams=()))
    if when == "later":
        assert ring.ring.submit() == 1
    post.send(Datagram(length=20))

    cqe = ring.ring.complete()[0]

    assert (cqe.res, cqe.flags) == (-errno.EFAULT, 0)
    if kind is Kind.LEGACY:
        assert remove_legacy(ring.ring, bgid=7, count=3) == 1
    else:
        group.memory.write(0, group.address_of(5), 64, 5)
        assert group.next() == 5


@pytest.mark.needs("inc")
def test_an_incremental_buffer_is_filled(ring: Subject, post: Post) -> None:
    """Two datagrams into one incremental buffer: header and bytes of each use it up, to its end, which cuts the second.

    io_recvmsg(): the payload's room is less than what is used. io_kbuf_inc_commit()
    """
    shelf = Shelf(ring, {5: 64, 9: 64}, flags=c.IOU_PBUF_RING_INC)
    for length in (12, 40, 8):
        post.send(Datagram(length=length))
    _queue(ring, post.near.fileno(), Messages(datagrams=()))

    first, second, third = _replies(ring, 3)

    used = HEADER + 12
    assert first == Reply(res=used, bid=5, more=True, buf_more=True)
    assert second == Reply(res=64 - used, bid=5, more=True)
    assert third == Reply(res=HEADER + 8, bid=9, more=True, buf_more=True)
    assert shelf.rests() == [Rest(5, used, 0), Rest(9, HEADER + 8, 64 - HEADER - 8)]
    assert shelf.head() == 1
    cancel(ring.ring, _REQUEST, own=_CANCEL)
    assert _replies(ring, 2) == [Reply(res=-errno.ECANCELED)]
