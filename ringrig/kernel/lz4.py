"""LZ4 as kernels use it (`lz4 -l`, the legacy frame), which the standard library lacks.

Format: magic, then blocks of a 32-bit length and that many bytes; the block format is a token (literal
length, match length), literals, a 16-bit distance back.
"""

from __future__ import annotations

LEGACY_MAGIC = b"\x02\x21\x4c\x18"
_BLOCK = 8 << 20


def decompress_legacy(data: bytes) -> bytes:
    """Unpacks a legacy frame, ignoring what follows it. Raises ValueError on damaged data."""
    output = bytearray()
    at = len(LEGACY_MAGIC)
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        at += 4
        if at + length > len(data):
            # The last four bytes are the unpacked size that the kernel's build appends, not a block.
            break
        block = _block(data[at : at + length])
        output += block
        at += length
        if len(block) < _BLOCK:
            break
    return bytes(output)


def _block(data: bytes) -> bytearray:
    output = bytearray()
    at, end = 0, len(data)
    try:
        while at < end:
            token = data[at]
            length, at = _length(data, at + 1, token >> 4)
            output += data[at : at + length]
            at += length
            if at >= end:
                return output
            distance = data[at] | data[at + 1] << 8
            length, at = _length(data, at + 2, token & 15)
            start = len(output) - distance
            if distance == 0 or start < 0:
                raise ValueError("LZ4: a match before the start")
            length += 4
            if distance >= length:
                output += output[start : start + length]
            else:
                piece = bytes(output[start:])
                output += (piece * (length // distance + 1))[:length]
    except IndexError:
        raise ValueError("LZ4: a block ends early") from None
    return output


def _length(data: bytes, at: int, nibble: int) -> tuple[int, int]:
    if nibble < 15:
        return nibble, at
    while True:
        more = data[at]
        at += 1
        nibble += more
        if more != 255:
            return nibble, at
