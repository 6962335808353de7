"""A kernel that was found or built on one machine and boots on another: `travelled:FOLDER` names it there."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ringrig.errors import NotAKernel
from ringrig.kernel.spec import Image

PREFIX = "travelled:"
MANIFEST = "image.json"
_BESIDE = ("built.json", "gcov")
"""What a build leaves for the run folder and for coverage, in the folder above boot/."""
_PATHS = ("path", "modules", "config", "libs", "vmlinux")


def parts(image: Image) -> dict[str, Path]:
    """What travels of an image: files and folders, by their names in the FOLDER; the manifest() goes along."""
    beside = [image.path.parents[1] / name for name in _BESIDE]
    found = {place.name: place for place in beside if place.exists()}
    found |= {inside: place for inside, place in _placed(image).values() if place != image.modules}
    if image.modules:
        below = f"lib/modules/{image.release}"
        found[below] = image.modules / below
    return found


def manifest(image: Image) -> str:
    """The text of the file MANIFEST: the image, with paths inside the FOLDER."""
    told = {name: inside for name, (inside, _) in _placed(image).items()}
    return json.dumps({**asdict(image), **told}, indent=1, default=str)


def _placed(image: Image) -> dict[str, tuple[str, Path]]:
    """Each path of an image: what it is called inside the FOLDER, and where it lies here."""
    found = {"path": (f"boot/{image.path.name}", image.path)}
    if image.config:
        found["config"] = (f"boot/{image.config.name}", image.config)
    if image.vmlinux:  # of User-Mode Linux the two may be one
        same = image.vmlinux == image.path
        found["vmlinux"] = found["path"] if same else ("vmlinux", image.vmlinux)
    if image.libs:
        found["libs"] = ("libs", image.libs)
    if image.modules:
        found["modules"] = (".", image.modules)
    return found


def resolve(spec: str) -> Image:
    """The image that a FOLDER holds, called what it was called where it came from. NotAKernel."""
    folder = Path(spec.removeprefix(PREFIX))
    try:
        told = json.loads((folder / MANIFEST).read_text())
        placed = {name: folder / told[name] if told[name] else None for name in _PATHS}
        return Image(**{**told, **placed, "lacks": tuple(told["lacks"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise NotAKernel(
            f"{folder} holds no kernel that has travelled: {error}.",
            next_step="it is made by --cluster; take the kernel's own spec",
        ) from error
