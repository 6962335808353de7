"""What happens before the first case: a live line on a terminal, plain lines in CI."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.status import Status


class Progress:
    """`say` shows a step; on a terminal a spinner stays below it until `done`."""

    def __init__(self) -> None:
        self._status: Status | None = None

    def say(self, text: str) -> None:
        if not sys.stderr.isatty():
            print(f"rig: {text}", file=sys.stderr, flush=True)
            return
        from rich.console import Console

        self.done()
        console = Console(stderr=True, highlight=False)
        console.print(f"[dim]rig:[/dim] {text}", markup=True)
        self._status = console.status("working …", spinner="dots")
        self._status.start()

    def done(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
