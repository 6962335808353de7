"""Seven cases, five disasters: exactly those five may fail, each with its own lines."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.crashes
Disaster = Callable[[str], None]


def test_1_is_well(disaster: Disaster) -> None:
    """Loads the module and does nothing."""


def test_2_leaves_much_behind() -> None:
    """Descriptors and a process left behind die with the case's child."""
    for _ in range(100):
        os.pipe()
    if os.fork() == 0:
        os.setsid()
        time.sleep(1000)


def test_3_panics(disaster: Disaster) -> None:
    disaster("panic")


def test_4_hangs_in_user_space() -> None:
    signal.pause()


def test_5_locks_up_the_kernel(disaster: Disaster) -> None:
    """Interrupts off for ever, on every CPU."""
    for cpu in sorted(os.sched_getaffinity(0))[1:]:
        if os.fork() == 0:
            os.sched_setaffinity(0, {cpu})
            disaster("lockup")
    os.sched_setaffinity(0, {0})
    disaster("lockup")


def test_6_warns(disaster: Disaster) -> None:
    disaster("warn")


def test_7_loses_its_qemu() -> None:
    """The test outside kills QEMU when it sees this case begin."""
    signal.pause()
