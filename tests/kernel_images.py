"""Boot images made for tests: a setup header after the boot protocol, around a tiny compressed ELF file."""

import struct
import zlib

BUILD_ID = bytes(range(20))


def vmlinux(build_id: bytes = BUILD_ID) -> bytes:
    """A 64-bit ELF file with one note segment: a foreign note first, then the build-id."""
    notes = note(b"Linux\0", 0x101, b"\0\0\0\0") + note(b"GNU\0", 3, build_id)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01" + bytes(9), 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(notes), len(notes), 4)
    return header + segment + notes


def note(name: bytes, kind: int, content: bytes) -> bytes:
    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % 4)

    return struct.pack("<III", len(name), len(content), kind) + padded(name) + padded(content)


def gzipped(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


def bzimage(payload: bytes, *, release: str = "6.12.0-test", xloadflags: int = 1) -> bytes:
    """`payload` wrapped as the kernel's build does it: the unpacked size follows the compressed data."""
    payload += struct.pack("<I", 4096)
    head = bytearray(5 * 512)
    head[0x1F1] = 4
    head[0x1FE:0x200] = b"\x55\xaa"
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<HIHH", head, 0x206, 0x20F, 0, 0x1000, 0x300)
    struct.pack_into("<H", head, 0x236, xloadflags)
    struct.pack_into("<II", head, 0x248, 16, len(payload))
    text = f"{release} (me@here) #1 SMP".encode() + b"\0"
    head[0x500 : 0x500 + len(text)] = text
    return bytes(head) + bytes(16) + payload
