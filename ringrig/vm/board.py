"""A board or VM that is already up, reached by TCP; the suite and pytest are copied there and removed
again.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

import paramiko

from ringrig.errors import GuestLacks, KernelUnavailable, WrongKernel
from ringrig.vm.link import run
from ringrig.vm.plan import Plan

_NEEDED = (3, 11)
_ASK = "import sys, ctypes, platform; print(*sys.version_info[:2], platform.release())"


@dataclass(slots=True, kw_only=True)
class Board:
    """A connected board; `where` is the folder on it that `prepare` made and `leave` removes."""

    transport: paramiko.Transport
    client: paramiko.SSHClient
    where: str = ""

    @classmethod
    def reach(cls, plan: Plan) -> Board:
        """Connect with the user's own keys, agent and known_hosts.

        KernelUnavailable: it cannot be reached, or is not known.
        """
        client = paramiko.SSHClient()
        client.load_system_host_keys()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            client.connect(plan.host, port=plan.port, username=plan.user or None, timeout=15, auth_timeout=15)
        except (paramiko.SSHException, OSError) as error:
            client.close()
            raise KernelUnavailable(
                f"{plan.spec} cannot be reached: {error}.",
                next_step=f"`ssh -p {plan.port} {plan.user + '@' if plan.user else ''}{plan.host} true` must work "
                "without a question (key in the agent or ~/.ssh, host in known_hosts)",
            ) from error
        transport = client.get_transport()
        assert transport is not None
        transport.set_keepalive(10)
        return cls(transport=transport, client=client)

    def prepare(self, plan: Plan) -> str:
        """The folder on the board with sources.zip and suite/. GuestLacks: no python3 that is new enough."""
        status, out = run(self.transport, ["python3", "-c", _ASK])
        # A shell's start-up file may have said something before.
        told = re.search(r"^(\d+) (\d+) (\S+)$", out, re.MULTILINE)
        if status != 0 or told is None or (int(told[1]), int(told[2])) < _NEEDED:
            raise GuestLacks(
                f"{plan.spec} has no python3 of at least {_NEEDED[0]}.{_NEEDED[1]} with ctypes: {out.strip()[-300:]}",
                next_step="install it there; pytest travels with the suite",
            )
        if plan.release and told[3] != plan.release:
            raise WrongKernel(
                f"{plan.spec} ran {plan.release} at the start and runs {told[3]} now.", next_step="run again"
            )
        if not self.where:
            where = run(self.transport, ["mktemp", "-d", "/tmp/ringrig-XXXXXXXX"])[1].strip()
            if not re.fullmatch(r"/tmp/ringrig-\w{8}", where):
                raise GuestLacks(f"{plan.spec}: mktemp said {where!r}.", next_step="make /tmp writable there")
            self.where = where
            with self.client.open_sftp() as sftp:
                sftp.put(str(Path(plan.pack, "sources.zip")), f"{where}/sources.zip")
                sftp.put(plan.suite, f"{where}/suite.tar")
                sftp.mkdir(f"{where}/suite")
            run(self.transport, ["python3", "-m", "tarfile", "-e", f"{where}/suite.tar", f"{where}/suite"])
        return self.where

    def leave(self) -> None:
        with contextlib.suppress(Exception):
            if self.where:
                run(self.transport, ["rm", "-rf", self.where], seconds=5)
        self.client.close()


def release(plan: Plan) -> str:
    """The board's `uname -r`. KernelUnavailable."""
    found = Board.reach(plan)
    try:
        return run(found.transport, ["uname", "-r"])[1].strip()
    finally:
        found.leave()
