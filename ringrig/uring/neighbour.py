"""Another process, told what to do with a ring: how it ends, and what of it outlives it, is for cases to see."""

from __future__ import annotations

import ctypes
import os
import pickle
import resource
import signal
import socket
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Self

from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.bufring import BufRing
from ringrig.uring.group import legacy
from ringrig.uring.layout import MERGED
from ringrig.uring.memory import Arena
from ringrig.uring.probe import known_layout
from ringrig.uring.requests import iovec, selecting
from ringrig.uring.ring import Cqe, Ring
from ringrig.uring.structs import io_uring_params

_LONGEST = 1 << 16


class Player:
    """What a neighbour can be told: each method is one thing it does, with a ring of its own or one it was given."""

    def __init__(self) -> None:
        self.arena = Arena()
        self.fd = -1
        self.params = io_uring_params()
        self.memory: BufRing | None = None

    def make(self, flags: int = 0) -> bytes:
        """A new ring; its parameters."""
        ring = Ring(8, flags)
        self.fd, self.params = os.dup(ring.fd), ring.params
        ring.close()
        return bytes(self.params)

    def take(self, params: bytes, fd: int) -> None:
        """A ring that somebody else set up, by a descriptor of this process's."""
        self.fd, self.params = fd, io_uring_params.from_buffer_copy(params)

    def fetch(self, params: bytes, pid: int, fd: int) -> None:
        """A ring of process `pid`'s, by pidfd_getfd()."""
        self.take(params, fetched(pid, fd))

    def descriptor(self, *, keep: bool = False) -> int:
        """The number of its descriptor; `keep`: from now on one that exec() leaves open."""
        os.set_inheritable(self.fd, keep)
        return self.fd

    def ring(self) -> Ring:
        """The ring with its queues as they are now: others use them in between."""
        return Ring.adopt(os.dup(self.fd), self.params)

    def register(self, *, bgid: int, flags: int = 0, entries: int = 8) -> int:
        """A buffer ring in memory of this process, or the kernel's, mapped."""
        layout = known_layout()
        with self.ring() as ring:
            if not flags & c.IOU_PBUF_RING_MMAP:
                addr = self.arena.anon(layout.size(entries))
                self.memory = BufRing(addr, entries, layout)
                return bufring.register(ring, addr=addr, entries=entries, bgid=bgid, flags=flags)
            res = bufring.register(ring, entries=entries, bgid=bgid, flags=flags)
            return res or self.map(bgid=bgid, entries=entries)

    def map(self, *, bgid: int, entries: int = 8) -> int:
        """mmap() of a ring in kernel memory: 0 or -errno."""
        with self.ring() as ring:
            addr = bufring.map_kernel_ring(ring, bgid=bgid, entries=entries)
        if addr < 0:
            return addr
        self.memory = BufRing(addr, entries, MERGED)
        return 0

    def publish(self, addr: int, length: int, *bids: int) -> None:
        """Buffers behind one another from `addr` on, through the mapping that register() or map() made."""
        assert self.memory is not None
        for at, bid in enumerate(bids):
            self.memory.publish(addr + at * length, length, bid)

    def provide(self, addr: int, length: int, bid: int, count: int, *, bgid: int) -> int:
        """PROVIDE_BUFFERS: its result."""
        with self.ring() as ring:
            return legacy(ring, bgid=bgid, addr=addr, size=length, count=count, bid=bid)

    def read(self, data: bytes, *, bgid: int) -> Cqe:
        """A READ that selects, of a pipe that holds `data`."""
        reader, writer = os.pipe()
        os.write(writer, data)
        with self.ring() as ring:
            selecting(ring, c.IORING_OP_READ, reader, bgid=bgid)
            cqe = ring.complete()[0]
        os.close(reader)
        os.close(writer)
        return cqe

    def room(self, length: int) -> int:
        """The address of memory of this process, all zero."""
        return self.arena.anon(length)

    def content(self, addr: int, length: int) -> bytes:
        """Memory of this process."""
        return ctypes.string_at(addr, length)

    def unregister(self, *, bgid: int) -> int:
        with self.ring() as ring:
            return bufring.unregister(ring, bgid)

    def head(self, *, bgid: int) -> int:
        with self.ring() as ring:
            return bufring.head(ring, bgid)

    def register_buffers(self, count: int) -> int:
        """IORING_REGISTER_BUFFERS of so many pages of this process: 0 or -errno."""
        pages = (iovec * 1)(iovec(self.arena.anon(count * libc.PAGE_SIZE), count * libc.PAGE_SIZE))
        with self.ring() as ring:
            return ring.register(c.IORING_REGISTER_BUFFERS, ctypes.addressof(pages), 1)

    def lock_no_memory(self) -> None:
        """RLIMIT_MEMLOCK of 0."""
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))

    def drop_rights(self) -> None:
        """Be nobody, if this is root."""
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)


class Neighbour:
    """A forked process with a Player in it. It ends with end() or kill(), or as another program (become())."""

    def __init__(self, *works: Callable[[], Any]) -> None:
        """`works`: what it can be told to do by number, with all that this process has now (work())."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if not self.pid:
            ours.close()
            _serve(theirs, works)
        theirs.close()
        self._line = ours
        self._ended = False

    def ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        """What the Player's method returns; AssertionError, with the traceback, if it raised."""
        self._line.send(pickle.dumps((method, arguments, options)))
        answer = self._line.recv(_LONGEST)
        if not answer:
            raise AssertionError(f"the neighbour ended in {method}()")
        failed, value = pickle.loads(answer)
        if failed:
            raise AssertionError(f"in the neighbour: {failed}")
        return value

    def work(self, number: int = 0) -> Any:
        """Do one of the things it was forked with."""
        return self.ask("work", number)

    def descriptor(self, number: int) -> int:
        """pidfd_getfd(): its descriptor as one of this process's, or -errno."""
        return fetched(self.pid, number)

    def become(self, program: str) -> None:
        """Execute a program that waits for its standard input; back as soon as it runs."""
        reader, writer = os.pipe()
        socket.send_fds(self._line, [pickle.dumps(("become", (program,), {}))], [writer])
        os.close(writer)
        error = os.read(reader, _LONGEST)
        os.close(reader)
        if error:
            raise AssertionError(f"{program} does not run: {error.decode()}")

    def kill(self) -> None:
        """SIGKILL. Its requests are cancelled when this returns (do_exit(): io_uring_files_cancel())."""
        self._end(lambda: os.kill(self.pid, signal.SIGKILL))

    def end(self) -> None:
        """It exits by itself."""
        self._end(lambda: None)

    def _end(self, how: Callable[[], None]) -> None:
        if not self._ended:
            how()
            self._line.close()
            os.waitpid(self.pid, 0)
            self._ended = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def fetched(pid: int, number: int) -> int:
    """Descriptor `number` of process `pid` as one of this process's (pidfd_getfd()), or -errno."""
    pidfd = os.pidfd_open(pid)
    fd = libc.syscall(libc.NR_PIDFD_GETFD, pidfd, number)
    os.close(pidfd)
    return fd


def _serve(line: socket.socket, works: Sequence[Callable[[], Any]]) -> NoReturn:
    player = Player()
    try:
        while True:
            message, fds, *_ = socket.recv_fds(line, _LONGEST, 1)
            if not message:
                break
            method, arguments, options = pickle.loads(message)
            answer: tuple[str, Any] = ("", None)
            try:
                if method == "become":
                    _become(line, *arguments, *fds)
                elif method == "work":
                    answer = ("", works[arguments[0]]())
                else:
                    answer = ("", getattr(player, method)(*arguments, **options))
            except BaseException:
                answer = (traceback.format_exc(), None)
            line.send(pickle.dumps(answer))
    finally:
        os._exit(0)


def _become(line: socket.socket, program: str, told: int) -> None:
    """The program's input is the line to the parent, its descriptor `told` closes as it starts."""
    os.set_inheritable(told, False)
    try:
        os.dup2(line.fileno(), 0)
        os.execv(program, [program])
    except OSError as error:
        os.write(told, str(error).encode())
