"""A file whose reads another thread answers: FUSE, read past the page cache, where a read may complete later.

The file is the root of a file system of its own, mounted nowhere; it can be polled, and is always ready.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from ringrig.uring import libc
from ringrig.uring.memory import Unavailable

_FSCONFIG_SET_STRING: Final = 1
_FSCONFIG_CMD_CREATE: Final = 6
_REQUEST = struct.Struct("<IIQQIIII")
"""struct fuse_in_header: len, opcode, unique, nodeid, uid, gid, pid, lengths of extensions."""
_REPLY = struct.Struct("<IiQ")
"""struct fuse_out_header: len, error, unique."""
_GETATTR, _OPEN, _READ, _RELEASE, _FLUSH, _INIT = 3, 14, 15, 18, 25, 26
_FORGET = 2
_ASYNC_DIO: Final = 1 << 15
_LARGEST_WRITE = 4096
_LONGEST = 8192 + _LARGEST_WRITE


def look() -> int:
    """0; Unavailable where nobody could make a file system here."""
    if os.geteuid() != 0:
        raise Unavailable(errno.EPERM, "mounting FUSE wants root")
    os.close(_open_line())
    return 0


def _open_line() -> int:
    try:
        return os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise Unavailable(error.errno, f"/dev/fuse: {error.strerror}") from error


class FuseFile:
    """`fd`: a file that holds `data`, opened with O_DIRECT. OSError, Unavailable where look() says so."""

    def __init__(self, data: bytes) -> None:
        self._data, self._line = data, _open_line()
        options = {"fd": str(self._line), "rootmode": "100444", "user_id": "0", "group_id": "0"}
        try:
            root = _mount(options)
        except OSError:
            os.close(self._line)
            raise
        self._served = threading.Thread(target=self._serve, daemon=True)
        self._served.start()
        try:
            self.fd = os.open(f"/proc/self/fd/{root}", os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
        finally:
            os.close(root)

    def _serve(self) -> None:
        """Until it is unmounted (ENODEV). Nobody is left waiting: without its server all requests fail."""
        try:
            self._serve_requests()
        finally:
            os.close(self._line)

    def _serve_requests(self) -> None:
        while True:
            try:
                request = os.read(self._line, _LONGEST)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                raise
            _, opcode, unique, *_ = _REQUEST.unpack_from(request)
            answer = self._answer(opcode, request[_REQUEST.size :])
            if opcode == _FORGET:
                continue
            body, res = answer or b"", 0 if answer is not None else -errno.ENOSYS
            with suppress(FileNotFoundError):  # who asked has gone
                os.write(self._line, _REPLY.pack(_REPLY.size + len(body), res, unique) + body)

    def _answer(self, opcode: int, asked: bytes) -> bytes | None:
        """What follows the header of the reply; None: there is no such operation (POLL: always ready)."""
        if opcode == _INIT:
            return struct.pack("<4I2HI40x", 7, 31, 0, _ASYNC_DIO, 16, 16, _LARGEST_WRITE)
        if opcode == _GETATTR:
            mode, links = 0o100444, 1
            attributes = struct.pack(
                "<QQQQQQIIIIIIIIII", 1, len(self._data), 1, 0, 0, 0, *[0] * 3, mode, links, *[0] * 5
            )
            return struct.pack("<QII", 3600, 0, 0) + attributes
        if opcode == _OPEN:
            return struct.pack("<QII", 0, 0, 0)
        if opcode == _READ:
            _, offset, size = struct.unpack_from("<QQI", asked)
            return self._data[offset : offset + size]
        return b"" if opcode in {_FLUSH, _RELEASE} else None

    def close(self) -> None:
        """The file system goes with the last descriptor of its file."""
        os.close(self.fd)
        self._served.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _done(res: int) -> int:
    if res < 0:
        raise OSError(-res, os.strerror(-res))
    return res


def _mount(options: dict[str, str]) -> int:
    """The root of a new file system."""
    kind = ctypes.create_string_buffer(b"fuse")
    fs = _done(libc.syscall(libc.NR_FSOPEN, ctypes.addressof(kind), 0))
    try:
        for name, value in options.items():
            words = [ctypes.create_string_buffer(word.encode()) for word in (name, value)]
            _done(libc.syscall(libc.NR_FSCONFIG, fs, _FSCONFIG_SET_STRING, *map(ctypes.addressof, words)))
        _done(libc.syscall(libc.NR_FSCONFIG, fs, _FSCONFIG_CMD_CREATE))
        return _done(libc.syscall(libc.NR_FSMOUNT, fs))
    finally:
        os.close(fs)
