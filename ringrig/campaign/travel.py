"""What travels to a cluster's workers: the suite, and a job's kernel, each as a parcel named after its content.

As a program (`python -m ringrig.campaign.travel OUT KERNEL GUEST …`) it finds or builds a job's kernel and packs it: a process
of its own, like the session that a job is on this machine, with what it prints in the job's output.txt.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import platform
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import zstandard

from ringrig.cache import writing
from ringrig.campaign.job import Job
from ringrig.errors import BadSpec, HostLacks, RigError
from ringrig.kernel import Image, Wanted, resolve, travelled
from ringrig.kernel.travelled import PREFIX
from ringrig.plugin.record import VERSION_FILE

__all__ = ["PREFIX", "Parcel", "kernel", "machine", "packed", "packing", "place", "requirements", "suite"]

_EPOCH = 946684800
"""The time of every file in a parcel (2000): the same files are the same parcel."""
_UNNEEDED = ("docs/", ".ci/")
_PARAMETERS = zstandard.ZstdCompressionParameters.from_level(3, enable_ldm=True, window_log=27)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A file; `name` is a digest of its content."""

    name: str
    path: Path


def place(folder: Path, name: str) -> Path:
    """Where a parcel lies in a folder of them."""
    return folder / f"{name}.tar.zst"


def suite(root: Path, folder: Path, version: str) -> Parcel:
    """The clone `root` as it is now, without what no run needs, as a parcel in `folder`. HostLacks, NoSpace."""
    listing = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listing, capture_output=True, text=True, check=False)
    if found.returncode:
        raise HostLacks(
            f"What belongs to the suite cannot be told: {found.stderr.strip()}.",
            next_step="--cluster sends a git clone: run it from one",
        )
    with _packing(folder) as (add, parcel):
        for name in sorted({name for name in found.stdout.split("\0") if name}):
            if (root / name).is_file() and not name.startswith(_UNNEEDED):
                add(root / name, name)
        add(version.encode(), VERSION_FILE)
    return parcel[0]


def requirements(root: Path) -> list[str]:
    """What the suite needs of a worker's Python environment, as pyproject.toml writes it."""
    told = tomllib.loads((root / "pyproject.toml").read_text())
    return [str(one) for one in told["project"]["dependencies"]]


def kernel(image: Image, folder: Path) -> Parcel:
    """A kernel as a parcel in `folder`, which travelled.resolve() knows where it is unpacked. NoSpace."""
    with _packing(folder) as (add, parcel):
        for name, where in sorted(travelled.parts(image).items()):
            add(where, name)
        add(travelled.manifest(image).encode(), travelled.MANIFEST)
    return parcel[0]


@contextmanager
def _packing(folder: Path) -> Iterator[tuple[Callable[[Path | bytes, str], None], list[Parcel]]]:
    """add(what, name), and a list that has the parcel in it afterwards."""
    part, made = folder / f".packing-{os.getpid()}", list[Parcel]()
    with writing("a parcel"):
        folder.mkdir(parents=True, exist_ok=True)
        with (
            part.open("wb") as file,
            zstandard.ZstdCompressor(compression_params=_PARAMETERS).stream_writer(file) as packed,
            tarfile.open(fileobj=packed, mode="w|", dereference=True) as tar,
        ):

            def add(what: Path | bytes, name: str) -> None:
                if isinstance(what, Path):
                    tar.add(what, name, filter=_plain)
                else:
                    info = tarfile.TarInfo(name)
                    info.size = len(what)
                    tar.addfile(_plain(info), io.BytesIO(what))

            yield add, made
        with part.open("rb") as whole:
            name = hashlib.file_digest(whole, "sha256").hexdigest()[:32]
        path = part.replace(place(folder, name))
    made.append(Parcel(name=name, path=path))


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without what says when and by whom: that is no content."""
    info.mtime, info.uid, info.gid, info.uname, info.gname = _EPOCH, 0, 0, "", ""
    return info


def packing(job: Job, folder: Path) -> list[str]:
    """The program that packs a job's kernel: OUT/parcel has the parcel's name and what the worker must be."""
    options = [
        *(f"--config={one}" for one in job.configs),
        *(f"--patch={one}" for one in job.patches),
    ]
    return [sys.executable, "-m", __name__, str(folder), f"--guest={job.guest}", *options, job.kernel]


def packed(folder: Path) -> tuple[Parcel, str]:
    """What that program has left: the parcel, and the kind of guest it is for."""
    name, arch = (folder / "parcel").read_text().split()
    return Parcel(name=name, path=place(folder, name)), arch


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("kernel")
    parser.add_argument("--guest")
    parser.add_argument("--config", action="append", default=[])
    parser.add_argument("--patch", action="append", default=[])
    chosen = parser.parse_args()
    wanted = Wanted.of(guest=chosen.guest, configs=chosen.config, patches=chosen.patch)
    try:
        image = resolve(chosen.kernel, wanted=wanted, say=lambda line: print(f"rig: {line}", flush=True))
        if not isinstance(image, Image):
            raise BadSpec(
                f"{chosen.kernel} stays where it is: it is no kernel that could travel to a worker.",
                next_step="run it without --cluster",
            )
        parcel = kernel(image, chosen.folder)
        with writing("a parcel"):
            (chosen.folder / "parcel").write_text(f"{parcel.name} {image.arch}\n")
    except RigError as error:
        print(f"Exit: {error}")
        return error.exit_code
    return 0


def machine() -> tuple[str, ...]:
    """What a worker must be to run what is packed here, in the names that workers declare."""
    return platform.machine(), f"python{sys.version_info.major}.{sys.version_info.minor}"


if __name__ == "__main__":
    sys.exit(main())
