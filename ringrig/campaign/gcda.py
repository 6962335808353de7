"""The sum of counters that one kernel gave at several times (.gcda files), without asking gcov about each of them.

Those of a kernel (kernel/gcov/gcc_4_7.c) have the same records in the same places whatever was counted, unlike a program's. So
only what stands in the counters' places differs, and whole files are added as numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

_FUNCTION, _COUNTERS = 0x01000000, 0x01A10000
_HEADS = (16, 12)
"""Bytes before the first record: magic, version, stamp, and since GCC 12 a checksum."""


def add(files: Iterable[bytes]) -> bytes:
    """One file with the counts of all. ValueError: they are not of one kernel, or no counters at all."""
    first, *others = files
    blank = _blank(first)
    total, zero = int.from_bytes(first, "little"), int.from_bytes(blank, "little")
    for other in others:
        if len(other) != len(first) or _blank(other) != blank:
            raise ValueError("counters of two kernels")
        total += int.from_bytes(other, "little") - zero
    return total.to_bytes(len(first), "little")


def _blank(data: bytes) -> bytes:
    """The same file with every counter at zero."""
    out = bytearray(data)
    at = next((head for head in _HEADS if data[head : head + 4] == struct.pack("<I", _FUNCTION)), None)
    if at is None:
        raise ValueError("no counters of gcov's")
    # A function's record has three words; since GCC 12 lengths count bytes.
    unit = 1 if struct.unpack_from("<I", data, at + 4)[0] == 12 else 4
    while at + 8 <= len(data):
        tag, length = struct.unpack_from("<II", data, at)
        if tag == 0:
            break
        at += 8
        if at + length * unit > len(data):
            raise ValueError("no counters of a kernel's")
        if tag == _COUNTERS:
            out[at : at + length * unit] = bytes(length * unit)
        at += length * unit
    return bytes(out)
