"""What every guest is, whatever runs it (design, law 2)."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class Guest(Protocol):
    """A console to read, a byte stream to speak SSH over, a way to end it."""

    name: str
    console: Path
    """The console's log, which grows while the guest lives."""
    facts: dict[str, object]
    """How it was started, for the run folder: command line, versions, accelerator, CPUs, memory."""
    slowness: float
    """By how much deadlines scale: 1 at native speed, more under emulation."""

    def stream(self) -> socket.socket:
        """A fresh byte stream to the guest's SSH server, as soon as that has spoken.

        NoBoot when it never does.
        """
        ...

    def alive(self) -> bool: ...

    def dump(self) -> None:
        """Make the kernel print its stacks on the console, as far as it still can."""
        ...

    def end(self) -> None:
        """End it at once, with every process of it; a second call does nothing."""
        ...


def await_word(channel: socket.socket, *, alive: Callable[[], bool], deadline: float) -> str | None:
    """None as soon as the guest's SSH server has spoken (nothing is read); otherwise why it never will."""
    while True:
        channel.settimeout(0.25)
        try:
            first = channel.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            first = None
        except OSError:
            first = b""
        if first:
            channel.settimeout(None)
            return None
        if first == b"" or not alive():
            return "it ended before it answered"
        if time.monotonic() > deadline:
            return "it did not answer in time"


def last_words(console: Path, log: Path | None = None) -> str:
    """The end of what a guest printed, and of what the program said that runs it, for a message."""
    lines = console.read_text(errors="replace").splitlines() if console.exists() else []
    said = log.read_text(errors="replace").strip().splitlines() if log and log.exists() else []
    return (
        "\n".join(f"  | {line}" for line in [*said[-6:], *lines[-20:]]) or "  | (not a byte on the console)"
    )
