"""Debian's archive as an ordinary user sees it: the machine's own apt, and private ones for suites beyond it.

Nothing here needs root or touches the system's apt state: lists, caches and downloads lie in the rig's
cache folder. A private apt keeps the machine's configuration (proxies, credentials), its mirror and its
keyring.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ringrig import cache
from ringrig.cache import Say
from ringrig.errors import HostLacks, KernelUnavailable

_LISTS_AGE = 24 * 3600.0
_CONFIGURED = Path("/etc/apt")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_QUIET = (
    "Acquire::Languages=none",
    "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
    "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false",
    # Lists take a tenth of the space and are read as fast.
    "Acquire::GzipIndexes=true",
    "Acquire::Retries=1",
    "Acquire::http::Timeout=20",
    "Acquire::https::Timeout=20",
    # As root apt would download as the user _apt, who may not enter a private cache folder.
    "APT::Sandbox::User=root",
    # Hooks of the system's configuration (clean-up, desktop indexes) are none of our business.
    "APT::Update::Post-Invoke-Success=",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Apt:
    """One view of the archive: a name, and the options that make apt's programs see it."""

    name: str
    options: tuple[str, ...]
    lists: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One version of one package; sizes in bytes."""

    name: str
    version: str
    size: int
    unpacked: int
    depends: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Where the machine gets Debian from."""

    uri: str
    keyring: Path | None


def system() -> Apt:
    """The machine's own apt, its lists read as they are. Raises HostLacks on a machine without apt."""
    if not Path("/usr/bin/apt-cache").exists():
        raise HostLacks(
            "This machine has no apt, so Debian's kernels cannot be fetched.",
            next_step="give a kernel as a file: rig run --kernel /path/to/bzImage",
        )
    return Apt(name="system", options=_options("system"), lists=Path("/var/lib/apt/lists"))


def refreshed() -> Apt:
    """The machine's own suites with lists of our own, for when the system's are missing or out of date."""
    home = cache.folder() / "apt" / "own"
    return Apt(name="own", options=(*_options("own"), f"Dir::State={home}"), lists=home / "lists")


def beyond(name: str, *, mirror: Mirror, suites: Sequence[str]) -> Apt:
    """A private apt for other suites of the same mirror. Raises NoSpace."""
    home = cache.folder() / "apt" / name
    with cache.writing("a private apt directory"):
        home.mkdir(parents=True, exist_ok=True)
        sources = home / "debian.sources"
        signed = f"Signed-By: {mirror.keyring}\n" if mirror.keyring else ""
        text = f"Types: deb\nURIs: {mirror.uri}\nSuites: {' '.join(suites)}\nComponents: main\n{signed}"
        if not sources.exists() or sources.read_text() != text:
            sources.write_text(text)
    own = (
        f"Dir::State={home}",
        "Dir::State::status=/dev/null",
        f"Dir::Etc::sourcelist={sources}",
        "Dir::Etc::sourceparts=-",
        "Dir::Etc::preferences=-",
        "Dir::Etc::preferencesparts=-",
    )
    return Apt(name=name, options=(*_options(name), *own), lists=home / "lists")


def update(apt: Apt, *, say: Say, force: bool = False) -> str | None:
    """Fetches the lists if they are older than a day; returns apt's complaint if that failed, else None."""
    stamp = apt.lists.parent / "updated"
    if not force and stamp.exists() and time.time() - stamp.stat().st_mtime < _LISTS_AGE:
        return None
    with cache.writing("package lists into the cache"):
        (apt.lists / "partial").mkdir(parents=True, exist_ok=True)
    with cache.locked(f"apt/{apt.name}", say=say):
        say(f"fetching package lists ({apt.name})")
        done = _run("apt-get", apt, "update", "-q")
        failed = re.findall(r"^[EW]: Failed to fetch \S+\s+(.*)", done.stderr, re.MULTILINE)
        if done.returncode or failed:
            return failed[0] if failed else done.stderr.strip()[-400:] or f"exit code {done.returncode}"
        stamp.touch()
    return None


def names(apt: Apt, prefix: str) -> list[str]:
    """The names of all packages that start so. Raises NoSpace."""
    # Made here, and not with the view: `rig doctor` looks and changes nothing.
    with cache.writing("apt's package cache"):
        _place(apt.name).mkdir(parents=True, exist_ok=True)
    return _run("apt-cache", apt, "pkgnames", prefix).stdout.split()


def show(apt: Apt, packages: Sequence[str]) -> list[Package]:
    """Every version of the named packages that can be downloaded."""
    if not packages:
        return []
    found = []
    for stanza in _run("apt-cache", apt, "show", *packages).stdout.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if re.match(r"[A-Za-z-]+: ", line))
        # An installed package that no archive has any more carries no Filename.
        if "Filename" in fields:
            found.append(
                Package(
                    name=fields["Package"],
                    version=fields["Version"],
                    size=int(fields["Size"]),
                    unpacked=int(fields.get("Installed-Size", "0")) << 10,
                    depends=fields.get("Depends", ""),
                )
            )
    return found


def newer(one: str, other: str) -> bool:
    """Whether the first package version sorts after the second, as dpkg compares them."""
    return subprocess.run(["dpkg", "--compare-versions", one, "gt", other], check=False).returncode == 0


def download(apt: Apt, packages: Sequence[Package], *, into: Path, say: Say) -> list[Path]:
    """Downloads packages; returns their files in the order asked. Raises KernelUnavailable, NoSpace."""
    total = sum(p.size for p in packages)
    cache.need_space(f"Downloading {packages[0].name}", total + sum(p.unpacked for p in packages))
    say(f"downloading {', '.join(p.name for p in packages)} ({total / 1e6:.1f} MB)")
    wanted = [f"{p.name}={p.version}" for p in packages]
    process = subprocess.Popen(
        _command("apt-get", apt, "download", "-q", *wanted),
        cwd=into,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    complaint = _wait(process, into=into, total=total, say=say)
    if process.returncode:
        _raise_failed(complaint, packages[0].name)
    return [next(iter(into.glob(f"{p.name}_*.deb"))) for p in packages]


def extract(deb: Path, into: Path) -> None:
    """Unpacks a package's files below a directory. Raises KernelUnavailable (damaged), NoSpace."""
    done = subprocess.run(
        ["dpkg-deb", "-x", str(deb), str(into)], capture_output=True, text=True, check=False
    )
    if "No space left" in done.stderr:
        raise cache.full(f"unpacking {deb.name}")
    if done.returncode:
        raise KernelUnavailable(
            f"{deb.name} cannot be unpacked: {done.stderr.strip()[-400:]}",
            next_step="run the same command again",
        )


def _wait(process: subprocess.Popen[str], *, into: Path, total: int, say: Say) -> str:
    try:
        while True:
            try:
                return process.communicate(timeout=5)[1]
            except subprocess.TimeoutExpired:
                here = sum(p.stat().st_size for p in into.rglob("*.deb*") if p.is_file())
                say(f"  {here / 1e6:.0f} of {total / 1e6:.0f} MB")
    finally:
        # Ctrl-C must not leave a download running.
        if process.poll() is None:
            process.kill()
            process.wait()


def _raise_failed(complaint: str, package: str) -> None:
    reason = (
        "; ".join(re.findall(r"^E: (.*)", complaint, re.MULTILINE))
        or complaint.strip()
        or "apt gave no reason"
    )
    if "No space left" in complaint:
        raise cache.full(f"downloading {package}")
    raise KernelUnavailable(
        f"{package} could not be downloaded: {reason}",
        next_step="check the network and run the same command again (what is there is kept)",
    )


def configured() -> Mirror | None:
    """The archive this machine is configured for, as apt reads its own sources; None if it has none."""
    codename = release()
    if _os_release("ID") != "debian":
        return None
    for view in (system(), refreshed()):
        targets = _run(
            "apt-get", view, "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"
        )
        for line in targets.stdout.splitlines():
            uri, _, suite = line.partition(" ")
            if suite == codename:
                return Mirror(uri=uri, keyring=_keyring(uri))
    return None


def release() -> str:
    """The codename of this machine's release ("bookworm"), "" if it has none."""
    return _os_release("VERSION_CODENAME")


def _os_release(key: str) -> str:
    file = Path("/etc/os-release")
    found = re.search(rf'^{key}="?([a-z]+)', file.read_text() if file.exists() else "", re.MULTILINE)
    return found[1] if found else ""


def _keyring(uri: str) -> Path | None:
    """The Signed-By of the stanza or line that names this archive; apt does not tell."""
    sources = [_CONFIGURED / "sources.list", *sorted((_CONFIGURED / "sources.list.d").glob("*"))]
    for file in sources:
        if not file.is_file() or not os.access(file, os.R_OK):
            continue
        text = file.read_text(errors="replace")
        for block in text.split("\n\n") if file.suffix == ".sources" else text.splitlines():
            signed = re.search(r"signed-by\s*[:=]\s*(/[^\s\],]+)", block, re.IGNORECASE)
            if uri.rstrip("/") in block and signed:
                return Path(signed[1])
    return _KEYRING if _KEYRING.exists() else None


def _options(name: str) -> tuple[str, ...]:
    # Some systems (container images) switch the cache off, and every look-up parses all lists anew.
    return (*_QUIET, f"Dir::Cache={_place(name)}", "Dir::Cache::pkgcache=p.bin", "Dir::Cache::srcpkgcache=")


def _place(name: str) -> Path:
    return cache.folder() / "apt" / name / "cache"


def _command(program: str, apt: Apt, *arguments: str) -> list[str]:
    return [program, *(f"-o{option}" for option in apt.options), *arguments]


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def _run(program: str, apt: Apt, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(program, apt, *arguments),
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
