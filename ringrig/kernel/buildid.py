"""The GNU build-id of the kernel inside a boot image, to hold against /sys/kernel/notes of the kernel that runs."""

from __future__ import annotations

from pathlib import Path


def build_id(image: Path) -> str | None:
    return None
