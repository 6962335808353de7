"""Two connected stream sockets: a request has one end, the case the other."""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import socket
import termios
from collections.abc import Iterator
from contextlib import contextmanager

from ringrig.uring.counters import peeked, settled
from ringrig.uring.memory import Arena

_ROOM = 1 << 20


class Wire:
    """AF_UNIX, or TCP over loopback, which alone tells every kernel how much is left in the socket (msg_inq)."""

    def __init__(self, arena: Arena, *, tcp: bool = False) -> None:
        self.tcp = tcp
        near, self._far = _tcp() if tcp else socket.socketpair()
        near.setblocking(False)
        self.near = arena.own(near.detach())

    def feed(self, data: bytes) -> None:
        """Send `data` to the request's end, and see it there behind what was unread before."""
        wanted = self.unread() + len(data)
        self._far.sendall(data)
        if settled(self.unread, wanted) != wanted:
            raise OSError(f"{self.unread()} of {wanted} bytes have come")

    def send(self, data: bytes) -> None:
        """Send `data` to a request that waits for it."""
        self._far.sendall(data)

    def urge(self) -> None:
        """A byte of urgent data (TCP): no receive goes beyond the place where it came, nor gets it (tcp_recvmsg())."""
        self._far.send(b"!", socket.MSG_OOB)
        poll = select.poll()
        poll.register(self.near, select.POLLPRI)
        if not poll.poll(10_000):
            raise OSError("the urgent byte has not come")

    def end(self) -> None:
        """No more data: the request's end sees the end of the stream once it has read all."""
        self._far.shutdown(socket.SHUT_WR)
        poll = select.poll()
        poll.register(self.near, select.POLLRDHUP)
        if not poll.poll(10_000):
            raise OSError("the end of the stream has not come")

    def shut(self) -> None:
        """No more data from the request's end's side: it sees the end of the stream once it has read what is there."""
        with self._near() as near:
            near.shutdown(socket.SHUT_RD)

    @contextmanager
    def _near(self) -> Iterator[socket.socket]:
        """The request's end as Python knows sockets; it stays open."""
        near = socket.socket(fileno=self.near)
        try:
            yield near
        finally:
            near.detach()

    def close(self) -> None:
        """Nobody is there any more: what is sent fails."""
        self._far.close()

    def narrow(self) -> None:
        """The request's end takes as little as can be (SO_SNDBUF) before a send has to wait."""
        with self._near() as near:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

    def received(self, length: int = 0) -> bytes:
        """What the request's end has sent: `length` bytes of it, waited for, or (0) all that is there."""
        if length:
            return self._far.recv(length, socket.MSG_WAITALL)
        try:
            return self._far.recv(_ROOM, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""

    def unread(self) -> int:
        """Bytes that wait at the request's end: FIONREAD, but for AF_UNIX, where 6.17 to 6.18.15 count a message that is
        partly read whole.
        """
        if not self.tcp:
            return peeked(self.near, _ROOM)
        count = ctypes.c_int()
        fcntl.ioctl(self.near, termios.FIONREAD, count)
        return count.value


def stuff(near: int) -> int:
    """Send bytes of 0xFF from a socket that does not block until it takes no more: so many."""
    done = 0
    try:
        while True:
            done += os.write(near, b"\xff" * 4096)
    except BlockingIOError:
        return done


def _tcp() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far
