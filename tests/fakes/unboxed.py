"""Puts the fake virtme-ng in the place of the box, and shortens what a real guest may take."""

import os
import sys
from pathlib import Path

from ringrig.vm import accel, machine, pack, qemu
from ringrig.vm.box import Box

FAKE = Path(__file__).with_name("vng.py")
BOXED = Box.argv


def argv(box, command, *, scratch):
    """The fake's command line: nothing is boxed, and places in the box become the paths behind them."""
    words = [sys.executable, str(FAKE), *command[1:]]
    # Longest first: one place may lie below another.
    for place, path in sorted({**box.readable, **box.writable}.items(), key=lambda item: -len(item[0])):
        words = [word.replace(place, str(path)) if place.startswith("/ringrig") else word for word in words]
    settings = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("FAKE_")]
    return ["/usr/bin/env", *settings, f"FAKE_KEYS={box.readable['/ringrig/keys']}", *words]


def install(patch=setattr):
    patch(Box, "argv", argv)
    patch(qemu, "BOOT_SECONDS", 3.0)
    patch(accel, "TCG_SLOWNESS", 1.0)
    patch(accel, "SILENCE_SECONDS", 0.7)
    patch(machine, "AGENT_SECONDS", 1.0)
    patch(machine, "SSH_SECONDS", 1.0)
    patch(qemu, "qemu_version", lambda: "0.0 (fake)")
    patch(pack, "dependencies", lambda *, say: Path("/usr"))


def programs(folder):
    """A PATH with a QEMU that nobody starts, and what the system has."""
    folder.mkdir()
    (folder / "qemu-system-x86_64").write_text("#!/bin/sh\nexit 1\n")
    (folder / "qemu-system-x86_64").chmod(0o755)
    return f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin"
