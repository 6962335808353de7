"""What a case asks of the kernel, call by call: a plugin for the agent's pytest (`-p ringrig.guest.calls`), for `rig explain`.

Each io_uring system call, and each mapping of a ring, is noted with its result and the completions that were taken after it; where
the kernel counts what it executes, also with what it counted since the call before. The report of the tear-down brings it along.
Standard library and pytest only.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

from ringrig.guest.gcov import Counters
from ringrig.uring import consts, libc, syscalls
from ringrig.uring.ring import Cqe, Ring
from ringrig.uring.structs import io_uring_sqe

PROPERTY = "calls"
"""Of the report that brings them: a list of {name, res, cqes, gcov}."""
_MOST = 240
"""Calls whose counters are kept apart; those of later ones are counted together."""
_ENTER, _SETUP, _REGISTER = libc.NR_IO_URING_ENTER, libc.NR_IO_URING_SETUP, libc.NR_IO_URING_REGISTER
_USE_REGISTERED = consts.IORING_REGISTER_USE_REGISTERED_RING


def _names(*prefixes: str) -> dict[int, str]:
    found = {
        value: name.removeprefix("IORING_")
        for prefix in prefixes
        for name, value in vars(consts).items()
        if name.startswith(prefix) and isinstance(value, int)
    }
    return {value: name for value, name in found.items() if value != _USE_REGISTERED}


_REGISTERS = _names("IORING_REGISTER_", "IORING_UNREGISTER_")
_OPS = _names("IORING_OP_")


class Calls:
    """Stands in front of ringrig.uring's calls, in the case's process alone; `before` and `after` are asked around each."""

    def __init__(
        self,
        *,
        before: Callable[[int, str], None] = lambda number, name: None,
        after: Callable[[int], dict[str, Any]] = lambda number: {},
    ) -> None:
        self.made: list[dict[str, Any]] = []
        self._before, self._after = before, after
        self._pid, self._lock = os.getpid(), threading.Lock()
        self._queued: list[io_uring_sqe] = []

    def begin(self) -> None:
        """From here on; there is no end, for the process ends with its case."""
        plain, mapped, rows = libc.syscall, libc.mmap, syscalls.run
        sqe, cqes = Ring.sqe, Ring.cqes

        def call(number: int, *arguments: int) -> int:
            if number not in (_ENTER, _SETUP, _REGISTER):
                return plain(number, *arguments)
            return self._note(self._name(number, arguments), lambda: plain(number, *arguments))

        def mmap(length: int, prot: int, flags: int, fd: int = -1, offset: int = 0, addr: int = 0) -> int:  # noqa: PLR0917
            made = functools.partial(mapped, length, prot, flags, fd, offset, addr)
            return made() if fd == -1 else self._note(f"mmap({length}, offset={offset:#x})", made)

        def run(table: Any, rounds: int = 1) -> None:
            def made() -> int:
                rows(table, rounds)
                return int(table[-1].result)

            self._note(f"{len(table)} calls back to back, {rounds} times", made)

        def next_sqe(ring: Ring) -> io_uring_sqe:
            self._queued.append(sqe(ring))
            return self._queued[-1]

        def taken(ring: Ring) -> list[Cqe]:
            found = cqes(ring)
            if self.made and os.getpid() == self._pid:
                self.made[-1]["cqes"] += [[one.res, one.flags] for one in found]
            return found

        for place, name, function in (
            (libc, "syscall", call),
            (libc, "mmap", mmap),
            (syscalls, "run", run),
            (Ring, "sqe", next_sqe),
            (Ring, "cqes", taken),
        ):
            setattr(place, name, function)

    def _name(self, number: int, arguments: tuple[int, ...]) -> str:
        if number == _SETUP:
            return f"io_uring_setup({arguments[0]})"
        if number == _REGISTER:
            opcode = arguments[1] & ~_USE_REGISTERED
            return f"io_uring_register({_REGISTERS.get(opcode, opcode)})"
        queued, self._queued = self._queued, []
        said = [_OPS.get(one.opcode, str(one.opcode)).removeprefix("OP_") for one in queued[:4]]
        more = [f"{len(queued) - 4} more"] if len(queued) > 4 else []
        return f"io_uring_enter({', '.join([*said, *more])})"

    def _note(self, name: str, make: Callable[[], int]) -> int:
        if os.getpid() != self._pid:  # a process that the case forked
            return make()
        number = len(self.made)
        self._before(number, name)
        res = make()
        with self._lock:
            self.made.append({"name": name, "res": res, "cqes": [], **self._after(number)})
        return res


class Plugin:
    """Where `counters` is None nothing is counted."""

    def __init__(self) -> None:
        self._calls: Calls | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        try:
            counters: Counters | None = Counters()
        except RuntimeError:
            counters = None

        def after(number: int) -> dict[str, Any]:
            return {"gcov": counters.take(settled=False)} if counters and number < _MOST else {}

        self._calls = Calls(after=after)
        self._calls.begin()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.when == "teardown" and self._calls is not None:
            report.user_properties.append((PROPERTY, self._calls.made))
        return report


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Plugin(), "ringrig-calls")
