"""The words between host and agent: one JSON object a line, over whatever byte stream there is.

Host to agent: `hello` once, then `run` (node ids) and, when a deadline has passed, `abort`; `settle`
(watch the log for some seconds); `quit`. Agent to host: `ready`, then one `done` for each `run` (on a
shared kernel `begun` before it, when its turn has come; `goes on` meanwhile where it runs several), one
`settled` for each `settle`; `failed` when the agent itself cannot go on.
"""

from __future__ import annotations

import base64
import json
import os
import select
import time
import zlib
from typing import Any

Message = dict[str, Any]


CASES = "cases.json"
"""Beside the suite: node ids that a host names by their numbers.

A serial line of User-Mode Linux can stall for good on more than its tty's 4 KiB at once (seen on 6.12; arch/um/drivers/line.c):
what a host says is short, and what is not is packed (`line`).
"""
LINE_BYTES = 3000
"""A longer line is packed; a host asks for no more cases at once than fit."""


def line(message: Message) -> bytes:
    """The message as it travels: of many node ids most letters are the same."""
    plain = json.dumps(message).encode()
    if len(plain) > LINE_BYTES:
        plain = json.dumps({"packed": base64.b64encode(zlib.compress(plain)).decode()}).encode()
    return plain + b"\n"


class Closed(ConnectionError):
    """The other side is gone."""


class Wire:
    """Messages over two file descriptors, read without ever blocking beyond a limit."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd, self.write_fd = read_fd, write_fd
        self._buffer = b""

    def send(self, message: Message) -> None:
        """Closed: nobody reads any more."""
        data = line(message)
        try:
            while data:
                data = data[os.write(self.write_fd, data) :]
        except OSError as error:
            raise Closed(str(error)) from error

    def receive(self, seconds: float | None = None) -> Message | None:
        """The next message, or None after `seconds` without one. Closed: the stream has ended."""
        limit = None if seconds is None else time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = None if limit is None else max(0.0, limit - time.monotonic())
            if not select.select([self.read_fd], [], [], left)[0]:
                return None
            data = os.read(self.read_fd, 1 << 16)
            if not data:
                raise Closed("end of stream")
            self._buffer += data
        said, self._buffer = self._buffer.split(b"\n", 1)
        try:
            message = json.loads(said)
            if "packed" in message:
                message = json.loads(zlib.decompress(base64.b64decode(message["packed"])))
        except (ValueError, TypeError, zlib.error):
            message = None
        if not isinstance(message, dict):
            raise Closed(f"these are no words of an agent's: {said[:200]!r}")
        return message

    def pending(self) -> bool:
        """A whole message has arrived already."""
        return b"\n" in self._buffer
