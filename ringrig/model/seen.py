"""What of a kernel's memory, rings and heads is not as the model has it, a line for each thing."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable

from ringrig.model.calls import status
from ringrig.model.holdings import SLAB, Slots
from ringrig.model.spec import name_of
from ringrig.model.world import World
from ringrig.uring import bufring
from ringrig.uring.bufring import BufRing
from ringrig.uring.ring import Ring

_ENTRY = struct.Struct("<QIHH")
_TAIL_AT = 14
_SHOWN = 16
"""Bytes of a difference that are shown."""


def wrong_bytes(slab: int, want: bytes | bytearray) -> Iterable[str]:
    """Of the memory at `slab` that all buffers lie in."""
    got = ctypes.string_at(slab, SLAB)
    if got == want:
        return
    differ = [at for at in range(SLAB) if got[at] != want[at]]
    first, last = differ[0], differ[-1]
    shown = slice(first, min(last + 1, first + _SHOWN))
    yield (
        f"buffer memory, offsets {first} to {last}: got {got[shown].hex(' ')}…, want {want[shown].hex(' ')}…"
    )


def wrong_rings(slab: int, every: Iterable[tuple[int, BufRing, Slots]]) -> Iterable[str]:
    """Of all rings there have been: (group, memory, what the model has of it)."""
    for bgid, memory, slots in every:
        raw = bytearray()
        for entry in slots.entries:
            raw += _ENTRY.pack(slab + entry[0], *entry[1:], 0) if entry else bytes(_ENTRY.size)
        raw[_TAIL_AT : _TAIL_AT + 2] = slots.tail.to_bytes(2, "little")
        if memory.raw() != raw:
            shown = [
                None if entry is None else (entry.addr - slab if entry.addr else 0, *entry[1:])
                for entry in map(memory.entry, range(memory.entries))
            ]
            yield f"ring of group {bgid}, (offset, length, bid): got {shown}, want {slots.entries}"


def wrong_heads(ring: Ring, bgids: Iterable[int], world: World) -> Iterable[str]:
    """Of the groups, where the kernel tells."""
    if "pbuf_status" not in world.traits:
        return
    for bgid in bgids:
        want = world.calls.pbuf_status(status(bgid=bgid))
        got = bufring.head(ring, bgid)
        if got != (want.res or want.head):
            yield f"head of group {bgid}: got {name_of(got)}, want {want!r}"
