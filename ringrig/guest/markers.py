"""The markers that cases may bear, the same on the host that collects them and in the guest that runs them."""

from __future__ import annotations

from typing import Protocol

MARKERS = (
    "needs(*capabilities): skip, naming the missing ones, unless the kernel has them",
    "slow: takes long where the processor is emulated; -m 'not slow' leaves it out",
    "exhaustive: takes minutes; left out unless named, or asked for with -m exhaustive",
    "crashes: can take the kernel down on a broken kernel; left out on host and ssh unless asked for",
)


class _Config(Protocol):
    def addinivalue_line(self, name: str, line: str) -> None: ...


def register(config: _Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
