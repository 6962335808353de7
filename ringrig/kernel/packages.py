"""The newest Debian package of a kernel series: in this machine's own suites, else in those beyond them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ringrig import cache
from ringrig.cache import Say
from ringrig.errors import KernelUnavailable
from ringrig.kernel import apt as archive
from ringrig.kernel.apt import Apt, Package

_FACTS = "package"
_RELEASES = ("bookworm", "trixie", "forky", "duke")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A family of packages: `spec` names it on the command line, `noun` in sentences."""

    spec: str
    noun: str
    prefix: str
    series_of: Callable[[Package], str]
    """The X.Y of a package, "" for one that is of the family in name only."""
    store: str
    """The kind of the cache's entries, one for each version of a package."""
    keep: int
    """How many of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One version of one package, and the view of the archive that has it."""

    apt: Apt
    package: Package
    series: str


def newest(kind: Kind, series: str, *, make: Callable[[Offer, Path], None], say: Say) -> Path:
    """The cache's entry of the newest package of series X.Y; if it is "", of the newest X.Y of this machine's apt.

    `make` fills a new one, and writes name, version and series into its file `package`. Where nothing can be fetched,
    the newest that was kept. Raises KernelUnavailable (what is on offer is listed), HostLacks, NoSpace.
    """
    offered: set[str] = set()
    complaints: list[str] = []
    hint = ""
    for view in _views(say, complaints):
        found = _offers(view, kind)
        offered |= {offer.series for offer in found}
        wanted = series or max(offered, key=_numbers, default="")
        matching = [offer for offer in found if offer.series == wanted]
        if not matching:
            continue
        try:
            return _entry(kind, functools.reduce(_newer, matching), make, say=say)
        except KernelUnavailable as error:
            complaints.append(error.what)
            hint = error.next_step
            # The system's lists may be old and name what the mirror no longer has; fresh ones come next.
            if view.name != "system":
                break
    old = _kept(kind, series)
    if old is None:
        raise _unavailable(kind, series, offered, complaints, hint)
    say(f"not to be had from the archive now; taking {old.name} from the cache")
    return cache.entry(kind.store, old.name, make=_cannot, say=say)


def facts(root: Path) -> list[str]:
    """What an entry's file `package` says: name, version, series, and what its kind adds."""
    return (root / _FACTS).read_text().split()


def _entry(kind: Kind, offer: Offer, make: Callable[[Offer, Path], None], *, say: Say) -> Path:
    name = f"{offer.package.name}_{offer.package.version}"
    root = cache.entry(kind.store, name, make=functools.partial(make, offer), say=say)
    cache.prune(kind.store, keep=kind.keep)
    return root


def _kept(kind: Kind, series: str) -> Path | None:
    """The one of that series that was used last, for a machine that has lost its network."""
    files = (cache.folder() / kind.store).glob(f"[!.]*/{_FACTS}")
    roots = [file.parent for file in files if not series or facts(file.parent)[2] == series]
    return max(roots, key=lambda root: root.stat().st_mtime, default=None)


def _cannot(_: Path) -> None:
    raise KernelUnavailable("The kernel was removed from the cache just now.", next_step="run it again")


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
    for name in [*reversed(near), *far, "sid"]:
        view = archive.beyond(name, mirror=mirror, suites=[name])
        _update(view, complaints, say)
        yield view


def _update(view: Apt, complaints: list[str], say: Say) -> None:
    complaint = archive.update(view, say=say)
    if complaint:
        complaints.append(f"no package lists of {view.name}: {complaint}")


def _offers(view: Apt, kind: Kind) -> list[Offer]:
    shown = archive.show(view, sorted(archive.names(view, kind.prefix)))
    found = [Offer(apt=view, package=package, series=kind.series_of(package)) for package in shown]
    return [offer for offer in found if offer.series]


def _newer(one: Offer, other: Offer) -> Offer:
    """The newer; of the same version in two forms (signed and unsigned) the one with the shorter name."""
    if one.package.version == other.package.version:
        return min(one, other, key=lambda offer: len(offer.package.name))
    return one if archive.newer(one.package.version, other.package.version) else other


def _unavailable(
    kind: Kind, series: str, offered: set[str], complaints: list[str], hint: str
) -> KernelUnavailable:
    """`hint`: what the one that was found lacks, or why it does not come, has a next step of its own."""
    what = (
        f"{kind.noun} {series} is not to be had."
        if series
        else f"This machine's apt offers no {kind.spec} kernel."
    )
    if complaints:
        what += "\n  " + "\n  ".join(complaints)
    if complaints or not offered:
        return KernelUnavailable(
            what, next_step=hint or "check the network and /etc/apt/sources.list, run it again"
        )
    listed = ", ".join(sorted(offered, key=_numbers))
    return KernelUnavailable(
        what, next_step=f"take one of: {listed} (like --kernel {kind.spec}:{max(offered, key=_numbers)})"
    )


def _numbers(series: str) -> tuple[int, ...]:
    return tuple(int(part) for part in series.split("."))


def series_in(version: str) -> str:
    """The X.Y that a package version begins with: "6.12" of 6.12.117-1~deb12u1."""
    found = re.match(r"\d+\.\d+", version)
    return found[0] if found else ""
