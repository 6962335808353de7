"""What an x86 boot image says of itself: its release, and the compressed kernel inside.

The format is the kernel's Documentation/arch/x86/boot.rst (offsets of the setup header) and
arch/x86/boot/header.S.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import zstandard

from ringrig.errors import KernelUnavailable, NotAKernel
from ringrig.kernel import lz4

_XLF_KERNEL_64 = 1
_OTHERS = (
    (
        0,
        b"\x7fELF",
        "an ELF file (a vmlinux?), which QEMU does not boot",
        "give the arch/x86/boot/bzImage of that build",
    ),
    (0x38, b"ARM\x64", "an arm64 kernel, and guests here are x86-64", "give an x86-64 bzImage"),
    (0x30, b"RISCV", "a RISC-V kernel, and guests here are x86-64", "give an x86-64 bzImage"),
    (
        0,
        b"\x1f\x8b",
        "a gzip file",
        "if it is a compressed image, unpack it; if it is a tarball, give the image in it",
    ),
    (
        0,
        b"!<arch>\ndebian-binary",
        "a Debian package",
        "unpack it (dpkg-deb -x FILE DIR) and give the vmlinuz in it",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BootImage:
    """The facts of the setup header; `offset` and `length` (bytes) are where the compressed kernel lies."""

    path: Path
    release: str
    offset: int
    length: int


class _Decompressor(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...


def read(path: Path) -> BootImage:
    """Reads the setup header of an x86-64 boot image. Raises NotAKernel, KernelUnavailable (unreadable)."""
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
            size = file.seek(0, 2)
    except OSError as error:
        raise KernelUnavailable(
            f"{path} cannot be read: {error.strerror}.", next_step="check the path and its permissions"
        ) from error
    if len(head) < 0x268 or head[0x1FE:0x200] != b"\x55\xaa" or head[0x202:0x206] != b"HdrS":
        raise _not_a_kernel(path, head)
    protocol, version_at, setup_sectors = _u16(head, 0x206), _u16(head, 0x20E), head[0x1F1] or 4
    # Below 2.12 there are no xloadflags, and io_uring's kernels are all above it.
    if protocol < 0x20C or not _u16(head, 0x236) & _XLF_KERNEL_64:
        raise NotAKernel(f"{path} is a 32-bit or very old kernel.", next_step="give an x86-64 bzImage")
    text = head[version_at + 0x200 :].split(b"\0", 1)[0].decode("ascii", "replace") if version_at else ""
    if not text.strip():
        raise NotAKernel(f"{path} does not say which kernel it is.", next_step="give a bzImage of Linux")
    payload_at, payload_length = struct.unpack_from("<II", head, 0x248)
    offset = (setup_sectors + 1) * 512 + payload_at
    if not payload_length or offset + payload_length > size:
        raise NotAKernel(
            f"{path} is cut short: its header speaks of {offset + payload_length} bytes, {size} are there.",
            next_step="copy or build it again",
        )
    return BootImage(path=path, release=text.split()[0], offset=offset, length=payload_length)


def payload(image: BootImage) -> bytes | None:
    """The kernel inside (an ELF file), decompressed; None if its compression is unknown here."""
    with image.path.open("rb") as file:
        file.seek(image.offset)
        data = file.read(image.length)
    if data.startswith(b"\x7fELF"):
        return data
    try:
        if data.startswith(lz4.LEGACY_MAGIC):
            return lz4.decompress_legacy(data)
        decompressor = _decompressor(data)
        # The build appends the unpacked size (4 bytes): these objects stop at the end of the stream by
        # themselves.
        return decompressor.decompress(data) if decompressor else None
    except (zlib.error, lzma.LZMAError, OSError, ValueError, zstandard.ZstdError) as error:
        raise NotAKernel(
            f"The kernel inside {image.path} cannot be unpacked: {error}.",
            next_step="copy or build the image again",
        ) from error


def _decompressor(data: bytes) -> _Decompressor | None:
    if data.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(wbits=31)
    if data.startswith(b"BZh"):
        return bz2.BZ2Decompressor()
    if data.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor(format=lzma.FORMAT_XZ)
    if data.startswith(b"\x5d\0\0"):
        return lzma.LZMADecompressor(format=lzma.FORMAT_ALONE)
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return zstandard.ZstdDecompressor().decompressobj()
    return None


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _not_a_kernel(path: Path, head: bytes) -> NotAKernel:
    for at, magic, what, next_step in _OTHERS:
        if head[at:].startswith(magic):
            return NotAKernel(f"{path} is {what}.", next_step=next_step)
    return NotAKernel(
        f"{path} is no x86 boot image.", next_step="give a bzImage or vmlinuz, or a built kernel tree"
    )
