"""A machine with an agent on it, whatever it is: a QEMU guest, a board behind SSH, or the running kernel."""

from __future__ import annotations

import os
import shlex
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import paramiko

from ringrig import cache
from ringrig.errors import GuestLacks, GuestLost, WrongKernel
from ringrig.guest.wire import Closed, Message
from ringrig.kernel.buildid import of_notes
from ringrig.vm import board, qemu, uml
from ringrig.vm.guest import Guest
from ringrig.vm.link import Keys, Link, LocalLink, SshLink
from ringrig.vm.plan import Plan

Say = Callable[[str], None]
_PYTHON_FLAGS = ("-sSP", "-m", "ringrig.guest.agent")
_QUIET = ("PYTHONDONTWRITEBYTECODE=1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", "LC_ALL=C.UTF-8")
AGENT_SECONDS = 30.0
"""Limit for the agent to import pytest and answer, at native speed."""
SSH_SECONDS = 15.0
"""Limit for an SSH session, from the server's first byte, at native speed."""


@dataclass(slots=True, kw_only=True)
class Machine:
    """A live kernel; `agent()` waits for it and starts the agent, `end()` gives it up."""

    plan: Plan
    name: str
    folder: Path
    guest: Guest | None
    slowness: float
    link: Link | None = None
    transport: paramiko.Transport | None = None
    ready: Message = field(default_factory=dict)
    _board: board.Board | None = None

    def alive(self) -> bool:
        if self.guest is not None:
            return self.guest.alive()
        return self.transport is None or self.transport.is_active()

    def printed(self) -> int:
        """Bytes on the console so far; 0 where there is none to read (host, boards)."""
        return self.guest.console.stat().st_size if self.guest is not None else 0

    def console(self, since: int = 0) -> str:
        """The console from byte `since` on."""
        if self.guest is None:
            return ""
        with self.guest.console.open("rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")

    def await_death(self) -> None:
        """Let a guest whose link broke finish dying, or show that it lives, so that its last words are on the console."""
        if self.guest is None:
            return
        limit = time.monotonic() + 3 * self.slowness
        while self.guest.alive() and time.monotonic() < limit:
            time.sleep(0.05)
        time.sleep(0.1)  # the console's last bytes pass through a pipe

    def agent(self, *, facts: dict[str, object], options: Sequence[str]) -> Link:
        """A link to a fresh agent. NoBoot, GuestLost, GuestLacks, WrongKernel: why there is none."""
        link, suite = self._start()
        self.link = link
        hello = {
            "op": "hello",
            "suite": suite,
            "ini": f"{suite}/pytest.ini",
            "shared": self.plan.shared,
            "slowness": self.slowness,
            "options": list(options),
            "tops": list(self.plan.tops),
            "gcov": self.plan.gcov,
            "facts": {**facts, "shared": self.plan.shared},
        }
        ready, heard = None, ""
        try:
            link.send(hello)
            ready = self._answer(link, AGENT_SECONDS * self.slowness)
        except Closed as closed:
            heard = str(closed)
        if ready is None or ready["op"] != "ready":
            time.sleep(0.2)  # its last words come on another stream
            said = [(ready or {}).get("why", ""), link.complaints().strip()]
            why = "\n".join(filter(None, said)) or heard or "not a word"
            raise GuestLost(
                f"{self.plan.label}: the agent did not start: {why[-1500:]}",
                next_step=f"the guest needs python3 3.11 or later with ctypes; logs are in {self.folder}",
            )
        self.ready = ready
        self._check(ready)
        return link

    def _answer(self, link: Link, seconds: float) -> Message | None:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if (message := link.receive(0.25)) is not None:
                return message
            if not self.alive():
                raise Closed
        return None

    def _check(self, ready: Message) -> None:
        """The kernel that runs is the one that was meant, and has io_uring at all."""
        running = of_notes(bytes.fromhex(ready["notes"])) if ready["notes"] else None
        ready["running_build_id"] = running
        if self.plan.build_id and running != self.plan.build_id:
            raise WrongKernel(
                f"{self.plan.label} was meant (build-id {self.plan.build_id}), and a kernel with build-id {running} runs "
                f"({ready['release']}, {ready['version']}).",
                next_step="rig cache clear, then run again; if it stays so, the image file and its package differ",
            )
        if ready["io_uring"]:
            raise GuestLacks(
                f"{self.plan.label} runs, and io_uring_setup() fails: {ready['io_uring']}.",
                next_step="CONFIG_IO_URING=y in the kernel, and sysctl kernel.io_uring_disabled=0",
            )

    def _start(self) -> tuple[Link, str]:
        log = self.folder / "agent.log"
        if self.plan.kind == "host":
            suite = Path(self.plan.scratch, f"suite-{self.name}")
            with cache.writing("the unpacked suite"):
                unpack(Path(self.plan.suite), suite)
            env = {**os.environ, **dict(word.split("=", 1) for word in _QUIET)}
            env["PYTHONPATH"] = str(suite)
            return LocalLink([sys.executable, "-P", *_PYTHON_FLAGS[1:]], env=env, cwd=suite, log=log), str(
                suite
            )
        if self.guest is not None:
            if self.transport is None:
                keys = Keys(self.plan.keys)
                self.transport = keys.connect(self.guest.stream(), seconds=SSH_SECONDS * self.slowness)
            where, python = "/run/ringrig", guest_python(self.plan)
        else:
            self._board = self._board or board.Board.reach(self.plan)
            self.transport = self._board.transport
            where, python = self._board.prepare(self.plan), "python3"
        path = ":".join(f"{where}/{name}" for name in (*self.plan.zips, "suite"))
        words = ["env", *_QUIET, f"PYTHONPATH={path}", python, *_PYTHON_FLAGS]
        command = f"cd {shlex.quote(where)}/suite && {shlex.join(words)}"
        if self.guest is not None:  # boot.sh unpacks while SSH gets going
            command = f"while [ ! -e {where}/packed ]; do sleep 0.05; done; {command}"
        if self._board is not None:  # also for a rig that is killed and cannot tidy up
            command += f"; rm -rf {shlex.quote(where)}"
        return SshLink(self.transport, command, log=log), f"{where}/suite"

    def end(self) -> None:
        """Give it up: the agent, the connection, the guest. A second call does nothing."""
        if self.link is not None:
            self.link.close()
            self.link = None
        if self._board is not None:
            self._board.leave()
            self._board = None
        if self.transport is not None:
            self.transport.close()
            self.transport = None
        if self.guest is not None:
            self.guest.end()


def start(plan: Plan, *, name: str, say: Say) -> Machine:
    """A machine for `plan`, not waited for. Called from a thread that lives as long as the guest shall (bubblewrap dies with it)."""
    folder = Path(plan.folder, "guests", name)
    with cache.writing("a guest's files", folder):
        folder.mkdir(parents=True, exist_ok=True)
        if plan.kind != "image":
            return Machine(plan=plan, name=name, folder=folder, guest=None, slowness=1.0)
        guest: Guest
        if plan.guest == "uml":
            guest = uml.start(plan, name=name, folder=folder)
        else:
            config = qemu.Config(cpus=plan.cpus, memory=plan.memory, accel=plan.accel)
            guest = qemu.start(plan, name=name, folder=folder, config=config, say=say)
    return Machine(plan=plan, name=name, folder=folder, guest=guest, slowness=guest.slowness)


def unpack(tar: Path, folder: Path) -> None:
    with tarfile.open(tar) as packed:
        # The argument of that name came with Python 3.11.4; Debian 12 has 3.11.2.
        packed.extraction_filter = getattr(tarfile, "data_filter", None)
        packed.extractall(folder)


def guest_python(plan: Plan) -> str:
    """The interpreter in a guest: on the live machine's root this very one, so that its compiled library fits."""
    if plan.root is not None:
        return "/usr/bin/python3"
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))
