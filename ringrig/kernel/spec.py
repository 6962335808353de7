"""What `--kernel` may say, and what a spec becomes: an image, the running host, or a board that is up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ringrig.errors import BadSpec

FORMS = (
    ("host", "the running kernel, no VM"),
    ("debian", "the newest prebuilt kernel that this machine's apt offers"),
    ("debian:X.Y", "the newest prebuilt Debian kernel X.Y, for example debian:6.12"),
    ("debian-uml[:X.Y]", "Debian's prebuilt User-Mode Linux: no KVM needed, nothing to compile"),
    ("source[:X.Y]", "Debian's linux-source X.Y, built here (--config, --patch, --guest)"),
    ("tree:PATH", "your kernel tree as it is now, built here from a private copy"),
    ("tree:PATH@REV", "that commit of it"),
    ("PATH", "a bzImage or vmlinuz file, a User-Mode Linux executable, or a built kernel tree"),
    ("ssh:[USER@]HOST[:PORT]", "a board or VM that is already up"),
)

_SSH = re.compile(
    r"ssh:(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?)"
    r"(?::(?P<port>\d{1,5}))?"
)
_SERIES = re.compile(r"(debian|debian-uml|source)(?::(\d{1,3}\.\d{1,3}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asks of a kernel beside its spec: guest is auto, qemu or uml."""

    guest: str = "auto"
    configs: tuple[str, ...] = ()
    """Fragments, by name or path, in the order given."""
    patches: tuple[str, ...] = ()
    """Patch files and directories of them, in the order given."""

    @classmethod
    def of(cls, *, guest: str, configs: Sequence[str], patches: Sequence[str]) -> Wanted:
        """As options give it: each of `configs` may be a list with commas."""
        names = tuple(name for given in configs for name in given.split(",") if name)
        return cls(guest=guest, configs=names, patches=tuple(patches))


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A kernel that a guest can boot.

    `path` is an x86 boot image, or a User-Mode Linux executable where `arch` is um; `modules` is the directory
    that holds lib/modules/<release>, and an ancestor of `path`, because virtme-ng finds modules by walking up
    from the image.
    """

    spec: str
    label: str
    path: Path
    release: str
    build_id: str | None
    modules: Path | None
    config: Path | None
    package: str | None
    arch: str = "x86"
    libs: Path | None = None
    """um: a directory with the C library and its loader that the executable wants, if newer than this machine's."""
    vmlinux: Path | None = None
    """The unstripped kernel with line tables, which turns addresses into file:line."""
    profile: str | None = None
    """The model's profile that a set of patches asks to be judged by."""
    lacks: tuple[str, ...] = ()
    """Configuration options that were asked for and that `arch` does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The running kernel."""

    spec: str
    label: str
    release: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A machine that is already up and answers SSH."""

    spec: str
    label: str
    user: str
    host: str
    port: int


Target: TypeAlias = Image | Host | Board


def debian_series(spec: str) -> tuple[str, str] | None:
    """("debian", "6.12") for "debian:6.12", ("source", "") for "source"; None for a spec of another form."""
    found = _SERIES.fullmatch(spec)
    return (found[1], found[2] or "") if found else None


def board(spec: str) -> Board:
    """The board that an "ssh:" spec names; the user defaults to root, the port to 22. Raises BadSpec."""
    found = _SSH.fullmatch(spec)
    port = int(found["port"] or 22) if found else 0
    if not found or not 0 < port < 65536:
        raise BadSpec(
            f"{spec!r} names no board.",
            next_step="write ssh:user@host or ssh:user@host:port, like ssh:root@10.0.0.7",
        )
    user, host = found["user"] or "root", found["host"].strip("[]")
    return Board(spec=spec, label=f"ssh:{user}@{found['host']}:{port}", user=user, host=host, port=port)


def bad_spec(spec: str) -> BadSpec:
    """The error for a spec of no known form, with the forms nearest to what was written first."""
    known = "\n".join(f"    {form:24}{meaning}" for form, meaning in FORMS)
    return BadSpec(
        f"--kernel {spec!r} is no kernel spec, and no file or directory of that name exists.",
        next_step=f"{_nearest(spec)}the forms are\n{known}",
    )


def _nearest(spec: str) -> str:
    version = re.fullmatch(
        r"(?:debian[:=/ -]?|linux-?|v)?(\d+\.\d+)(?:\.\d+)*(?:[-+~].*)?", spec, re.IGNORECASE
    )
    if version:
        return f"did you mean debian:{version[1]}? Else "
    if re.fullmatch(r"[\w.-]+@[\w.-]+(:\d+)?", spec):
        return f"did you mean ssh:{spec}? Else "
    if spec.strip().lower() in {"local", "localhost", "running", "self"}:
        return "did you mean host? Else "
    if "/" in spec:
        return "check the path; "
    return ""
