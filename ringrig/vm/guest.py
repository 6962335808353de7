"""What every guest is, whatever runs it (design, law 2)."""

from __future__ import annotations

import socket
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
