"""Does KVM work on this machine?

Opening /dev/kvm, even creating a VM, proves nothing: only a guest that prints does (law 4).
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

TCG_SLOWNESS = 4.0
"""How much longer deadlines are under emulation (measured: system calls 3–5 times, Python 12–15 times
slower).
"""
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
