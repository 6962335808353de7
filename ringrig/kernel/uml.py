"""User-Mode Linux kernels: Debian's prebuilt ones (`debian-uml:X.Y`), and an executable that somebody built."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from ringrig import cache
from ringrig.cache import Say
from ringrig.errors import KernelUnavailable, NotAKernel
from ringrig.kernel import apt as archive
from ringrig.kernel.apt import Package
from ringrig.kernel.buildid import digest, of_vmlinux
from ringrig.kernel.packages import Kind, Offer, facts, newest, series_in
from ringrig.kernel.spec import Image

LIBRARIES = "/ringrig/libs"
"""Where a guest's box shows an image's `libs`."""
_LOADER = "/lib64/ld-linux-x86-64.so.2"
_PACKAGE = "user-mode-linux"
_KIND = "uml"
_KEPT = 6
# Printed by --help (arch/um/kernel/um_arch.c, usage_string), so that it is in every such executable and no other.
_MARK = b"User Mode Linux v%s"
# init/version-timestamp.c (linux_banner) and arch/um/kernel/config.c.in: a string for each line of the .config.
_BANNER = re.compile(rb"Linux version (\S+) \(")
_OPTION = re.compile(rb"\0((?:CONFIG_\w+=[^\0\n]*|# CONFIG_\w+ is not set)\n)(?=\0)")


def _series(package: Package) -> str:
    return series_in(package.version) if package.name == _PACKAGE else ""


_PACKAGES = Kind(
    spec="debian-uml",
    noun="Debian's User-Mode Linux",
    prefix=_PACKAGE,
    series_of=_series,
    store=_KIND,
    keep=_KEPT,
)


def resolve(series: str, *, say: Say) -> Image:
    """The newest package of Debian's User-Mode Linux X.Y; if `series` is "", the newest of this machine's apt.

    Raises KernelUnavailable (what is on offer is listed), HostLacks, NoSpace.
    """
    return _packaged(
        newest(_PACKAGES, series, make=lambda offer, folder: _unpack(offer, folder, say=say), say=say)
    )


def is_executable(path: Path) -> bool:
    """Whether a file is a User-Mode Linux kernel; one that cannot be read is not known to be."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"\x7fELF" and _MARK in file.read()
    except OSError:
        return False


def from_file(spec: str, path: Path, *, say: Say) -> Image:
    """A snapshot of an executable that somebody built, in the cache: it may be built again while guests run."""

    def make(folder: Path) -> None:
        shutil.copyfile(path, folder / "linux")
        (folder / "linux").chmod(0o755)
        _describe(folder)

    root = cache.entry(_KIND, f"file-{digest(path)[:16]}", make=make, say=say)
    cache.prune(_KIND, keep=_KEPT)
    release = (root / "release").read_text()
    return built(root / "linux", spec=spec, label=f"{spec} ({release})", config=root / "config")


def built(executable: Path, *, spec: str, label: str, config: Path | None = None) -> Image:
    """The image that is an executable built here. NotAKernel: it does not say which release it is."""
    return Image(
        spec=spec,
        label=label,
        path=executable,
        release=_said(executable)[0],
        build_id=of_vmlinux(executable),
        modules=None,
        config=config,
        package=None,
        arch="um",
        vmlinux=executable,
    )


def _packaged(root: Path) -> Image:
    name, version, series = facts(root)
    libs = root / "libs"
    return Image(
        spec=f"debian-uml:{series}",
        label=f"debian-uml:{series} ({version})",
        path=root / "linux",
        release=(root / "release").read_text(),
        build_id=of_vmlinux(root / "linux"),
        modules=None,
        config=root / "config",
        package=f"{name} {version}",
        arch="um",
        libs=libs if libs.is_dir() else None,
    )


def _unpack(offer: Offer, folder: Path, *, say: Say) -> None:
    """The executable; and the C library of its own suite, if this machine's is too old for it."""
    debs, unpacked = folder / "debs", folder / "unpacked"
    debs.mkdir()
    wanted = [offer.package, *_library(offer)]
    for file in archive.download(offer.apt, wanted, into=debs, say=say):
        archive.extract(file, unpacked)
    shutil.copyfile(unpacked / "usr/bin/linux.uml", folder / "linux")
    (folder / "linux").chmod(0o755)
    if len(wanted) > 1:
        _arrange(unpacked, folder)
    _describe(folder)
    shutil.rmtree(debs)
    shutil.rmtree(unpacked)
    (folder / "package").write_text(f"{offer.package.name} {offer.package.version} {offer.series}")


def _library(offer: Offer) -> list[Package]:
    needed = re.search(r"\blibc6 \(>= ([^)]+)\)", offer.package.depends)
    if not needed or not archive.newer(needed[1], _own_library()):
        return []
    found = [p for p in archive.show(offer.apt, ["libc6"]) if not archive.newer(needed[1], p.version)]
    if not found:
        raise KernelUnavailable(
            f"{offer.package.name} {offer.package.version} needs libc6 {needed[1]}: not in the archive.",
            next_step="try again later, or take an older series",
        )
    return found[:1]


def _own_library() -> str:
    """The version of the C library that this process runs on."""
    return (os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc ")


def _arrange(unpacked: Path, folder: Path) -> None:
    """Beside the executable the library, and in it the loader's new name: were the loader told on the command line which
    program to run, the heap would lie elsewhere than UML takes for granted (linux_main).
    """
    libs = folder / "libs"
    libs.mkdir()
    loader = next(path for path in unpacked.rglob(Path(_LOADER).name) if not path.is_symlink())
    for file in loader.parent.glob("*.so*"):
        shutil.copy(file, libs / file.name)
    loader.rename(libs / "ld.so")
    (libs / "ld.so").chmod(0o755)
    content = (folder / "linux").read_bytes()
    name = f"{LIBRARIES}/ld.so".encode().ljust(len(_LOADER), b"\0")
    (folder / "linux").write_bytes(content.replace(_LOADER.encode(), name, 1))


def _describe(folder: Path) -> None:
    release, config = _said(folder / "linux")
    (folder / "release").write_text(release)
    (folder / "config").write_text(config)


def _said(executable: Path) -> tuple[str, str]:
    """An executable's release and configuration, as it would tell by --version and --showconfig, without running it.

    NotAKernel: it is of no release.
    """
    content = executable.read_bytes()
    release = _BANNER.search(content)
    if not release:
        raise NotAKernel(
            f"{executable} does not say which kernel it is.",
            next_step="build it again (make ARCH=um), or take another kernel",
        )
    return release[1].decode(), b"".join(_OPTION.findall(content)).decode()
