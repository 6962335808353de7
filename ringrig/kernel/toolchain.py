"""What builds kernels on this machine: is it all there, and which is it."""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
from pathlib import Path

from ringrig.errors import HostLacks

# Program or header, and the Debian package that brings it.
NEEDED = (
    ("gcc", "gcc"),
    ("ld", "binutils"),
    ("make", "make"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("git", "git"),
    ("xz", "xz-utils"),
    ("lz4", "lz4"),
    ("ccache", "ccache"),
    ("bwrap", "bubblewrap"),
    ("/usr/include/stdio.h", "libc6-dev"),
    ("/usr/include/libelf.h", "libelf-dev"),
)


def missing() -> list[str]:
    """The Debian packages that bring what is not here."""
    return [package for name, package in NEEDED if not _is_here(name)]


def check() -> None:
    """Raises HostLacks, which names the packages, if a kernel cannot be built here."""
    if packages := missing():
        raise HostLacks(
            f"Kernels cannot be built here for want of: {', '.join(packages)}.",
            next_step=f"start with ./rig, which installs them, or: apt-get install {' '.join(packages)}",
        )


@functools.cache
def identity() -> str:
    """A hash that changes when compiler, assembler or linker do: what they make may then differ."""
    said = [
        _says("gcc", "--version"),
        _says("gcc", "-dumpmachine"),
        _says("as", "--version"),
        _says("ld", "--version"),
    ]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:12]


def name() -> str:
    """The compiler as a person calls it: "gcc (Debian 12.2.0-14+deb12u1) 12.2.0"."""
    return _says("gcc", "--version").partition("\n")[0]


def _is_here(name: str) -> bool:
    return Path(name).exists() if name.startswith("/") else shutil.which(name) is not None


def _says(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
