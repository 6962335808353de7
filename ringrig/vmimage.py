"""What a guest's root is, as data (vmimages/*.toml), and how one that is not the machine itself is made."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

from ringrig import cache
from ringrig.cache import Say
from ringrig.errors import BadSpec, HostLacks, KernelUnavailable
from ringrig.kernel import apt as archive

_FOLDER = Path(__file__).resolve().parent.parent / "vmimages"
_KIND = "roots"
_SIZE = 400 << 20
# virtme-ng and the rig mount things over a root that is read-only by then: the places have to be there.
_MOUNT_POINTS = (
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "home",
    "opt",
    "srv",
    "mnt",
    "ringrig",
    "usr/lib/modules",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RootImage:
    """A guest's root: kind "host" is the machine itself, kind "directory" is made of Debian packages."""

    name: str
    kind: str
    summary: str
    suite: str = ""
    variant: str = ""
    packages: tuple[str, ...] = ()


def known() -> list[RootImage]:
    """All root images, by name."""
    return [_read(file) for file in sorted(_FOLDER.glob("*.toml"))]


def load(name: str) -> RootImage:
    """The root image of that name. Raises BadSpec."""
    for image in known():
        if image.name == name:
            return image
    names = ", ".join(image.name for image in known())
    raise BadSpec(f"There is no root image {name!r}.", next_step=f"take one of: {names}")


def build(name: str, *, say: Say) -> Path:
    """The directory that a guest gets as its root, made if it is not in the cache; / for the machine itself.

    Raises BadSpec, HostLacks (no mmdebstrap, no user namespaces), KernelUnavailable (no mirror), NoSpace.
    """
    image = load(name)
    if image.kind == "host":
        return Path("/")
    root = cache.entry(_KIND, _entry(image), make=lambda folder: _make(image, folder, say), say=say)
    cache.prune(_KIND, keep=2)
    return root


def state(image: RootImage) -> str:
    """ "; built" or "; not built" for an image that has to be."""
    if image.kind == "host":
        return ""
    return (
        "; built"
        if (cache.folder() / _KIND / _entry(image)).is_dir()
        else f"; not built: rig image build {image.name}"
    )


def _read(file: Path) -> RootImage:
    data = tomllib.loads(file.read_text())
    return RootImage(name=file.stem, **{**data, "packages": tuple(data.get("packages", ()))})


def _entry(image: RootImage) -> str:
    """Changes with the recipe."""
    recipe = repr((image, _MOUNT_POINTS))
    return f"{image.name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def _make(image: RootImage, folder: Path, say: Say) -> None:
    program = shutil.which("mmdebstrap")
    if program is None:
        raise HostLacks(
            f"The root image {image.name} is made with mmdebstrap, which is missing.",
            next_step="./rig image build debian installs it; or: apt-get install mmdebstrap",
        )
    mirror = archive.configured()
    if mirror is None:
        raise KernelUnavailable(
            "No Debian mirror is configured here.", next_step="check /etc/apt/sources.list"
        )
    cache.need_space(f"The root image {image.name}", _SIZE)
    say(f"making the root image {image.name}: {image.suite} with {', '.join(image.packages)}")
    signed = f" [signed-by={mirror.keyring}]" if mirror.keyring else ""
    command = [
        program,
        f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
        f"--variant={image.variant}",
        f"--include={','.join(image.packages)}",
        "--format=tar",
        # Documentation and catalogues are half of it, and nothing in a guest reads them.
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale", "info")),
        "--quiet",
        image.suite,
        "-",
        f"deb{signed} {mirror.uri} {image.suite} main",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/") as maker:
        # Unpacked by the user who runs guests: QEMU's 9p server must be able to read every file.
        unpacked = subprocess.run(
            ["tar", "-x", "-C", str(folder), "--exclude=./dev/*", "-p"],
            stdin=maker.stdout,
            capture_output=True,
            check=False,
        )
        complaint = maker.communicate()[1].decode(errors="replace")
    if maker.returncode or unpacked.returncode:
        text = (complaint + unpacked.stderr.decode(errors="replace")).strip()
        if "No space left" in text:
            raise cache.full(f"making the root image {image.name}")
        raise HostLacks(
            f"The root image {image.name} could not be made: {text[-600:]}",
            next_step="check network and disk, and, unless you are root, that user namespaces are allowed",
        )
    for name in _MOUNT_POINTS:
        (folder / name).mkdir(parents=True, exist_ok=True)
