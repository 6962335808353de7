"""What an application stored to shared memory between two calls, as C statements."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from ringrig.report import reproduce_names as names
from ringrig.report.reproduce_memory import Memory, Places
from ringrig.uring import structs
from ringrig.uring.shadow import Change
from ringrig.uring.structs import io_uring_buf, io_uring_sqe

if TYPE_CHECKING:
    from ringrig.report.reproduce_course import Ring

_FIELDS = (("addr", 0, 8), ("len", 8, 4), ("bid", 12, 2))
_ENTRY = ctypes.sizeof(io_uring_buf)
_FEW = 4
"""So many like statements in a row are better read as a loop."""


class Stores:
    """Knows what lies where: `places` of the whole course."""

    def __init__(self, memory: Memory, places: Places) -> None:
        self._memory, self._places = memory, places
        self._tails: dict[str, int] = {}
        self._heads: dict[str, int] = {}

    def lines(self, changes: Iterable[Change], rings: Iterable[Ring]) -> list[str]:
        """The statements; the images of memory move on."""
        rings = list(rings)
        done = self._memory.apply(changes)
        own = {number for ring in rings for number in (ring.queue, ring.sqes)}
        lines: list[str] = []
        slots: dict[tuple[int, int], set[int]] = {}
        tails: list[tuple[int, int]] = []
        structures: set[tuple[int, int]] = set()
        for number, at, _, now in done:
            if number in own:
                continue
            for start, end in self._pieces(number, at, len(now)):
                place = self._ring_at(number, start)
                inside = self._argument_at(number, start)
                if place is not None:
                    first, last = (start - place) // _ENTRY, (end - 1 - place) // _ENTRY
                    slots.setdefault((number, place), set()).update(range(first, last + 1))
                    if start - place <= 15 and end - place > 14 and (number, place) not in tails:
                        tails.append((number, place))
                elif inside is not None:
                    structures.add((number, inside))
                else:
                    to, raw = self._memory.place(number, start), now[start - at : end - at]
                    lines += self._raw(number, start, to, raw)
        lines += (self._structure(*where) for where in sorted(structures))
        for (number, place), touched in slots.items():
            lines += self._entries(number, place, sorted(touched), tail_moved=(number, place) in tails)
        for number, place in tails:
            tail = int.from_bytes(self._memory.area(number).image[place + 14 : place + 16], "little")
            lines.append(f"buf_ring_tail({self._memory.place(number, place)}, {tail});")
        for ring in rings:
            lines += self._queue(ring)
        return lines

    def _raw(self, number: int, start: int, to: str, raw: bytes) -> list[str]:
        """Whole words, where an address may be among them."""
        image = self._memory.area(number).image
        first, last = start // 8 * 8, -(-(start + len(raw)) // 8) * 8
        words = bytes(image[first:last])
        if (
            len(words) % 8 == 0
            and len(words) <= 256
            and any(
                self._memory.is_address(int.from_bytes(words[at : at + 8], "little"))
                for at in range(0, len(words), 8)
            )
        ):
            to, raw = self._memory.place(number, first), words
        return names.store(to, raw, self._memory.pointer, self._memory.is_address)

    def _queue(self, ring: Ring) -> list[str]:
        """New requests, and completions that were taken off."""
        lines, params = [], ring.params
        tail, head = (ring.index(self._memory, at) for at in (params.sq_off.tail, params.cq_off.head))
        image = self._memory.area(ring.sqes).image
        stride = len(image) // params.sq_entries
        requests = []
        for number in range(self._tails.get(ring.name, 0), tail):
            at = (number & params.sq_entries - 1) * stride
            sqe = io_uring_sqe.from_buffer_copy(image[at : at + 64])
            requests.append(
                f"push(&{ring.name}, {names.sqe(sqe, self._memory.pointer, self._memory.descriptor)});"
            )
        if taken := head - self._heads.get(ring.name, 0) & 0xFFFFFFFF:
            lines.append(f"advance(&{ring.name}, {taken});")
        self._tails[ring.name], self._heads[ring.name] = tail, head
        return lines + _repeated(requests)

    def _pieces(self, number: int, at: int, length: int) -> Iterator[tuple[int, int]]:
        """A change cut where a buffer ring or an argument begins or ends."""
        edges = {at, at + length}
        for (area, place), entries in self._places.buffer_rings.items():
            edges |= {place, place + entries * _ENTRY} if area == number else set()
        for area, place in self._places.arguments:
            edges |= {place, place + 40} if area == number else set()
        inside = sorted(edge for edge in edges if at <= edge <= at + length)
        yield from pairwise(inside)

    def _ring_at(self, number: int, at: int) -> int | None:
        for (area, place), entries in self._places.buffer_rings.items():
            if area == number and place <= at < place + entries * _ENTRY:
                return place
        return None

    def in_ring(self, number: int, at: int) -> bool:
        """Is that byte one of a buffer ring?"""
        return self._ring_at(number, at) is not None

    def _argument_at(self, number: int, at: int) -> int | None:
        image = self._memory.area(number).image
        for area, place in self._places.arguments:
            if area == number and place <= at < place + 40 <= len(image):
                return place
        return None

    def _structure(self, number: int, at: int) -> str:
        kind = self._places.arguments[number, at]
        value = getattr(structs, kind).from_buffer_copy(self._memory.area(number).image[at : at + 40])
        literal = names.structure(value, self._memory.pointer)
        return f"memcpy({self._memory.place(number, at)}, &{literal}, 40);"

    def _entries(self, number: int, place: int, touched: list[int], *, tail_moved: bool) -> list[str]:
        image, to = self._memory.area(number).image, self._memory.place(number, place)
        rows = []
        for slot in touched:
            buf = io_uring_buf.from_buffer_copy(image[place + slot * _ENTRY : place + (slot + 1) * _ENTRY])
            if slot == 0 and tail_moved and (buf.addr, buf.len, buf.bid) == (0, 0, 0):
                continue  # the tail alone
            rows.append((slot, buf.addr, buf.len, buf.bid))
        lines: list[str] = []
        at = 0
        while at < len(rows):
            count = self._progression(rows[at:])
            if count >= _FEW:
                step = [two - one for one, two in zip(rows[at], rows[at + 1], strict=True)]
                slot, addr, length, bid = rows[at]
                where = self._memory.pointer(addr) + (f" + {step[1]} * i" if step[1] else "")
                words = [_series(slot, step[0]), where, _series(length, step[2]), _series(bid, step[3])]
                lines += [f"for (i = 0; i < {count}; i++)", f"\tbuf_ring_add({to}, {', '.join(words)});"]
            else:
                count = 1
                slot, addr, length, bid = rows[at]
                words = [str(slot), self._memory.pointer(addr), names.number(length), str(bid)]
                lines.append(f"buf_ring_add({to}, {', '.join(words)});")
            at += count
        return lines

    @staticmethod
    def _progression(rows: list[tuple[int, int, int, int]]) -> int:
        """How many rows from the first on go up in equal steps."""
        if len(rows) < _FEW:
            return 1
        step = [two - one for one, two in zip(rows[0], rows[1], strict=True)]
        if min(step) < 0:
            return 1
        count = 1
        while count < len(rows) and all(rows[count][at] == rows[0][at] + count * step[at] for at in range(4)):
            count += 1
        return count

    def fields(
        self, number: int, at: int, before: bytes, now: bytes
    ) -> Iterator[tuple[tuple[int, int], str, int, int]]:
        """Of a change that the kernel made in a buffer ring: ((slot, the ring's offset), field, old, new)."""
        place = self._ring_at(number, at)
        if place is None:
            return
        image = bytearray(self._memory.area(number).image)
        for slot in range((at - place) // _ENTRY, (at + len(now) - 1 - place) // _ENTRY + 1):
            start = place + slot * _ENTRY
            new = bytes(image[start : start + _ENTRY])
            old = bytearray(new)
            for offset in range(_ENTRY):
                if at <= start + offset < at + len(before):
                    old[offset] = before[start + offset - at]
            for name, offset, size in _FIELDS:
                was, is_now = (
                    int.from_bytes(text[offset : offset + size], "little") for text in (bytes(old), new)
                )
                if was != is_now:
                    yield (slot, place), name, was, is_now


def _series(first: int, step: int) -> str:
    if not step:
        return str(first)
    term = "i" if step == 1 else f"{step} * i"
    return f"{first} + {term}" if first else term


def _repeated(lines: list[str]) -> list[str]:
    """Equal statements in a row as a loop."""
    found: list[str] = []
    at = 0
    while at < len(lines):
        count = next((n for n in range(1, len(lines) - at) if lines[at + n] != lines[at]), len(lines) - at)
        if count >= _FEW:
            found += [f"for (i = 0; i < {count}; i++)", f"\t{lines[at]}"]
        else:
            found += lines[at : at + count]
        at += count
    return found
