"""What happens before the first case: a live line on a terminal, plain lines in CI."""

from __future__ import annotations

import sys
import time


class Progress:
    """`say` shows a step; on a terminal the last step stays live with its seconds until `done`."""

    def __init__(self) -> None:
        self._status: object = None
        self._began = time.monotonic()

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
        from rich.status import Status

        if isinstance(self._status, Status):
            self._status.stop()
            self._status = None
