"""What the rig takes from this machine without installing it: the SSH server that guests run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from ringrig import cache
from ringrig.cache import Say
from ringrig.errors import HostLacks, KernelUnavailable
from ringrig.kernel import apt as archive

_INSTALLED = Path("/usr/sbin/sshd")
_LOADER = Path("/lib64/ld-linux-x86-64.so.2")
# Programs that sshd (9.8 and later) starts for each connection.
_HELPERS = ("usr/lib/openssh/sshd-session", "usr/lib/openssh/sshd-auth")


def sshd(*, say: Say) -> Path:
    """A directory with usr/sbin/sshd and, in usr/lib and lib, the libraries of it that this machine lacks.

    The server is this machine's own if it has one; else Debian's package, downloaded and unpacked, so that
    no service is installed. Raises HostLacks, NoSpace.
    """
    if _INSTALLED.exists():
        stat = _INSTALLED.stat()
        return cache.entry("sshd", f"own-{stat.st_size}-{int(stat.st_mtime)}", make=_copy, say=say)
    kept = sorted((cache.folder() / "sshd").glob("debian-*"))
    # A guest's server meets nobody but the rig: any version that was fetched once does.
    name = kept[-1].name if kept else f"debian-{archive.release() or 'unknown'}"
    return cache.entry("sshd", name, make=lambda folder: _fetch(folder, say), say=say)


def missing_libraries(program: Path, root: Path) -> list[str]:
    """The shared libraries that `program` needs and that neither this machine nor `root` has."""
    path = ":".join(str(directory) for directory in library_directories(root))
    listed = subprocess.run(
        [str(_LOADER), str(program)],
        # With --list the loader stops at the first that is missing.
        env={**os.environ, "LD_LIBRARY_PATH": path, "LD_TRACE_LOADED_OBJECTS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return re.findall(r"^\s*(\S+) => not found", listed.stdout, re.MULTILINE)


def library_directories(root: Path) -> list[Path]:
    """The directories below `root` that hold shared libraries."""
    return sorted(
        {file.parent for lib in ("lib", "usr/lib") for file in (root / lib).glob("*-linux-gnu/*.so.*")}
    )


def _copy(folder: Path) -> None:
    for file in (_INSTALLED, *(Path("/", helper) for helper in _HELPERS)):
        if file.exists():
            place = folder / file.relative_to("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)


def _fetch(folder: Path, say: Say) -> None:
    system, own = archive.system(), archive.refreshed()
    try:
        _unpack(system, folder, say)
    except KernelUnavailable:
        complaint = archive.update(own, say=say, force=True)
        try:
            _unpack(own, folder, say)
        except KernelUnavailable as error:
            raise HostLacks(
                f"The guests' SSH server could not be fetched: {complaint or error.what}",
                next_step="check the network and run it again, or install openssh-server",
            ) from error


def _unpack(apt: archive.Apt, folder: Path, say: Say) -> None:
    """Unpacks openssh-server, then what its dependencies hold of the libraries that are still missing."""
    wanted, done = ["openssh-server"], set[str]()
    program = folder / "usr/sbin/sshd"
    while wanted:
        found = {package.name: package for package in archive.show(apt, wanted)}
        if not found:
            raise KernelUnavailable(f"No {', '.join(wanted)} is on offer.", next_step="run apt-get update")
        debs = folder / "debs"
        debs.mkdir(exist_ok=True)
        for file in archive.download(apt, list(found.values()), into=debs, say=say):
            archive.extract(file, folder)
        shutil.rmtree(debs)
        done |= set(wanted)
        if not missing_libraries(program, folder):
            return
        needed = {
            re.split(r"[ (:|]", name.strip())[0] for p in found.values() for name in p.depends.split(",")
        }
        wanted = sorted(name for name in needed if name.startswith(("lib", "zlib")) and name not in done)
        wanted = [name for name in wanted if not _is_installed(name)]
    raise HostLacks(
        f"sshd needs {', '.join(missing_libraries(program, folder))}, which was not found.",
        next_step="install openssh-server",
    )


def _is_installed(package: str) -> bool:
    state = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True, check=False
    )
    return state.stdout.endswith("ok installed")
