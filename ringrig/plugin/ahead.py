"""Guests that boot while a case runs in another: with a fresh guest for every case, booting is most of the time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ringrig.errors import RigError
from ringrig.vm.machine import Machine


@dataclass(slots=True)
class _Coming:
    machine: Machine
    thread: threading.Thread
    error: list[RigError] = field(default_factory=list)


class Ahead:
    """At most `depth` machines on their way; `ready` waits for one, in a thread of its own."""

    def __init__(self, start: Callable[[], Machine], *, ready: Callable[[Machine], None], depth: int) -> None:
        self._start, self._ready, self._depth = start, ready, depth
        self._coming: deque[_Coming] = deque()
        self._over = False

    def fill(self) -> None:
        """Start what is missing. Called from a thread that lives on: bubblewrap dies with the one that started it."""
        while len(self._coming) < self._depth:
            machine = self._start()
            errors: list[RigError] = []
            thread = threading.Thread(target=self._wait, args=(machine, errors), daemon=True)
            self._coming.append(_Coming(machine, thread, errors))
            thread.start()

    def _wait(self, machine: Machine, errors: list[RigError]) -> None:
        try:
            self._ready(machine)
        except RigError as error:
            errors.append(error)
        except OSError:
            if not self._over:  # its descriptors were closed while it waited
                raise

    def take(self) -> Machine | None:
        """The one that was started first, ready; None: none was started. RigError: why it did not come."""
        if not self._coming:
            return None
        coming = self._coming.popleft()
        coming.thread.join()
        if coming.error:
            coming.machine.end()
            raise coming.error[0]
        return coming.machine

    def end(self) -> None:
        """Give up those that nobody took; no more will come."""
        self._over = True
        while self._coming:
            coming = self._coming.popleft()
            coming.machine.end()
            coming.thread.join()
