"""A SEND of a selected buffer that says where to."""

from __future__ import annotations

import ctypes
import socket
import struct

import pytest

from ringrig.model.shelf import Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply
from ringrig.uring import consts as c

pytestmark = [pytest.mark.needs("send_select"), pytest.mark.ends_within(3)]


def _receiver() -> tuple[socket.socket, ctypes.Array[ctypes.c_char]]:
    """A datagram socket with a name that nobody has, and its struct sockaddr_un as far as it counts."""
    one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.setblocking(False)
    one.bind("")
    name = struct.pack("<H", socket.AF_UNIX) + one.getsockname()
    return one, ctypes.create_string_buffer(name, len(name))


@pytest.mark.parametrize("connected", [False, True], ids=["unconnected", "connected_elsewhere"])
@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_a_buffer_goes_to_the_address(ring: Subject, kind: Kind, connected: bool) -> None:
    """addr2 and addr_len are another's than the socket is connected to, if it is: that one gets it. io_send_setup()"""
    shelf = Shelf(ring, {5: 64, 2: 64}, kind=kind)
    stream = shelf.load()
    (wanted, name), (other, _) = _receiver(), _receiver()
    with wanted, other, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as near:
        if connected:
            near.connect(other.getsockname())
        sqe = shelf.queue(c.IORING_OP_SEND, near.fileno())
        sqe.addr2, sqe.file_index = (
            ctypes.addressof(name),
            len(name),
        )  # addr_len is the lower half of file_index
        found = shelf.to_the_end()

        assert found == [Reply(res=64, bid=5)]
        assert wanted.recv(128) == stream[:64]
        with pytest.raises(BlockingIOError):
            other.recv(128)
    assert shelf.left() == [(2, 64)]


def test_an_address_is_that_of_one_request(ring: Subject) -> None:
    """A SEND with an address, then one without, which has the first one's memory: its peer gets it. io_send_setup(): msg_name"""
    shelf = Shelf(ring, {5: 64, 2: 64})
    stream = shelf.load()
    (named, name), (peer, _) = _receiver(), _receiver()
    with named, peer, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as near:
        near.connect(peer.getsockname())
        sqe = shelf.queue(c.IORING_OP_SEND, near.fileno())
        sqe.addr2, sqe.file_index = ctypes.addressof(name), len(name)
        assert shelf.to_the_end() == [Reply(res=64, bid=5)]
        shelf.queue(c.IORING_OP_SEND, near.fileno())
        assert shelf.to_the_end() == [Reply(res=64, bid=2)]

        assert named.recv(128) == stream[:64]
        assert peer.recv(128) == stream[64:]
        with pytest.raises(BlockingIOError):
            named.recv(128)
