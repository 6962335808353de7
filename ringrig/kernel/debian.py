"""`debian:X.Y` → a prebuilt kernel: found, downloaded and unpacked into the cache, never installed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ringrig.cache import Say
from ringrig.errors import KernelUnavailable
from ringrig.kernel import apt as archive
from ringrig.kernel import modules
from ringrig.kernel.apt import Package
from ringrig.kernel.buildid import build_id
from ringrig.kernel.packages import Kind, Offer, facts, newest
from ringrig.kernel.spec import Image

# linux-image-6.1.0-56-amd64, linux-image-6.12.117+deb12-amd64, …-unsigned; not …-cloud-amd64 (no 9p),
# …-rt-amd64, …-dbg, nor linux-image-6.12-amd64, which is empty and only depends on the newest.
_IMAGE = re.compile(
    r"linux-image-(?P<release>(?P<series>\d+\.\d+)(?:\.\d+)?(?:-rc\d+)?(?:-\d+|\+[a-z0-9.+~]+)-amd64)"
    r"(?:-unsigned)?"
)


def _series(package: Package) -> str:
    found = _IMAGE.fullmatch(package.name)
    return found["series"] if found else ""


_PACKAGES = Kind(
    spec="debian",
    noun="Debian's kernel",
    prefix="linux-image-",
    series_of=_series,
    store="kernels",
    keep=10,
)


def resolve(series: str, *, say: Say) -> Image:
    """The newest package of Debian's kernel X.Y; if `series` is "", of the newest X.Y of this machine's apt.

    Raises KernelUnavailable (what is on offer is listed), HostLacks, NoSpace.
    """
    return _image(
        newest(_PACKAGES, series, make=lambda offer, folder: _unpack(offer, folder, say=say), say=say)
    )


def _image(root: Path) -> Image:
    name, version, series, release = facts(root)
    path, config = root / "boot" / f"vmlinuz-{release}", root / "boot" / f"config-{release}"
    return Image(
        spec=f"debian:{series}",
        label=f"debian:{series} ({version})",
        path=path,
        release=release,
        build_id=build_id(path),
        modules=root,
        config=config if config.is_file() else None,
        package=f"{name} {version}",
    )


def _unpack(offer: Offer, folder: Path, *, say: Say) -> None:
    """One shape for every packaging: boot/vmlinuz-R, boot/config-R, lib/modules/R with depmod's indexes."""
    debs = folder / "debs"
    debs.mkdir()
    package, release = offer.package, _release(offer.package)
    packages = _parts(offer, release)
    files = archive.download(offer.apt, packages, into=debs, say=say)
    say(f"unpacking {package.name} ({sum(p.unpacked for p in packages) / 1e6:.0f} MB)")
    unpacked = folder / "unpacked"
    for file in files:
        archive.extract(file, unpacked)
    shutil.rmtree(debs)
    _arrange(unpacked, folder, release)
    shutil.rmtree(unpacked)
    (folder / "package").write_text(" ".join((package.name, package.version, offer.series, release)))
    say(f"indexing the modules of {release}")
    modules.index(folder, release)


def _release(package: Package) -> str:
    found = _IMAGE.fullmatch(package.name)
    assert found is not None
    return found["release"]


def _parts(offer: Offer, release: str) -> list[Package]:
    """From 7.2 on linux-image-* is empty: image, modules and configuration are packages of their own."""
    package = offer.package
    inside = re.findall(
        rf"linux-(?:binary|modules)-{re.escape(release)}(?:-unsigned)?(?= |,|$)", package.depends
    )
    if not inside:
        return [package]
    shown = archive.show(offer.apt, [*inside, f"linux-base-{release}"])
    parts = [part for part in shown if part.version == package.version]
    absent = set(inside) - {part.name for part in parts}
    if absent:
        raise KernelUnavailable(
            f"{package.name} {package.version} needs {', '.join(sorted(absent))}: not in the archive.",
            next_step="try again later, or take another series",
        )
    return parts


def _arrange(unpacked: Path, folder: Path, release: str) -> None:
    places = (unpacked / "lib/modules", unpacked / "usr/lib/modules")
    found = next((place for place in places if (place / release).is_dir()), None)
    if found is None:
        raise KernelUnavailable(
            f"The package of {release} holds no modules.", next_step="take another series"
        )
    (folder / "boot").mkdir()
    (folder / "lib").mkdir()
    for kind in ("vmlinuz", "config"):
        old, new = unpacked / "boot" / f"{kind}-{release}", found / release / kind
        if old.is_file() or new.is_file():
            (old if old.is_file() else new).rename(folder / "boot" / old.name)
        elif kind == "vmlinuz":
            raise KernelUnavailable(
                f"The package of {release} holds no image.", next_step="take another series"
            )
    found.rename(folder / "lib" / "modules")
