"""A person in a guest: `rig shell`, and `--keep-guest` after a failure."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import termios
import tty
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ringrig.errors import RigError
from ringrig.vm.machine import Machine

_GREETING = 'echo "ringrig: $(uname -sr), root in a throw-away guest; leave with exit or Ctrl-D"; exec bash -i 2>/dev/null || exec sh -i'


def keep(machine: Machine) -> None:
    """A shell in the machine on this terminal; without a terminal, say how to reach it and wait for a line
    or the end of input.
    """
    print(f"\nrig: guest {machine.name} is kept; its files are in {machine.folder}", file=sys.stderr)
    if machine.guest is not None:
        print("rig: `rig gdb`, from another terminal, attaches to its kernel", file=sys.stderr)
    if machine.transport is None:
        print(
            "rig: the kernel is this machine's own: look around in another terminal, then press Enter",
            file=sys.stderr,
        )
        sys.stdin.readline()
        return
    with contextlib.suppress(RigError, OSError):
        interact(machine)


def interact(machine: Machine) -> int:
    """An interactive shell over the machine's SSH connection; its exit status."""
    assert machine.transport is not None
    channel = machine.transport.open_session()
    size = shutil.get_terminal_size()
    if terminal := sys.stdin.isatty():
        channel.get_pty(os.environ.get("TERM", "dumb"), size.columns, size.lines)
    channel.exec_command(_GREETING if terminal else "exec sh")
    fd = sys.stdin.fileno()
    old = termios.tcgetattr(fd) if terminal else None

    def resized(*_: object) -> None:
        now = shutil.get_terminal_size()
        channel.resize_pty(now.columns, now.lines)

    try:
        if terminal:
            tty.setraw(fd)
            signal.signal(signal.SIGWINCH, resized)
        wanted: list[Any] = [channel, fd]
        while True:
            ready = select.select(wanted, [], [])[0]
            if channel in ready:
                data = channel.recv(1 << 14)
                if not data:
                    return channel.recv_exit_status()
                os.write(1, data)
            if fd in ready:
                data = os.read(fd, 1 << 10)
                if data:
                    channel.sendall(data)
                else:
                    channel.shutdown_write()
                    wanted.remove(fd)
    finally:
        if old is not None:
            termios.tcsetattr(fd, termios.TCSADRAIN, old)
            signal.signal(signal.SIGWINCH, signal.SIG_DFL)


def main(arguments: Sequence[str]) -> int:
    """`rig shell`: pytest prepares the guest as for a run, and runs no case."""
    parser = argparse.ArgumentParser(prog="rig shell", description="A shell in a guest.")
    parser.add_argument("--kernel", default="debian", metavar="K", help="as for `rig run` (default: debian)")
    chosen, rest = parser.parse_known_args(arguments)
    if chosen.kernel == "host":
        return subprocess.run([os.environ.get("SHELL", "sh")], check=False).returncode
    root = Path(__file__).parents[2]
    argv = [
        sys.executable,
        "-m",
        "pytest",
        f"--kernel={chosen.kernel}",
        "-p",
        "ringrig.plugin.shell",
        "-qq",
        "-s",
        "--disable-warnings",
        *rest,
    ]
    os.execve(sys.executable, argv, {**os.environ, "PWD": str(root)})
