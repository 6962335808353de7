"""The way to a running QEMU: its sockets, and as much of its monitor protocol (QMP) as the rig needs."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path


class Monitor:
    """A QMP session on a connected socket; OSError when QEMU is gone or refuses."""

    def __init__(self, channel: socket.socket, *, seconds: float = 5.0) -> None:
        channel.settimeout(seconds)
        self._channel = channel
        self._lines = channel.makefile("r", encoding="utf-8")

    def __enter__(self) -> Monitor:
        self._answer("QMP")
        self.execute("qmp_capabilities")
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._channel.close()

    def execute(self, command: str, **arguments: object) -> object:
        """The command's return value; events that arrive meanwhile are dropped."""
        self._channel.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        return self._answer("return")

    def _answer(self, key: str) -> object:
        for line in self._lines:
            message = json.loads(line)
            if "error" in message:
                raise OSError(f"QMP: {message['error'].get('desc')}")
            if key in message:
                return message[key]
        raise OSError("QMP: the monitor is gone")


class Reach:
    """Connects to UNIX sockets in a folder whose path may be longer than the 108 bytes of an address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Reach:
        self._fd = os.open(self._folder, os.O_PATH)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def connect(self, name: str) -> socket.socket:
        out = socket.socket(socket.AF_UNIX)
        try:
            out.connect(f"/proc/self/fd/{self._fd}/{name}")
        except OSError:
            out.close()
            raise
        return out
