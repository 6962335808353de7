"""How guests of one run are to be started: everything resolved, plain data, so that it can be handed to
pytest-xdist's workers.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Paths are strings, because a plan travels as JSON. `kind` is image, host or board."""

    kind: str
    spec: str
    label: str
    release: str
    folder: str
    """The run folder."""
    scratch: str
    """Sockets, keys and the packed suite; gone with the run."""
    suite: str
    """The tar of the suite."""
    tops: tuple[str, ...]
    """The folders in it that hold cases."""
    pack: str
    """The folder with pytest as zip files."""
    path: str = ""
    modules: str | None = None
    build_id: str | None = None
    sshd: str = ""
    root: str | None = None
    """A guest's root directory, or None for the live machine's own."""
    guest: str = "qemu"
    """qemu or uml."""
    libs: str | None = None
    """uml: where the C library lies that the executable wants, if it is not this machine's."""
    preload: str | None = None
    """uml: a library that the executable is to be started with."""
    vmlinux: str | None = None
    profile: str | None = None
    lacks: tuple[str, ...] = ()
    gcov: bool = False
    """The kernel's own counters of what it executed are read after each case."""
    totals: bool = False
    """Of these counters only the sum over all cases is wanted."""
    accel: str = "auto"
    cpus: int = 2
    memory: str = "1G"
    user: str = ""
    host: str = ""
    port: int = 22

    @property
    def shared(self) -> bool:
        """Others use the kernel too: it is neither marked, nor replaced, nor expected to be quiet."""
        return self.kind != "image"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        # JSON knows no tuples.
        fields: dict[str, Any] = json.loads(text)
        fields |= {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        return cls(**fields)

    @property
    def zips(self) -> tuple[str, ...]:
        """What of `pack` the machine's Python takes: compiled code only where it is the interpreter that runs here."""
        if self.kind != "image" or self.root is not None:
            return ("sources.zip",)
        # Over hostfs the interpreter's own library is as near as in memory, and needs no inflating.
        return ("packages.zip",) if self.guest == "uml" else ("library.zip", "packages.zip")

    @property
    def keys(self) -> Path:
        return Path(self.scratch, "keys")
