"""Programs that several threads run at once, and end together: at Ctrl-C, or when this process dies.

Run as a script, this file is what stands between: it asks the kernel for a signal at its parent's death, then becomes
the program. A process with threads may do nothing of that kind between fork and exec.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

STOPPED = 128 + signal.SIGINT
"""The exit code of a program that was ended, or not begun, because all were to end."""
GRACE = 60.0
"""Seconds for a session to write its results and end its guests after the first signal."""
_PR_SET_PDEATHSIG = 1
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Children:
    """The programs that threads of this process wait for; each is the leader of a process group of its own.

    So a terminal's Ctrl-C reaches this process alone, which passes it on once: pytest takes a second one for impatience.
    """

    def __init__(self) -> None:
        # Reentrant, because the handler of a signal may come upon its own thread in here.
        self._changed = threading.Condition(threading.RLock())
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def wait_for(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        output: BinaryIO | None = None,
        env: Mapping[str, str] | None = None,
    ) -> int:
        """Runs a program to its end; its exit code, 128 + N if signal N ended it, STOPPED after stop().

        It reads nothing; what it prints goes to `output`, else nowhere. To be called from any thread.
        """
        with self._changed:
            if self._stopped:
                return STOPPED
            # Until it has become the program: an interpreter that starts may lose a signal.
            old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                child = subprocess.Popen(
                    bound(command),
                    cwd=cwd,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output or subprocess.DEVNULL,
                    stderr=subprocess.STDOUT,
                    process_group=0,
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, old)
            self._running.add(child)
        try:
            code = child.wait()
        finally:
            with self._changed:
                stopped = self._stopped
                self._running.discard(child)
                self._changed.notify_all()
        return STOPPED if stopped else code if code >= 0 else 128 - code

    @property
    def stopped(self) -> bool:
        return self._stopped

    def stop(self) -> None:
        """Ends all that run, as Ctrl-C would, and lets none begin until again(). Does not wait for them."""
        with self._changed:
            self._stopped = True
            for child in self._running:
                child.send_signal(signal.SIGINT)

    def end(self) -> None:
        """As stop(), and none runs afterwards: those that take longer than GRACE are killed with their process groups."""
        self.stop()
        with self._changed:
            if self._changed.wait_for(lambda: not self._running, timeout=GRACE):
                return
            for child in self._running:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            self._changed.wait_for(lambda: not self._running)

    def again(self) -> None:
        """After end(): others may begin."""
        self._stopped = False


def bound(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` and sends it SIGINT should the thread that starts it die."""
    return [sys.executable, "-SI", __file__, str(os.getpid()), *command]


@contextmanager
def ending(told: Callable[[], None]) -> Iterator[None]:
    """Within it, Ctrl-C, TERM and HUP are a KeyboardInterrupt here, the first of them; each calls `told`.

    Of use in the main thread only.
    """
    seen = False

    def handle(_number: int, _frame: object) -> None:
        nonlocal seen
        told()
        if not seen:
            seen = True
            raise KeyboardInterrupt

    old = {number: signal.signal(number, handle) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _become(parent: int, command: list[str]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent:  # it died before the kernel was asked
        sys.exit(STOPPED)
    # A shell has what it starts in the background ignore it, and an ignored signal is inherited.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.execvp(command[0], command)


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
