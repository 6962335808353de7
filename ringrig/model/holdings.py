"""What a World has: the memory that buffers lie in, groups with their buffers, files, and requests that wait."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringrig.model.transfer import Kind, Source, Transfer

SLAB = 1 << 14
"""Bytes of the memory that all buffers lie in."""
PATTERN = bytes(0x80 | at * 31 & 0x7F for at in range(128)) * (SLAB // 128)
"""What the slab holds at first: no byte that incoming() has, and no two neighbours alike."""
CANARY = 16
FILES = {
    "pipe_0": Source.PIPE,
    "pipe_1": Source.PIPE,
    "socket_0": Source.SOCKET,
    "socket_1": Source.SOCKET,
    "file": Source.FILE,
    "zero": Source.ZERO,
}


@dataclass(slots=True, kw_only=True)
class Item:
    """A buffer that can be had: `left` bytes at offset `at` of the slab."""

    bid: int
    at: int
    left: int


@dataclass(slots=True, kw_only=True)
class Slots:
    """What the memory of a ring says: (offset of the buffer, length, bid) by slot, and the tail."""

    entries: list[tuple[int, int, int] | None]
    tail: int


@dataclass(slots=True, kw_only=True)
class Pool:
    """A group's buffers, first to go first; `slots` of a ring."""

    items: list[Item] = field(default_factory=list)
    slots: Slots | None = None
    incremental: bool = False
    min_left: int = 0

    @property
    def kind(self) -> Kind:
        return Kind.LEGACY if self.slots is None else Kind.RING


@dataclass(slots=True, kw_only=True)
class Waiting:
    """A request on its way; `held`: the buffer that it keeps while it waits, of a group of that `kind`.

    `buf_more`: something is left of that buffer for others.
    """

    call: Transfer
    bgid: int
    held: Item | None = None
    kind: Kind = Kind.RING
    buf_more: bool = False


@dataclass(slots=True, kw_only=True)
class File:
    """`unread` bytes, the first of which is number `at` of its stream; `ended`: nobody is at the other end."""

    source: Source
    at: int = 0
    unread: int = 0
    ended: bool = False
    waiting: Waiting | None = None
