"""The GNU build-id of the kernel inside a boot image, to hold against /sys/kernel/notes in the guest."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from ringrig import cache
from ringrig.kernel import bootimage

_NT_GNU_BUILD_ID = 3
_PT_NOTE = 4


def build_id(image: Path) -> str | None:
    """The build-id in hexadecimal; None if the kernel carries none or its compression (LZO) is unknown here.

    Unpacking costs up to a few seconds, so the answer is kept in the cache by the image's content. Raises
    NotAKernel.
    """
    known = cache.folder() / "build-ids" / digest(image)
    if known.exists():
        return known.read_text().strip() or None
    elf = bootimage.payload(bootimage.read(image))
    found = _of_elf(elf) if elf else None
    with cache.writing("a build-id into the cache"):
        known.parent.mkdir(parents=True, exist_ok=True)
        part = known.with_suffix(f".{os.getpid()}")
        part.write_text(found or "")
        part.rename(known)
    return found


def digest(file: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def of_notes(notes: bytes) -> str | None:
    """The build-id among ELF notes, as in /sys/kernel/notes; None if there is none."""
    for kind, name, content in _notes(notes):
        if (kind, name) == (_NT_GNU_BUILD_ID, b"GNU\0"):
            return content.hex()
    return None


def of_vmlinux(file: Path) -> str | None:
    """The build-id of an ELF file; None if it has none or is no 64-bit ELF file."""
    return _of_elf(file.read_bytes())


def _of_elf(elf: bytes) -> str | None:
    if elf[:6] != b"\x7fELF\x02\x01":
        return None
    table = int.from_bytes(elf[0x20:0x28], "little")
    size, count = struct.unpack_from("<HH", elf, 0x36)
    for header in range(table, table + size * count, size):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", elf, header)
        found = of_notes(elf[offset : offset + length]) if kind == _PT_NOTE else None
        if found:
            return found
    return None


def _notes(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    at = 0
    while at + 12 <= len(data):
        name_length, length, kind = struct.unpack_from("<III", data, at)
        name_at = at + 12
        content_at = name_at + (name_length + 3 & ~3)
        yield kind, data[name_at : name_at + name_length], data[content_at : content_at + length]
        at = content_at + (length + 3 & ~3)
