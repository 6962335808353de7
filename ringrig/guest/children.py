"""The agent's children, and the end of them: a case, and whatever it left running."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest

from ringrig.guest.wire import Message

SHOW_PYTHON = signal.SIGUSR2
"""At which a case tells where in Python it is."""
PASSED = b"."
"""What a child tells after each of several cases but the last, where nobody wants to know more."""
NEXT = b"\n"
"""Ends what it tells of each of several cases but the last where their reports are wanted."""
END = b"\0"
"""Ends a child's answer: the last case's reports."""
_CHILDREN = "/proc/self/task/{0}/children"
_stuck: set[int] = set()
"""Children that could not be killed: on a kernel that cannot be replaced they must not tell against later cases."""


def reap(pid: int, *, seconds: float) -> tuple[bool, int]:
    """Collect the child and everything it left running; (all are gone, the child's wait status)."""
    status, limit, pause = 0, time.monotonic() + seconds, 0.0005
    os.kill(pid, signal.SIGKILL)  # it may not have got as far as its own process group
    while time.monotonic() < limit:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        try:
            gone, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True, status
        if gone == pid:
            status = code
        elif gone == 0:
            left = children() - _stuck
            if not left:
                return True, status
            for orphan in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(orphan, signal.SIGKILL)
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
    _stuck.update(children())
    return False, status


def children() -> set[int]:
    """This process's children, dead ones that were not collected included."""
    try:
        return set(map(int, Path(_CHILDREN.format(os.getpid())).read_text().split()))
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        found = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if stat.read_text().rsplit(")", 1)[1].split()[1] == str(os.getpid()):
                    found.add(int(stat.parts[2]))
        return found


def python_stack(pid: int, python: int) -> str:
    """Where in Python the case is, as its own signal handler tells; a case stuck in the kernel cannot."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, SHOW_PYTHON)
        time.sleep(0.3)
    told = os.pread(python, 1 << 14, 0).decode(errors="replace")
    return told or "(no Python stack: it did not take the signal)"


def hasten(config: pytest.Config) -> None:
    """In a child whose failures only mean that a case runs again: spare it what makes them good to read."""
    config.option.tbstyle = "native"
    if not set(config.option.reportchars) & set("AP"):  # nobody wants to see what passing cases print
        capture = config.pluginmanager.unregister(name="capturemanager")
        assert capture is not None
        capture.stop_global_capturing()


def tell(
    to: int, config: pytest.Config, reports: list[pytest.TestReport], *, began: float, end: bytes
) -> None:
    """In the child: a case's reports in pytest's serial form, and since when it ran (CLOCK_MONOTONIC, s).

    Of a plain pass before others, what its reports do not say anyway: their durations in seconds.
    """
    if end == NEXT and all(one.passed and not (one.sections or one.user_properties) for one in reports):
        told: Message = {"seconds": [round(report.duration, 6) for report in reports], "since": began}
    else:
        hook = config.hook.pytest_report_to_serializable
        told = {"reports": [hook(config=config, report=report) for report in reports], "since": began}
    data = json.dumps(told, default=str).encode() + end
    while data:
        data = data[os.write(to, data) :]


def told_by(answer: bytes) -> Message:
    """How many cases had passed before the last, or what each of them told; and what the last did.

    No reports of the last if they were cut short, or never sent.
    """
    told = answer.lstrip(PASSED)
    *before, last = told.split(NEXT)
    end = json.loads(last.removesuffix(END)) if last.endswith(END) else {"reports": None}
    return {"passed": len(answer) - len(told), "each": [json.loads(line) for line in before], **end}
