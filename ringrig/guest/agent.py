"""The agent: a pytest session inside the guest that runs the cases the host names, each in a forked child.

Whatever a case leaves behind (descriptors, rings, mappings, limits, threads) dies with its child; the agent
stays clean. Started as `python -m ringrig.guest.agent` with the wire on its standard input and output.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import fcntl
import gc
import inspect
import json
import os
import platform
import select
import signal
import sys
import time
from pathlib import Path

import pytest
from _pytest.assertion import pytest_runtest_protocol as explain_comparisons
from _pytest.runner import collect_one_node, runtestprotocol

from ringrig.guest import command, here, layout
from ringrig.guest.children import END, NEXT, PASSED, SHOW_PYTHON, hasten, python_stack, reap, tell, told_by
from ringrig.guest.gcov import Counters
from ringrig.guest.switches import Switches
from ringrig.guest.watch import Watch
from ringrig.guest.wire import CASES, Closed, Message, Wire
from ringrig.uring.stuck import portrait

_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36
_libc = ctypes.CDLL(None, use_errno=True)
_PLUGINS_OFF = (
    "cacheprovider", "junitxml", "pastebin", "stepwise", "doctest", "unittest",
    "faulthandler", "setuponly", "setupplan", "logging", "legacypath", "threadexception", "unraisableexception",
)  # fmt: skip
_TELL_SECONDS = 0.5
"""How often the host hears that they go on."""
_SAID_BYTES = 1 << 14
"""Of a command's output its end travels."""
_REAP_SECONDS = 3.0
"""How long a killed child may take to die at native speed before it counts as unkillable."""


class Agent:
    """Serves one host until it hangs up."""

    def __init__(self, wire: Wire, hello: Message) -> None:
        self._wire = wire
        self._slowness = float(hello["slowness"])
        self._lock = here.kernel_lock() if hello["shared"] else None
        self._watch = Watch(marks=not hello["shared"])
        self._user_mode = layout.is_user_mode()
        self._items: dict[str, pytest.Item] = {}
        self._files: dict[str, str] = {}
        self._nodes: dict[pytest.Collector | None, list[pytest.Item | pytest.Collector]] = {}
        self._tops = frozenset(hello["tops"])
        self._counters = Counters() if hello.get("gcov") else None
        self._switches = Switches()
        self._known: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> bool:
        return True  # cases are collected file by file, when the host first names one

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._session = session
        self._wire.send(
            {
                "op": "ready",
                "release": platform.release(),
                "version": platform.version(),
                "python": sys.version.split()[0],
                "notes": here.notes(),
                "io_uring": here.refusal(),
                "taint": self._watch.taint(),
                "blind": self._watch.blind,
                "pid": os.getpid(),
            }
        )
        self._warm_up()
        if self._user_mode:
            gc.collect()
            gc.freeze()
            layout.go_on_anew()
        # A host that hangs up has no more use for this agent: that is its end, not an error.
        with contextlib.suppress(Closed):
            while (message := self._wire.receive()) is not None and message["op"] != "quit":
                if message["op"] == "run":
                    self._run(message)
                elif message["op"] == "settle":
                    time.sleep(message["seconds"])
                    self._wire.send({"op": "settled", "log": self._watch.log(), "taint": self._watch.taint()})
        # Its log is for complaints, and pytest's terminal would end it with an empty line.
        session.config.pluginmanager.unregister(name="terminalreporter")
        return True

    def _warm_up(self) -> None:
        """Collect the upper folders, which imports what all cases share, while the host has nothing to ask yet."""
        for node in self._children(None):
            if isinstance(node, pytest.Collector):
                for child in self._children(node):
                    if isinstance(child, pytest.Directory) and child.path.name in self._tops:
                        self._children(child)

    def _run(self, message: Message) -> None:
        """Run the cases that `message` names in one child, up to the first that does not pass (`each`: all of them, with
        every case's reports); or its `command`.
        """
        number, nodeids = message["id"], message.get("nodeids", [])
        if "cases" in message:
            known = self._known = self._known or json.loads(Path(CASES).read_text())
            nodeids = [known[case] for case in message["cases"]]
        items = [self._find(nodeid) for nodeid in nodeids]
        if lost := [item for item in items if isinstance(item, str)]:
            self._wire.send({"op": "done", "id": number, "lost": lost[0]})
            return
        name = message["command"] if "command" in message else nodeids[0]
        if "mutant" in message:
            try:
                self._switches.choose(message["mutant"])
            except OSError as error:
                self._wire.send({"op": "failed", "why": f"the kernel's mutants cannot be switched: {error}"})
                return
        if self._lock is not None:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._wire.send({"op": "begun", "id": number})
        before = self._watch.log()  # what came after the case before this one ended
        self._watch.mark(f"begin {number} {name}")
        began = time.clock_gettime(time.CLOCK_MONOTONIC)
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        python = os.memfd_create("python-stack", os.MFD_CLOEXEC)
        agent, pid = os.getpid(), os.fork()
        if pid == 0:
            if "command" in message:
                command.run(message["command"], write_end, agent)
            cases = [item for item in items if not isinstance(item, str)]
            self._cases(cases, number, write_end, python, agent, each=message.get("each", False))
        os.close(write_end)
        answer, stacks = self._await(pid, read_end, number, python, "command" not in message)
        os.close(python)
        os.close(read_end)
        reaped, status = reap(pid, seconds=_REAP_SECONDS * self._slowness)
        stuck = "" if reaped else portrait(pid)
        left = self._watch.pins_back(seconds=1.0 * self._slowness) if reaped else 0
        ended = time.clock_gettime(time.CLOCK_MONOTONIC)
        self._watch.mark(f"end {number} {name}")
        done: Message = {
            "op": "done",
            "id": number,
            "pid": pid,
            "began": began,
            "ended": ended,
            "status": status,
            "reaped": reaped,
            **({"said": answer.decode(errors="replace")} if "command" in message else told_by(answer)),
            "stacks": stacks,
            "stuck": stuck,
            "log": [*before, *self._watch.log()],
            "taint": self._watch.taint(),
            "pins_left": left,
            "blind": self._watch.blind,
        }
        if self._counters is not None:
            done["gcov"] = self._counters.take()
        if "mutant" in message:
            done["reached"] = self._switches.reached()
        if self._lock is not None:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        self._wire.send(done)
        if any(report["outcome"] == "failed" for report in done.get("reports") or ()):
            # Its traceback looked for the file of every module, with 2000 system calls: found here, it is found for all children.
            inspect.getmodule(Agent._run.__code__)

    def _cases(
        self, items: list[pytest.Item], number: int, write_end: int, python: int, agent: int, *, each: bool
    ) -> None:
        """In the child: run each case with its whole set-up and tear-down, until one does not pass or (`each`) all did; tell, leave."""
        code, me = 1, os.getpid()
        try:
            os.setsid()
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != agent:  # it died before it could be followed
                os._exit(code)
            _libc.prctl(_PR_SET_NAME, f"case-{number}".encode())
            os.close(self._wire.read_fd)
            os.close(self._wire.write_fd)
            if self._lock is not None:  # what a case leaves behind must not keep others from the kernel
                os.close(self._lock)
            faulthandler.register(SHOW_PYTHON, file=python)
            if self._user_mode:
                layout.have_all()
            if each:  # what fails here will fail alone, and be looked at there
                hasten(items[0].config)
            for item in items:
                if item is not items[0]:
                    self._watch.mark(f"goes on {number} {item.nodeid}")
                began = time.clock_gettime(time.CLOCK_MONOTONIC)
                # pytest asks pytest_assertrepr_compare, which the suites have, only inside this hook of its own.
                explaining = explain_comparisons(item)
                next(explaining)
                reports = runtestprotocol(item, log=False, nextitem=None)
                explaining.close()
                if os.getpid() != me:  # a process that the case forked may come back here, too
                    os._exit(0)
                if item is items[-1] or not (each or all(one.passed for one in reports)):
                    break
                if each:
                    tell(write_end, item.config, reports, began=began, end=NEXT)
                else:
                    os.write(write_end, PASSED)
            tell(write_end, item.config, reports, began=began, end=END)
            code = 0
        finally:
            os._exit(code)

    def _await(self, pid: int, read_end: int, number: int, python: int, has_end: bool) -> tuple[bytes, str]:
        """The child's answer (`has_end`: which END ends); its portrait too when the host wants an end made of it.

        Closed: the host is gone.
        """
        answer, stacks, told = b"", "", time.monotonic()
        exited = os.pidfd_open(pid)
        watched = [exited, read_end, self._wire.read_fd]
        try:
            while True:
                ready = [] if self._wire.pending() else select.select(watched, [], [])[0]
                if read_end in ready:
                    data = os.read(read_end, 1 << 16)
                    answer += data
                    if not has_end:
                        answer = answer[-_SAID_BYTES:]
                    elif data.endswith((PASSED, NEXT)) and time.monotonic() > told + _TELL_SECONDS:
                        told = time.monotonic()
                        self._wire.send({"op": "goes on", "id": number})
                    if not data:
                        watched.remove(read_end)
                    # A child that is stuck in the kernel has said its say, but stays.
                    if has_end and answer.endswith(END):
                        select.select([exited], [], [], _REAP_SECONDS * self._slowness)
                        return answer, stacks
                elif exited in ready:
                    return answer, stacks
                if self._wire.pending() or self._wire.read_fd in ready:
                    message = self._wire.receive()
                    if message is not None and message["op"] == "abort" and message["id"] == number:
                        return answer, f"{portrait(pid)}\n{python_stack(pid, python)}"
        except Closed:
            reap(pid, seconds=_REAP_SECONDS)
            raise
        finally:
            os.close(exited)

    def _find(self, nodeid: str) -> pytest.Item | str:
        """The item of a node id, or why there is none in this guest."""
        path = nodeid.split("::", 1)[0]
        if path not in self._files:
            self._files[path] = ""
            self._collect(self._session.config.rootpath / path)
        return self._items.get(nodeid) or self._files[path] or f"{nodeid} was not collected in the guest"

    def _collect(self, path: Path) -> None:
        """Collect one file.

        Directory nodes are kept: pytest ties a conftest's fixtures to the node it first met.
        """
        children = self._children(None)
        while node := next((n for n in children if n.path == path or n.path in path.parents), None):
            if node.path == path and isinstance(node, pytest.File):
                items = list(self._session.genitems(node))
                self._session.config.hook.pytest_collection_modifyitems(
                    session=self._session, config=self._session.config, items=items
                )
                for item in items:  # its line is the host's to know: asking for it costs 4 % of a small case
                    item.__dict__["location"] = (item.nodeid.split("::", 1)[0], None, item.name)
                self._items |= {item.nodeid: item for item in items}
                # Once more with every conftest loaded: what they find out here, the forked cases inherit.
                self._session.config.hook.pytest_collection_finish(session=self._session)
                break
            assert isinstance(node, pytest.Collector)
            children = self._children(node)
        gc.collect()
        gc.freeze()  # what a forked child does not write, it need not copy
        if self._counters is not None:
            self._counters.drop()

    def _children(self, node: pytest.Collector | None) -> list[pytest.Item | pytest.Collector]:
        """What a node collects; None: the root."""
        if node not in self._nodes:
            found = (
                self._session.perform_collect(genitems=False)
                if node is None
                else collect_one_node(node).result
            )
            self._nodes[node] = list(found or [])
        return self._nodes[node]

    @pytest.hookimpl(tryfirst=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._files[report.nodeid] = report.longreprtext


def main() -> int:
    wire = Wire(os.dup(0), os.dup(1))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.setpgid(0, 0) if os.getpgid(0) != os.getpid() else None
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        hello = wire.receive()
        assert hello is not None
        if not hello["shared"]:
            here.raise_loopback()
        os.environ["RINGRIG_FACTS"] = json.dumps({**hello["facts"], "slowness": hello["slowness"]})
        os.chdir(hello["suite"])
        options = [
            f"--rootdir={hello['suite']}",
            *(f"-pno:{name}" for name in _PLUGINS_OFF),
            *hello["options"],
        ]
        code = pytest.main(["-c", hello["ini"], *options], plugins=[Agent(wire, hello)])
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            wire.send({"op": "failed", "why": f"pytest in the guest ended with {code!r}"})
    except Closed:
        return 1
    except BaseException as error:
        with contextlib.suppress(Closed):
            wire.send({"op": "failed", "why": f"{type(error).__name__}: {error}"})
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
