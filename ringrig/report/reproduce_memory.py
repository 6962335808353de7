"""The memory of a recorded case, step by step: where a number points to, and what lies there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ringrig.report import reproduce_names as names
from ringrig.uring import consts as c
from ringrig.uring.shadow import Change

Event = Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Area:
    """A mapping the case made; `name` is the variable that holds its address."""

    number: int
    base: int
    length: int
    name: str
    image: bytearray
    live: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What lies where, by the number of the mapping: found in the whole course, as it is stored before it is named."""

    buffer_rings: dict[tuple[int, int], int] = field(default_factory=dict)
    """(mapping, offset): entries."""
    arguments: dict[tuple[int, int], str] = field(default_factory=dict)
    """(mapping, offset): the structure that a call was given there."""


class Memory:
    """Mappings and descriptors under the names of variables."""

    def __init__(self) -> None:
        self._areas: list[Area] = []
        self._files: dict[int, str] = {}
        self._heap: dict[int, str] = {}

    def add(self, number: int, base: int, length: int, name: str) -> None:
        self._areas.append(Area(number=number, base=base, length=length, name=name, image=bytearray(length)))

    def drop(self, base: int, length: int) -> None:
        for one in self._areas:
            if base <= one.base and one.base + one.length <= base + length:
                one.live = False

    def area(self, number: int) -> Area:
        return next(one for one in self._areas if one.number == number)

    def find(self, addr: int) -> tuple[Area, int] | None:
        """The mapping at an address, the newest that lives first; else one that was there, or that ends there."""
        for live, more in ((True, 0), (False, 0), (True, 1)):
            for one in reversed(self._areas):
                if one.live is live and one.base <= addr < one.base + one.length + more:
                    return one, addr - one.base
        return None

    def is_address(self, value: int) -> bool:
        return value in self._heap or (value > 1 << 16 and self.find(value) is not None)

    def name_heap(self, addr: int, expression: str) -> None:
        """What lies at an address that is none of a mapping's."""
        self._heap[addr] = expression

    def pointer(self, addr: int) -> str:
        """An address for a field of 64 bits."""
        if addr in self._heap:
            return f"(uintptr_t){self._heap[addr]}"
        if addr <= 1 << 16 or (found := self.find(addr)) is None:
            return names.number(addr)
        return f"(uintptr_t){self._inside(*found)}"

    def argument(self, addr: int) -> str:
        """An address as an argument."""
        if addr == 0:
            return "NULL"
        if addr in self._heap:
            return self._heap[addr]
        if addr <= 1 << 16 or (found := self.find(addr)) is None:
            return f"(void *){names.number(addr)}"
        return self._inside(*found).strip("()")

    def place(self, number: int, offset: int) -> str:
        """A byte of a mapping."""
        name = self.area(number).name
        return f"{name} + {names.number(offset)}" if offset else name

    @staticmethod
    def _inside(area: Area, offset: int) -> str:
        return f"({area.name} + {names.number(offset)})" if offset else area.name

    def open(self, fd: int, name: str) -> None:
        self._files[fd] = name

    def descriptor(self, fd: int) -> str:
        """A descriptor's variable; of one that is closed, too."""
        return self._files.get(fd, names.number(fd if fd < 1 << 31 or fd >= 1 << 32 else fd - (1 << 32)))

    def apply(self, changes: Iterable[Sequence[Any]]) -> list[tuple[int, int, bytes, bytes]]:
        """Brings images up to date: (mapping, offset, before, now) of each change."""
        done = []
        for number, at, text in changes:
            now, image = bytes.fromhex(text), self.area(number).image
            done.append((number, at, bytes(image[at : at + len(now)]), now))
            image[at : at + len(now)] = now
        return done


def changes(event: Event, key: str) -> list[Change]:
    return [(number, at, text) for number, at, text in event.get(key, [])]


def places(courses: Iterable[Sequence[Event]]) -> Places:
    """What all courses together say of what lies where."""
    found = Places()
    for events in courses:
        memory = Memory()
        for event in events:
            _look(event, memory, found)
    return found


def _look(event: Event, memory: Memory, found: Places) -> None:
    name, args = event.get("call"), event.get("args", [])
    if "region" in event:
        base, length = event["res"], args[2] if name == "mremap" else args[1]
        memory.add(event["region"], base, length, "")
        if name == "mmap" and args[5] & c.IORING_OFF_MMAP_MASK == c.IORING_OFF_PBUF_RING:
            found.buffer_rings[event["region"], 0] = length // 16
    elif name == "munmap" and event.get("res") == 0:
        memory.drop(args[0], args[1])
    memory.apply(changes(event, "stores"))
    memory.apply(changes(event, "wrote"))
    if name != "io_uring_register":
        return
    op = args[1] & ~c.IORING_REGISTER_USE_REGISTERED_RING
    kinds = {c.IORING_REGISTER_PBUF_STATUS: "io_uring_buf_status"}
    kinds |= dict.fromkeys((c.IORING_REGISTER_PBUF_RING, c.IORING_UNREGISTER_PBUF_RING), "io_uring_buf_reg")
    if op not in kinds:
        return
    where = memory.find(args[2])
    if where is not None:
        found.arguments[where[0].number, where[1]] = kinds[op]
        raw = bytes(where[0].image[where[1] : where[1] + 40])
    else:
        raw = bytes.fromhex(next((before for at, _, before, *_ in event["mem"] if at == args[2]), ""))
    if op == c.IORING_REGISTER_PBUF_RING and len(raw) == 40:
        ring, entries = int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:12], "little")
        there = memory.find(ring)
        if there is not None and ring % 8 == 0:
            found.buffer_rings[there[0].number, there[1]] = entries
