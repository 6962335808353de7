"""Threads that end, to the last of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ringrig.uring.counters import settled


@pytest.fixture
def in_a_thread() -> Callable[[Callable[[], object]], None]:
    """in_a_thread(work): does it in a thread, to the end of the kernel's task: join() ends before that."""

    def do(work: Callable[[], object]) -> None:
        tids: list[int] = []

        def note_and_work() -> None:
            tids.append(threading.get_native_id())
            work()

        thread = threading.Thread(target=note_and_work)
        thread.start()
        thread.join()
        task = Path(f"/proc/self/task/{tids[0]}")
        # In 6.16 an io-wq worker that idles holds up the end of its thread (WORKER_IDLE_TIMEOUT: 5 s).
        assert not settled(lambda: int(task.exists()), 0, seconds=8)

    return do
