"""Does KVM work on this machine?

Opening /dev/kvm, even creating a VM, proves nothing: only a guest that prints does (law 4).
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

TCG_SLOWNESS = 4.0
"""How much longer deadlines are under emulation (measured: system calls 3–5 times, Python 12–15 times
slower).
"""
# Prints a byte on the first serial port and halts: mov dx,3f8h; mov al,'R'; out dx,al; hlt; jmp $-1.
_BOOT_SECTOR = bytes.fromhex("baf803b052eef4ebfd").ljust(510, b"\0") + b"\x55\xaa"
SILENCE_SECONDS = 6.0
"""A guest under working KVM prints within a second of its start; virtme-ng itself needs up to two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An accelerator, and whether a guest has shown it to work (or not to) on this machine."""

    kind: str
    certain: bool
    why: str


def choose(wanted: str) -> Choice:
    """The accelerator for `wanted` (kvm, tcg, auto), from what this machine's earlier guests showed."""
    if wanted == "tcg":
        return Choice(kind="tcg", certain=True, why="asked for")
    known = recall()
    if wanted == "kvm":
        return Choice(kind="kvm", certain=known is not None and known.kind == "kvm", why="asked for")
    if known is not None:
        return known
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Choice(kind="tcg", certain=True, why="/dev/kvm cannot be opened")
    return Choice(kind="kvm", certain=False, why="/dev/kvm opens; not tried yet")


def kvm_works(say: Callable[[str], None]) -> bool:
    """Whether guests can be expected to run under KVM here, found out if need be by a guest of 512 bytes.

    That one prints is no proof, for a kernel may still not get far; that none does is.
    """
    choice = choose("auto")
    if choice.kind != "kvm" or choice.certain:
        return choice.kind == "kvm"
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        return False
    with tempfile.NamedTemporaryFile() as disk:
        disk.write(_BOOT_SECTOR)
        disk.flush()
        argv = [qemu, "-accel", "kvm", "-cpu", "host", "-display", "none", "-serial", "stdio", "-no-reboot"]
        argv += ["-drive", f"file={disk.name},format=raw,snapshot=on", "-boot", "c", "-nodefaults"]
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            assert process.stdout is not None
            heard = select.select([process.stdout], [], [], SILENCE_SECONDS)[0]
            printed = os.read(process.stdout.fileno(), 1) if heard else b""
        finally:
            process.kill()
            process.communicate()
    if printed:
        return True
    why = "a boot sector printed nothing" if not heard else "QEMU died at once"
    say(f"KVM does not work here ({why})")
    remember("tcg", why)
    return False


def witness(alive: Callable[[], bool], bytes_printed: Callable[[], int]) -> str | None:
    """None as soon as the guest prints; otherwise why it never will."""
    limit = time.monotonic() + SILENCE_SECONDS
    while time.monotonic() < limit:
        if bytes_printed() > 0:
            return None
        if not alive():
            return "QEMU died at once"
        time.sleep(0.05)
    return f"no byte on the console within {SILENCE_SECONDS:.0f} s"


def recall() -> Choice | None:
    """What was remembered for this machine, as long as it runs the same kernel."""
    try:
        data = json.loads(_memory().read_text())
        if data.pop("machine") == _machine():
            return Choice(**data)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass  # nothing remembered, or nothing legible: it is found out again
    return None


def remember(kind: str, why: str) -> Choice:
    choice = Choice(kind=kind, certain=True, why=why)
    path = _memory()
    with contextlib.suppress(OSError):  # where it cannot be written it is found out again
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**asdict(choice), "machine": _machine()}) + "\n")
    return choice


def _memory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ringrig" / "accel.json"


def _machine() -> list[str]:
    try:
        machine = Path("/etc/machine-id").read_text().strip()
    except OSError:
        machine = platform.node()
    return [machine, platform.release()]
