"""A ptrace() that older User-Mode Linux kernels need on processors with AMX, compiled once (see xstate.c)."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from ringrig import cache
from ringrig.cache import Say
from ringrig.errors import HostLacks

_SOURCE = Path(__file__).with_name("xstate.c")
_CPUINFO = Path("/proc/cpuinfo")


def preload(*, say: Say) -> Path | None:
    """The library that such a kernel is to be started with, or None where this machine's processor has no AMX.

    HostLacks: there is no compiler. NoSpace.
    """
    if " amx_tile" not in _CPUINFO.read_text():
        return None
    name = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]
    return cache.entry("xstate", name, make=compile_into, say=say) / "xstate.so"


def compile_into(folder: Path) -> None:
    """Makes xstate.so in `folder`. HostLacks."""
    command = [
        "gcc",
        "-shared",
        "-fPIC",
        "-O2",
        "-Wall",
        "-Wextra",
        "-o",
        str(folder / "xstate.so"),
        str(_SOURCE),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError as error:
        raise _lacks("there is no gcc") from error
    if done.returncode:
        raise _lacks(done.stderr.strip() or f"gcc ended with {done.returncode}")


def _lacks(why: str) -> HostLacks:
    return HostLacks(
        f"On a processor with AMX User-Mode Linux needs a small library, which cannot be compiled: {why}.",
        next_step="apt-get install gcc libc6-dev, or take --guest qemu",
    )
