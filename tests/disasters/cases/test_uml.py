"""Seven cases, five disasters, on a User-Mode Linux as it is: nothing here needs a module or a compiler."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.crashes


def test_1_is_well() -> None:
    """Does nothing."""


def test_2_leaves_much_behind() -> None:
    """Descriptors and a process left behind die with the case's child."""
    for _ in range(100):
        os.pipe()
    if os.fork() == 0:
        os.setsid()
        signal.pause()


def test_3_panics() -> None:
    Path("/proc/sysrq-trigger").write_text("c")


def test_4_hangs_in_user_space() -> None:
    signal.pause()


def test_5_takes_the_processor() -> None:
    """Nothing else runs any more: for those outside it is a kernel that is locked up."""
    Path("/proc/sys/kernel/sched_rt_runtime_us").write_text("-1")
    for _ in os.sched_getaffinity(0):
        if os.fork() == 0:
            break
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))
    while True:
        pass


def test_6_warns() -> None:
    """ext4 can be told that an error deserves a WARNING, and to have one (fs/ext4/super.c, save_error_info)."""
    subprocess.run(["mount", "-o", "remount,warn_on_error", "/var/tmp"], check=True)
    Path("/sys/fs/ext4/ubda/trigger_fs_error").write_text("on purpose")


def test_7_loses_its_process() -> None:
    """The test outside kills the kernel's process when it sees this case begin."""
    signal.pause()
