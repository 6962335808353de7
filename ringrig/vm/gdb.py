"""`rig gdb`: attach to the kernel of a guest that `--keep-guest` (or `rig shell`) holds."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ringrig import cache
from ringrig.errors import HostLacks, KernelUnavailable


def main(arguments: Sequence[str]) -> int:
    """Replaces this process by gdb on the newest live guest's stub; more words go to gdb.

    KernelUnavailable: no guest lives.
    """
    parser = argparse.ArgumentParser(
        prog="rig gdb", description="Attach gdb to the kernel of a guest that is alive."
    )
    parser.add_argument("vmlinux", nargs="?", help="the kernel's ELF file with symbols, if there is one")
    chosen, rest = parser.parse_known_args(arguments)
    stubs = live()
    if not stubs:
        raise KernelUnavailable(
            "No guest is alive.",
            next_step="start one that stays: rig run --keep-guest … or rig shell --kernel …",
        )
    gdb = shutil.which("gdb")
    if gdb is None:
        raise HostLacks("There is no gdb here.", next_step="apt-get install gdb")
    # A relative name, for a socket's address holds 108 bytes.
    os.chdir(stubs[-1].parent)
    files = [str(Path(chosen.vmlinux).resolve())] if chosen.vmlinux else []
    os.execv(gdb, [gdb, "-q", *rest, "-ex", f"target remote ./{stubs[-1].name}", *files])


def live() -> list[Path]:
    """The gdb sockets of live guests, oldest first."""
    found = [path for path in (cache.folder() / "live").glob("*/*/gdb") if _alive(path)]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _alive(path: Path) -> bool:
    return Path("/proc", path.parents[1].name.split("-")[0]).exists()
