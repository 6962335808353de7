"""A recording of what a case says to the kernel: calls, what their arguments point to, stores to shared memory.

Cases reach the kernel through ringrig.uring.libc, os, socket and FileIO; start() puts itself between, for the calls that
the suite itself makes (pytest's and Python's own are none of the case's). Before each call everything that changed
in mappings of the case was stored by the application; what has changed after it was written by the kernel.

A recording is a list of JSON objects. A call: name, args, res (or -errno), `stores` and `wrote` (see shadow.Change),
`mem` ([address, kind, hex before, hex after] of what pointers into Python's own memory lead to), `region` (the number of
a new mapping), `data` (what a read got), `new` (descriptors), `thread` (1: not the case's own). `refuse`: why no program
can be made of it.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable
from io import FileIO
from typing import Any

from ringrig.uring import consts as c
from ringrig.uring import counters, libc, syscalls, wire
from ringrig.uring.shadow import Shadow
from ringrig.uring.structs import io_uring_params, io_uring_sqe

Event = dict[str, Any]
MOST_CALLS = 4000
"""A longer course is no text for a person, and takes too long to watch."""

_OPAQUE = {"ringrig.uring.probe", "ringrig.uring.record", "ringrig.uring.counters", "ringrig.uring.stuck"}
"""Modules whose calls are no part of a case's course."""
_NAMES = {
    libc.NR_MREMAP: "mremap",
    libc.NR_IO_URING_SETUP: "io_uring_setup",
    libc.NR_IO_URING_ENTER: "io_uring_enter",
    libc.NR_IO_URING_REGISTER: "io_uring_register",
    libc.NR_MEMFD_SECRET: "memfd_secret",
}
_ARGUMENTS = {
    c.IORING_REGISTER_PBUF_RING: ("io_uring_buf_reg", 40, 0),
    c.IORING_UNREGISTER_PBUF_RING: ("io_uring_buf_reg", 40, 0),
    c.IORING_REGISTER_PBUF_STATUS: ("io_uring_buf_status", 40, 0),
    c.IORING_REGISTER_RESTRICTIONS: ("io_uring_restriction", 0, 16),
    c.IORING_REGISTER_RING_FDS: ("io_uring_rsrc_update", 0, 16),
    c.IORING_UNREGISTER_RING_FDS: ("io_uring_rsrc_update", 0, 16),
}
"""io_uring_register()'s opcode: what `arg` points to, and its size: so much, and so much for each of nr_args."""
_MSGHDR = struct.Struct("<QiIQQQQII")
_IOVEC = struct.Struct("<QQ")


class Recorder:
    """Of one case, in a process of its own: nothing is ever put back."""

    def __init__(self, *, watched: bool) -> None:
        self.events: list[Event] = []
        self._shadow = Shadow()
        self._busy = False
        self._owner = threading.get_ident()
        self._watched = watched
        """The case itself runs in a thread (conftest's ends_within)."""
        self._sqes: dict[int, tuple[int, int, io_uring_params]] = {}
        """By descriptor of a ring: where its SQEs are, how many were looked at, and its parameters."""
        self._params: dict[int, io_uring_params] = {}
        self._queues: dict[int, int] = {}

    def start(self) -> None:
        """From now on."""
        for name in ("_syscall", "_mmap", "_munmap", "_mprotect"):
            setattr(libc, name, self._native(name.lstrip("_"), getattr(libc, name)))
        for name in ("pipe2", "pipe", "open", "close", "read", "write", "pread", "pwrite", "dup"):
            setattr(os, name, self._python(name, getattr(os, name)))
        for name in ("memfd_create", "ftruncate"):
            setattr(os, name, self._python(name, getattr(os, name)))
        self._replace(os.fork, self._refusing("it forks", os.fork))
        self._replace(syscalls.run, self._refusing("its calls are made by machine code", syscalls.run))
        self._replace(wire._tcp, self._python("tcp_pair", wire._tcp, module=None))
        self._replace(counters.settled, self._settled(counters.settled))
        self._replace(FileIO, _file_class(self))
        self._replace(socket.socketpair, self._python("socketpair", socket.socketpair))
        for name in ("send", "sendall", "recv", "shutdown", "setsockopt"):
            setattr(socket.socket, name, self._python(name, getattr(socket.socket, name)))
        for name in ("bind", "connect", "listen", "sendto", "sendmsg", "recvmsg", "accept"):
            plain = getattr(socket.socket, name)
            setattr(socket.socket, name, self._refusing(f"it calls {name}() on a socket", plain))
        setattr(socket.socket, "close", self._closing(socket.socket.close))  # noqa: B010

    def _replace(self, plain: Any, other: Any) -> None:
        """Under whatever name a module of the suite knows it."""
        for name, module in list(sys.modules.items()):
            if name == __name__:
                continue
            if name.split(".")[0] in {"ringrig", "suites", "os", "socket"} or "test_" in name:
                for key, value in list(vars(module).items()):
                    if value is plain:
                        setattr(module, key, other)

    def refuse(self, why: str) -> None:
        """No program can be made of this course."""
        self.events.append({"refuse": why})

    def _refusing(self, why: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **options: Any) -> Any:
            if not self._busy and self._is_case():
                self.refuse(why)
            return plain(*args, **options)

        return wrapper

    def _is_case(self) -> bool:
        name = sys._getframe(2).f_globals.get("__name__", "")
        return name not in _OPAQUE and (
            name.startswith(("ringrig.uring", "ringrig.model", "suites")) or "test_" in name
        )

    def _native(self, name: str, plain: Callable[..., int]) -> Callable[..., int]:
        """A ctypes function, whose errno must survive."""

        def wrapper(*args: int) -> int:
            caller = sys._getframe(2).f_globals.get("__name__", "")
            if self._busy or caller in _OPAQUE:
                return plain(*args)
            called, given = name, list(args)
            if name == "syscall":
                called, given = _NAMES.get(args[0], f"syscall {args[0]}"), given[1:]
            elif name == "mmap":
                given = [args[0], args[1], args[2], args[3], args[4], args[5]]
            event = self._begin(called, given)
            res = plain(*args)
            error = ctypes.get_errno()
            event["res"] = -error if res == -1 else res
            self._mapped(event)
            self._end(event)
            ctypes.set_errno(error)
            return res

        return wrapper

    def _python(self, name: str, plain: Callable[..., Any], *, module: str | None = "") -> Callable[..., Any]:
        """A function of os, socket or the suite, which raises OSError."""

        def wrapper(*args: Any, **options: Any) -> Any:
            if self._busy or (module is not None and not self._is_case()):
                return plain(*args, **options)
            event = self._begin(name, [_plain(one) for one in (*args, *options.values())])
            self._busy = True
            try:
                found = plain(*args, **options)
            except OSError as error:
                event["res"] = -(error.errno or 0)
                raise
            else:
                self._returned(event, found)
                return found
            finally:
                self._busy = False
                self._end(event)

        return wrapper

    def _closing(self, plain: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
        def wrapper(one: socket.socket) -> None:
            if self._busy or one.fileno() < 0 or not self._is_case():
                return plain(one)
            event = self._begin("close", [one.fileno()])
            plain(one)
            event["res"] = 0
            self._end(event)

        return wrapper

    def _settled(self, plain: Callable[..., int]) -> Callable[..., int]:
        def wrapper(*args: Any, **options: Any) -> int:
            if self._busy:
                return plain(*args, **options)
            event = self._begin("settle", [])
            self._busy = True
            try:
                return plain(*args, **options)
            finally:
                self._busy = False
                event["res"] = 0
                self._end(event)

        return wrapper

    def _returned(self, event: Event, found: Any) -> None:
        event["res"] = 0
        if isinstance(found, bytes):
            event["res"], event["data"] = len(found), found.hex()
        elif isinstance(found, tuple):
            event["new"] = [_plain(one) for one in found]
        elif isinstance(found, int):
            event["res"] = found
            if event["call"] in {"open", "dup", "memfd_create"}:
                event["new"] = [found]

    def _begin(self, name: str, args: list[Any]) -> Event:
        me = threading.get_ident()
        if self._watched and me != self._owner:
            self._owner, self._watched = me, False
        if len(self.events) == MOST_CALLS:
            self.refuse(f"it makes more than {MOST_CALLS} calls")
        if len(self.events) >= MOST_CALLS:
            return {"args": args, "call": name, "mem": []}
        event: Event = {"call": name, "args": args, "stores": self._shadow.changes()}
        if me != self._owner:
            event["thread"] = 1
        event["mem"] = [
            [at, kind, self._shadow.read(at, size).hex()] for at, kind, size in self._pointees(name, args)
        ]
        self.events.append(event)
        return event

    def _end(self, event: Event) -> None:
        if "stores" not in event:
            return
        event["wrote"] = self._shadow.changes()
        for one in event["mem"]:
            one.append(self._shadow.read(one[0], len(one[2]) // 2).hex())

    def _mapped(self, event: Event) -> None:
        """Mappings come and go with some calls, and rings too."""
        name, args, res = event["call"], event["args"], event["res"]
        if name == "mmap" and res > 0:
            event["region"] = self._shadow.add(res, args[1])
            if args[4] in self._params and args[5] == c.IORING_OFF_SQES:
                self._sqes[args[4]] = (res, 0, self._params[args[4]])
            elif args[4] in self._params and args[5] == c.IORING_OFF_SQ_RING:
                self._queues[args[4]] = res
        elif name == "munmap" and res == 0:
            self._shadow.drop(args[0], args[1])
        elif name == "mremap" and res > 0:
            self._shadow.drop(args[0], args[1])
            event["region"] = self._shadow.add(res, args[2])
        elif name == "io_uring_setup" and res >= 0:
            self._params[res] = io_uring_params.from_buffer_copy(ctypes.string_at(args[1], 120))

    def _pointees(self, name: str, args: list[Any]) -> list[tuple[int, str, int]]:
        """(address, kind, size) of what the kernel will look at in Python's own memory."""
        found: list[tuple[int, str, int]] = []
        if name == "io_uring_setup":
            found.append((args[1], "io_uring_params", 120))
        elif name == "io_uring_register":
            known = _ARGUMENTS.get(args[1] & ~c.IORING_REGISTER_USE_REGISTERED_RING)
            if known is not None:
                found.append((args[2], known[0], known[1] + known[2] * min(args[3], 64)))
            elif args[2]:
                self.refuse(
                    f"io_uring_register() with opcode {args[1]} takes an argument that is not known here"
                )
        elif name == "io_uring_enter":
            if args[3] & c.IORING_ENTER_EXT_ARG and args[4]:
                found += [(args[4], "io_uring_getevents_arg", 24)]
                found += [(_u64(self._shadow.read(args[4] + 16, 8)), "kernel_timespec", 16)]
            found += self._of_requests(args[0])
        return [one for one in found if one[0] and not self._shadow.knows(one[0])]

    def _of_requests(self, fd: int) -> list[tuple[int, str, int]]:
        """What requests point to that were queued since the last submission."""
        if fd not in self._sqes or fd not in self._queues:
            return []
        base, seen, params = self._sqes[fd]
        tail = int.from_bytes(self._shadow.at(self._queues[fd] + params.sq_off.tail, 4), "little")
        stride = 128 if params.flags & c.IORING_SETUP_SQE128 else 64
        found: list[tuple[int, str, int]] = []
        for number in range(seen, tail):
            raw = self._shadow.at(base + (number & params.sq_entries - 1) * stride, 64)
            sqe = io_uring_sqe.from_buffer_copy(raw)
            if sqe.opcode in {c.IORING_OP_READV, c.IORING_OP_WRITEV}:
                found.append((sqe.addr, "iovec", 16 * min(sqe.len, 1024)))
            elif sqe.opcode in {c.IORING_OP_RECVMSG, c.IORING_OP_SENDMSG}:
                found.append((sqe.addr, "msghdr", _MSGHDR.size))
                header = self._shadow.read(sqe.addr, _MSGHDR.size)
                if len(header) == _MSGHDR.size:
                    _, _, _, vector, count, *_ = _MSGHDR.unpack(header)
                    found.append((vector, "iovec", _IOVEC.size * min(count, 1024)))
            elif sqe.opcode in {c.IORING_OP_TIMEOUT, c.IORING_OP_LINK_TIMEOUT}:
                found.append((sqe.addr, "kernel_timespec", 16))
            elif not sqe.flags & c.IOSQE_BUFFER_SELECT and sqe.opcode in {
                *(c.IORING_OP_READ, c.IORING_OP_WRITE),
                *(c.IORING_OP_SEND, c.IORING_OP_RECV),
            }:
                found.append((sqe.addr, "bytes", min(sqe.len, 1 << 16)))
        self._sqes[fd] = (base, tail, params)
        return found


def _u64(raw: bytes) -> int:
    return int.from_bytes(raw, "little")


def _plain(value: Any) -> Any:
    """A call's argument for JSON: descriptors as numbers, bytes as hex."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, socket.socket):
        return value.fileno()
    return int(value) if isinstance(value, int) else str(value)


def _file_class(recorder: Recorder) -> type[FileIO]:
    """FileIO as the suite sees it: its calls are recorded as those of os."""

    class Recorded(FileIO):
        def __init__(self, file: Any, mode: str = "r", **options: Any) -> None:
            super().__init__(file, mode, **options)
            if isinstance(file, str) and not recorder._busy:
                event = recorder._begin("open", [file, os.O_RDONLY | os.O_CLOEXEC])
                event["res"], event["new"] = 0, [self.fileno()]
                recorder._end(event)

        def write(self, data: Any) -> Any:
            return recorder._python("write", lambda _, what: FileIO.write(self, what), module=None)(
                self.fileno(), data
            )

        def read(self, size: int | None = -1) -> Any:
            return recorder._python("read", lambda _, room: FileIO.read(self, room) or b"", module=None)(
                self.fileno(), size
            )

        def close(self) -> None:
            if self.closed or recorder._busy:
                return super().close()
            event = recorder._begin("close", [self.fileno()])
            super().close()
            event["res"] = 0
            recorder._end(event)

    return Recorded
