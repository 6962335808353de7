"""Where a kernel's source comes from: Debian's linux-source package, or a tree of the user's."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ringrig import cache
from ringrig.cache import Say
from ringrig.errors import BadSpec, KernelUnavailable
from ringrig.kernel import apt as archive
from ringrig.kernel.apt import Package
from ringrig.kernel.packages import Kind, Offer, facts, newest, series_in
from ringrig.kernel.repo import Repo, asks, resolved
from ringrig.kernel.spec import debian_series

KIND = "origins"
_KEPT = 6
_UNPACKED = 2200 << 20
"""Bytes that an unpacked source, its objects and one build take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A source to build: the tree object `tree` in the repository below `place`, an entry of the cache.

    `place` has git/ (the repository), src/ (its checkout, with git/src.index) and out/ (builds).
    """

    spec: str
    label: str
    place: Path
    tree: str

    @property
    def repo(self) -> Repo:
        return Repo(path=self.place / "git")

    @property
    def lock(self) -> str:
        """What to hold while the checkout or an index changes."""
        return f"{KIND}/{self.place.name}.busy"


def named(spec: str, *, say: Say) -> Origin | None:
    """What source[:X.Y] or tree:PATH[@REV] stands for; None: `spec` is of another form. Raises as package() and tree() do."""
    kind, series = debian_series(spec) or ("", "")
    if kind == "source":
        return package(series, say=say)
    return tree(spec, say=say) if spec.startswith("tree:") else None


def _series(package: Package) -> str:
    # linux-source-6.12; the package linux-source only depends on the newest.
    series = package.name.removeprefix("linux-source-")
    return series if series == series_in(package.version) else ""


_PACKAGES = Kind(
    spec="source",
    noun="Debian's linux-source",
    prefix="linux-source-",
    series_of=_series,
    store=KIND,
    keep=_KEPT,
)


def package(series: str, *, say: Say) -> Origin:
    """The newest linux-source package of series X.Y ("": of the newest), fetched and unpacked once.

    Raises KernelUnavailable (what is on offer is listed), HostLacks, NoSpace.
    """
    place = newest(_PACKAGES, series, make=lambda offer, folder: _unpack(offer, folder, say=say), say=say)
    _, version, found, tree = facts(place)
    return Origin(spec=f"source:{found}", label=f"source:{found} ({version})", place=place, tree=tree)


def _unpack(offer: Offer, folder: Path, *, say: Say) -> None:
    cache.need_space(f"Unpacking {offer.package.name}", _UNPACKED)
    (folder / "deb").mkdir()
    [deb] = archive.download(offer.apt, [offer.package], into=folder / "deb", say=say)
    archive.extract(deb, folder / "deb")
    tarball = next((folder / "deb/usr/src").glob("linux-source-*.tar.xz"), None)
    if tarball is None:
        raise KernelUnavailable(f"{offer.package.name} holds no source.", next_step="take another series")
    say(f"unpacking {tarball.name} (once; 1.4 GB)")
    (folder / "src").mkdir()
    tar = ["tar", "-xf", str(tarball), "-C", str(folder / "src"), "--strip-components=1", "--no-same-owner"]
    done = subprocess.run(
        tar, capture_output=True, text=True, check=False, env={"XZ_OPT": "-T0", "PATH": "/usr/bin:/bin"}
    )
    if "No space left" in done.stderr:
        raise cache.full(f"unpacking {tarball.name}")
    if done.returncode:
        raise KernelUnavailable(
            f"{tarball.name} cannot be unpacked: {done.stderr.strip()[-300:]}", next_step="run it again"
        )
    shutil.rmtree(folder / "deb")
    say("keeping the source as objects (once; half a minute)")
    tree = Repo.make(folder / "git").add(folder / "src", index=folder / "git/src.index", ignored=True)
    about = (offer.package.name, offer.package.version, offer.series, tree)
    (folder / "package").write_text(" ".join(about))


def tree(spec: str, *, say: Say) -> Origin:
    """ "tree:PATH" as it is now, uncommitted and untracked files included, or the commit "tree:PATH@REV".

    Raises BadSpec (no tree, no kernel, no such revision), NoSpace.
    """
    given = spec.removeprefix("tree:")
    path, revision = Path(given).expanduser().absolute(), ""
    if not path.exists() and "@" in given:
        before, _, revision = given.rpartition("@")
        path = Path(before).expanduser().absolute()
    if not path.is_dir():
        raise BadSpec(f"There is no directory {path}.", next_step="write tree:PATH or tree:PATH@REV")
    top = asks(["rev-parse", "--show-toplevel"], where=path)
    is_repository = top is not None and Path(top).resolve() == path.resolve()
    if revision and not is_repository:
        raise BadSpec(f"{path} is no git repository, so it has no {revision}.", next_step="leave @REV out")
    _check_kernel(path, bare_enough=bool(revision))
    lender = _objects(path) if is_repository else None
    name = f"tree-{path.name}-{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:10]}"
    place = cache.entry(KIND, name, make=lambda folder: _private(folder, lender), say=say)
    cache.prune(KIND, keep=_KEPT)
    origin = Origin(spec=spec, label="", place=place, tree="")
    if revision:
        return _at_commit(origin, path, resolved(revision, where=path), spec=f"tree:{path}@{revision}")
    say(f"reading {path} as it is now")
    with cache.locked(origin.lock, say=say), cache.writing("the source's objects into the cache"):
        now = _snapshot(origin, path, is_repository)
    return _labelled(origin, path, now, is_repository)


def _check_kernel(path: Path, *, bare_enough: bool) -> None:
    absent = [name for name in ("Kbuild", "Makefile", "io_uring") if not (path / name).exists()]
    if absent and not bare_enough:
        hint = " (ringrig needs 6.0 or later)" if absent == ["io_uring"] else ""
        raise BadSpec(
            f"{path} is no kernel tree: it has no {', '.join(absent)}{hint}.",
            next_step="name the top directory of a Linux source tree",
        )


def _objects(path: Path) -> Path:
    common = asks(["rev-parse", "--git-common-dir"], where=path)
    assert common is not None
    return (path / common).resolve() / "objects"


def _private(folder: Path, lender: Path | None) -> None:
    cache.need_space("A build of a tree", _UNPACKED)
    Repo.make(folder / "git", lender=lender)


def _snapshot(origin: Origin, path: Path, is_repository: bool) -> str:
    """The tree object of the files as they are; what the user's own index knows need not be read again."""
    index = origin.place / "git/user.index"
    if is_repository:
        theirs = asks(["rev-parse", "--git-path", "index"], where=path)
        if theirs is not None and (path / theirs).is_file():
            # With its time: by that git knows which files may have changed in the moment it was written.
            shutil.copy2(path / theirs, index)
        else:
            index.unlink(missing_ok=True)
    try:
        return origin.repo.add(path, index=index, ignored=False)
    except KernelUnavailable:
        # An index of a kind that cannot be read elsewhere (split, sparse): read every file.
        index.unlink(missing_ok=True)
        return origin.repo.add(path, index=index, ignored=False)


def _at_commit(origin: Origin, path: Path, commit: str, *, spec: str) -> Origin:
    found = asks(["rev-parse", f"{commit}^{{tree}}"], where=path)
    described = asks(["describe", "--always", "--tags", commit], where=path) or commit[:12]
    assert found is not None
    if not origin.repo.show(found, "io_uring/kbuf.c"):
        raise BadSpec(
            f"{path} has no io_uring/kbuf.c at {described}.", next_step="take a revision from 6.0 on"
        )
    return Origin(spec=spec, label=f"tree:{path.name} ({described})", place=origin.place, tree=found)


def _labelled(origin: Origin, path: Path, now: str, is_repository: bool) -> Origin:
    """With the commit it stands on, and a hash of the difference to it if there is one."""
    about = "no git repository"
    if is_repository and (head := asks(["rev-parse", "HEAD^{tree}"], where=path)):
        about = asks(["describe", "--always", "--tags", "HEAD"], where=path) or head[:12]
        if head != now:
            diff = origin.repo.difference(head, now)
            about += f", dirty {hashlib.sha256(diff).hexdigest()[:12]}"
    label = f"tree:{path.name} ({about})"
    return Origin(spec=f"tree:{path}", label=label, place=origin.place, tree=now)
