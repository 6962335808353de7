"""What io_uring's functions return while a case runs: a plugin for the agent's pytest (`-p ringrig.guest.trace`), for `rig explain`.

function_graph with return values where the kernel has it (CONFIG_FUNCTION_GRAPH_RETVAL, from 6.5 on), else a kretprobe on each function;
and io_uring's own tracepoints. Standard library and pytest only.
"""

from __future__ import annotations

import ctypes
import fnmatch
import os
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest

from ringrig.guest.calls import PROPERTY, Calls

TEXT, MEANS = "trace", "traced by"
"""Properties of the report that brings them: the trace, and what made it."""
_TRACEFS = Path("/sys/kernel/tracing")
_libc = ctypes.CDLL(None, use_errno=True)
_FUNCTIONS = ("*io_uring*", "io_*", "__io_*", "pin_user_pages*", "sock_recvmsg*", "sock_sendmsg*")
_PROBED = (
    *("*io_uring_register*", "*io_*pbuf*", "*io_*buf*", "io_pin_pages", "io_uring_validate_mmap_request"),
    *("io_issue_sqe", "io_submit_sqe", "io_submit_sqes", "io_read*", "io_write*", "io_recv*", "io_send*"),
    *("__io_read*", "__io_import*", "pin_user_pages_fast", "sock_recvmsg", "sock_sendmsg"),
)
_NOT = ("io_schedule*", "*io_apic*", "io_tlb*", "io_serial*", "io_is_busy*", "__io_apic*", "io_bitmap*")
_KILOBYTES = 8192
"""Of a processor's buffer."""


class Tracer:
    """Set up once for a guest. RuntimeError: this kernel shows nothing, and why."""

    def __init__(self) -> None:
        if not (_TRACEFS / "trace").exists():
            _libc.mount(b"none", bytes(_TRACEFS), b"tracefs", 0, None)
        if not os.access(_TRACEFS / "trace", os.R_OK | os.W_OK):
            raise RuntimeError(
                f"{_TRACEFS} cannot be read: the kernel needs CONFIG_FTRACE, and the user root"
            )
        self._write("tracing_on", "0")
        self._write("buffer_size_kb", str(_KILOBYTES))
        if "function_graph" in self._read("available_tracers") and self._has(
            "options/funcgraph-retval", graph=True
        ):
            self.means = "function_graph with return values"
            self._write("set_ftrace_filter", "\n".join(_FUNCTIONS))
            for name in _NOT:
                self._write("set_ftrace_filter", f"!{name}", append=True)
            for option, value in _OPTIONS.items():
                self._write(f"options/{option}", value)
        elif (_TRACEFS / "kprobe_events").exists():
            self.means = "kretprobes"
            self._probe()
        else:
            raise RuntimeError("the kernel has neither CONFIG_FUNCTION_GRAPH_RETVAL nor CONFIG_KPROBE_EVENTS")
        if (_TRACEFS / "events/io_uring/enable").exists():
            self._write("events/io_uring/enable", "1")

    def _has(self, option: str, *, graph: bool) -> bool:
        """Options of a tracer's own are there once it was chosen."""
        if graph:
            self._write("current_tracer", "function_graph")
        if (_TRACEFS / option).exists():
            return True
        self._write("current_tracer", "nop")
        return False

    def _probe(self) -> None:
        known = {
            line.split()[0]
            for line in self._read("available_filter_functions").splitlines()
            if "[" not in line
        }
        chosen = sorted(
            name for name in known if _matches(name, _PROBED) and not _matches(name, _NOT) and "." not in name
        )
        events = os.open(_TRACEFS / "kprobe_events", os.O_WRONLY | os.O_TRUNC)
        try:
            if not [name for name in chosen if _probed(events, name)]:
                raise RuntimeError(f"the kernel refuses a kretprobe on each of {len(chosen)} functions")
        finally:
            os.close(events)
        self._write("events/ringrig/enable", "1")

    def begin(self) -> None:
        self._write("trace", "")
        self._write("tracing_on", "1")

    def mark(self, number: int, name: str) -> None:
        """Say in the trace that a call begins."""
        self._write("trace_marker", f"ringrig call {number + 1} {name}\n")

    def end(self) -> str:
        self._write("tracing_on", "0")
        return self._read("trace")

    def _write(self, name: str, text: str, *, append: bool = False) -> None:
        with (_TRACEFS / name).open("a" if append else "w") as file:
            file.write(text)

    def _read(self, name: str) -> str:
        return (_TRACEFS / name).read_text(errors="replace")


_OPTIONS = {
    "funcgraph-retval": "1",
    "funcgraph-proc": "1",
    "funcgraph-tail": "1",
    "funcgraph-duration": "0",
    "funcgraph-overhead": "0",
    "funcgraph-irqs": "0",
}


def _probed(events: int, name: str) -> bool:
    """Whether the kernel takes a kretprobe on it. One that it refuses takes no other along."""
    try:
        os.write(events, f"r:ringrig/{name} {name} ret=$retval:s32\n".encode())
    except OSError:
        return False
    return True


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


class Plugin:
    def __init__(self) -> None:
        self._tracer: Tracer | None = None
        self._calls: Calls | None = None
        self._why = ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        """In the agent, once: setting up takes long where it is emulated."""
        if self._tracer is None and not self._why:
            try:
                self._tracer = Tracer()
            except (RuntimeError, OSError) as error:
                self._why = str(error)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        if self._tracer is not None:
            self._tracer.begin()
            self._calls = Calls(before=self._tracer.mark)
        else:
            self._calls = Calls()
        self._calls.begin()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.when == "teardown" and self._calls is not None:
            text = self._tracer.end() if self._tracer else ""
            means = self._tracer.means if self._tracer else f"nothing: {self._why}"
            report.user_properties += [(PROPERTY, self._calls.made), (TEXT, text), (MEANS, means)]
        return report


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Plugin(), "ringrig-trace")
