"""`rig gdb`: attach to the kernel of a guest that `--keep-guest` (or `rig shell`) holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ringrig import cache
from ringrig.errors import HostLacks, KernelUnavailable


def main(arguments: Sequence[str]) -> int:
    """Replaces this process by gdb on the newest live guest's stub. KernelUnavailable: no guest lives."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(
            "usage: rig gdb [VMLINUX] [GDB ARGUMENTS…]\n\nAttach gdb to the kernel of the newest guest that is alive."
        )
        return 0
    stubs = live()
    if not stubs:
        raise KernelUnavailable(
            "No guest is alive.",
            next_step="start one that stays: rig run --keep-guest … or rig shell --kernel …",
        )
    gdb = shutil.which("gdb")
    if gdb is None:
        raise HostLacks("There is no gdb here.", next_step="apt-get install gdb")
    vmlinux = str(Path(arguments[0]).resolve()) if arguments else ""
    # A relative name, for a socket's address holds 108 bytes.
    os.chdir(stubs[-1].parent)
    given = list(arguments)
    if given and not given[0].startswith("-"):
        given[0] = vmlinux
    os.execv(gdb, [gdb, "-q", "-ex", f"target remote ./{stubs[-1].name}", *given])


def live() -> list[Path]:
    """The gdb sockets of live guests, oldest first."""
    found = [path for path in (cache.folder() / "live").glob("*/*/gdb") if _alive(path)]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _alive(path: Path) -> bool:
    return Path("/proc", path.parents[1].name.split("-")[0]).exists()
