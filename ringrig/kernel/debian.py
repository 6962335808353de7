"""`debian:X.Y` → a prebuilt kernel: found, downloaded and unpacked into the cache, never installed."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ringrig import cache
from ringrig.cache import Say
from ringrig.errors import KernelUnavailable
from ringrig.kernel import apt as archive
from ringrig.kernel import modules
from ringrig.kernel.apt import Apt, Package
from ringrig.kernel.buildid import build_id
from ringrig.kernel.spec import Image

# linux-image-6.1.0-56-amd64, linux-image-6.12.117+deb12-amd64, …-unsigned; not …-cloud-amd64 (no 9p),
# …-rt-amd64, …-dbg, nor linux-image-6.12-amd64, which is empty and only depends on the newest.
_IMAGE = re.compile(
    r"linux-image-(?P<release>(?P<series>\d+\.\d+)(?:\.\d+)?(?:-rc\d+)?(?:-\d+|\+[a-z0-9.+~]+)-amd64)"
    r"(?:-unsigned)?"
)
_KIND = "kernels"
_FACTS = "package"
_KEPT = 10
_RELEASES = ("bookworm", "trixie", "forky", "duke")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One kernel on offer: its packages (image first), its uname release, its X.Y series."""

    apt: Apt
    package: Package
    release: str
    series: str


def resolve(series: str, *, say: Say) -> Image:
    """The newest package of Debian's kernel X.Y; if `series` is "", of the newest X.Y of this machine's apt.

    Raises KernelUnavailable (what is on offer is listed), HostLacks, NoSpace.
    """
    offered: set[str] = set()
    complaints: list[str] = []
    for view in _views(say, complaints):
        found = _candidates(view)
        offered |= {candidate.series for candidate in found}
        wanted = series or max(offered, key=_numbers, default="")
        matching = [candidate for candidate in found if candidate.series == wanted]
        if not matching:
            continue
        try:
            return _fetched(functools.reduce(_newer, matching), say=say)
        except KernelUnavailable as error:
            complaints.append(error.what)
            # The system's lists may be old and name what the mirror no longer has; fresh ones come next.
            if view.name != "system":
                break
    kept = _kept(series)
    if kept:
        say(f"not to be had from the archive now; taking {kept.name} from the cache")
        return _image(cache.entry(_KIND, kept.name, make=_cannot, say=say))
    raise _unavailable(series, offered, complaints)


def _views(say: Say, complaints: list[str]) -> Iterator[Apt]:
    """The machine's own apt, then ever further suites, fetched only when those before did not do."""
    system = archive.system()
    yield system
    own = archive.refreshed()
    _update(own, complaints, say)
    yield own
    if complaints:
        # Without its own suites' lists there is no network, and each further suite would wait for it again.
        return
    mirror = archive.configured()
    if mirror is None:
        complaints.append("this machine's apt sources name no Debian mirror")
        return
    codename = archive.release()
    place = _RELEASES.index(codename) if codename in _RELEASES else 0
    near = [f"{name}-backports" for name in _RELEASES[place : place + 2]]
    far = [name for name in _RELEASES[:-1] if name != codename]
    for name, suites in [
        *((suite, [suite]) for suite in reversed(near)),
        *((s, [s]) for s in far),
        ("sid", ["sid"]),
    ]:
        view = archive.beyond(name, mirror=mirror, suites=suites)
        _update(view, complaints, say)
        yield view


def _update(view: Apt, complaints: list[str], say: Say) -> None:
    complaint = archive.update(view, say=say)
    if complaint:
        complaints.append(f"no package lists of {view.name}: {complaint}")


def _candidates(view: Apt) -> list[Candidate]:
    matches = [m for m in map(_IMAGE.fullmatch, archive.names(view, "linux-image-")) if m]
    by_name = {m[0]: m for m in matches}
    return [
        Candidate(apt=view, package=p, release=by_name[p.name]["release"], series=by_name[p.name]["series"])
        for p in archive.show(view, sorted(by_name))
        if p.name in by_name
    ]


def _newer(one: Candidate, other: Candidate) -> Candidate:
    """The newer; of the same version in both forms the signed one, which is what people run."""
    if one.package.version == other.package.version:
        return min(one, other, key=lambda c: len(c.package.name))
    return one if archive.newer(one.package.version, other.package.version) else other


def _fetched(candidate: Candidate, *, say: Say) -> Image:
    package = candidate.package

    def make(folder: Path) -> None:
        _unpack(candidate, folder, say=say)

    root = cache.entry(_KIND, f"{package.name}_{package.version}", make=make, say=say)
    cache.prune(_KIND, keep=_KEPT)
    return _image(root)


def _image(root: Path) -> Image:
    name, version, series, release = (root / _FACTS).read_text().split()
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


def _kept(series: str) -> Path | None:
    """The newest kernel of that series that was fetched before, for a machine that has lost its network."""
    kept = [facts for facts in (cache.folder() / _KIND).glob(f"[!.]*/{_FACTS}") if _is_of(facts, series)]
    newest = max(kept, key=lambda facts: facts.stat().st_mtime, default=None)
    return newest.parent if newest else None


def _cannot(_: Path) -> None:
    raise KernelUnavailable("The kernel was removed from the cache just now.", next_step="run it again")


def _is_of(facts: Path, series: str) -> bool:
    return not series or facts.read_text().split()[2] == series


def _unpack(candidate: Candidate, folder: Path, *, say: Say) -> None:
    """One shape for every packaging: boot/vmlinuz-R, boot/config-R, lib/modules/R with depmod's indexes."""
    debs = folder / "debs"
    debs.mkdir()
    packages = _parts(candidate)
    files = archive.download(candidate.apt, packages, into=debs, say=say)
    say(f"unpacking {candidate.package.name} ({sum(p.unpacked for p in packages) / 1e6:.0f} MB)")
    unpacked = folder / "unpacked"
    for file in files:
        archive.extract(file, unpacked)
    shutil.rmtree(debs)
    _arrange(unpacked, folder, candidate.release)
    shutil.rmtree(unpacked)
    facts = (candidate.package.name, candidate.package.version, candidate.series, candidate.release)
    (folder / _FACTS).write_text(" ".join(facts))
    say(f"indexing the modules of {candidate.release}")
    modules.index(folder, candidate.release)


def _parts(candidate: Candidate) -> list[Package]:
    """From 7.2 on linux-image-* is empty: image, modules and configuration are packages of their own."""
    package, release = candidate.package, candidate.release
    inside = re.findall(
        rf"linux-(?:binary|modules)-{re.escape(release)}(?:-unsigned)?(?= |,|$)", package.depends
    )
    if not inside:
        return [package]
    shown = archive.show(candidate.apt, [*inside, f"linux-base-{release}"])
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


def _unavailable(series: str, offered: set[str], complaints: list[str]) -> KernelUnavailable:
    what = f"Debian's kernel {series} is not to be had." if series else "This machine's apt offers no kernel."
    if complaints:
        what += "\n  " + "\n  ".join(complaints)
    if complaints or not offered:
        return KernelUnavailable(what, next_step="check the network and /etc/apt/sources.list, run it again")
    listed = ", ".join(sorted(offered, key=_numbers))
    return KernelUnavailable(
        what, next_step=f"take one of: {listed} (like --kernel debian:{max(offered, key=_numbers)})"
    )


def _numbers(series: str) -> tuple[int, ...]:
    return tuple(int(part) for part in series.split("."))
