"""A recording as steps of a C program: stores, one call, and all that could be seen of its effect."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ringrig.report import reproduce_names as names
from ringrig.report.reproduce_memory import Event, Memory, Places, changes
from ringrig.report.reproduce_stores import Stores
from ringrig.uring import consts as c
from ringrig.uring import structs
from ringrig.uring.structs import io_uring_params


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One thing that a program can look at after a call: C for it, C for what it was, and for what it had been before."""

    what: str
    expression: str
    value: str
    before: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A CQE of the ring that this variable stands for."""

    ring: str
    user_data: int
    res: int
    flags: int

    @property
    def literal(self) -> str:
        return f"(struct io_uring_cqe){{ {self.user_data}, {names.result(self.res)}, {names.cqe_flags(self.flags)} }}"


@dataclass(slots=True, kw_only=True)
class Step:
    """`results`: of the call itself, then of what it wrote back; `memory`: what it changed in mappings."""

    call: str
    what: str
    before: list[str] = field(default_factory=list)
    declares: list[str] = field(default_factory=list)
    results: list[Seen] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)
    memory: list[Seen] = field(default_factory=list)
    refused: str = ""
    """Why no program can get beyond this."""
    spare: bool = False
    """Nothing depends on the call but what uses the variable it declares."""
    ended: bool = True
    """The call came back."""

    @property
    def text(self) -> tuple[str, ...]:
        """What the application did."""
        return (*self.before, self.call)


@dataclass(slots=True, kw_only=True)
class Ring:
    """An io_uring of the case: its variable, and what of its shared memory has been accounted for."""

    name: str
    params: io_uring_params
    queue: int = 0
    sqes: int = 0
    seen: int = 0

    def index(self, memory: Memory, offset: int) -> int:
        return int.from_bytes(memory.area(self.queue).image[offset : offset + 4], "little")


class Course:
    """The steps of one recording."""

    def __init__(self, events: Sequence[Event], places: Places) -> None:
        self.steps: list[Step] = []
        self._memory = Memory()
        self._stores = Stores(self._memory, places)
        self._places = places
        self._rings: dict[int, Ring] = {}
        self._count: dict[str, int] = {}
        for event in events:
            if "refuse" in event:
                self.steps.append(Step(call="", what="", refused=event["refuse"]))
            else:
                self._step(event)

    def _step(self, event: Event) -> None:
        rings = [one for one in self._rings.values() if one.sqes]
        step = Step(call="", what=event["call"])
        step.before += self._heap(event, step)  # first, as requests that are stored point there
        step.before += self._stores.lines(changes(event, "stores"), rings)
        if self.steps:
            self._completed(self.steps[-1])
        step.ended = "res" in event
        maker: Callable[[Event, Step], None] = getattr(self, f"_{event['call']}", self._unknown)
        maker(event, step)
        if event.get("thread"):
            step.refused = "it makes calls in several threads"
        wrote = self._memory.apply(changes(event, "wrote"))
        self._completed(step)
        step.memory += self._written(wrote)
        absorbed = not step.call and not step.results and not step.refused
        if absorbed and self.steps:
            self.steps[-1].memory += step.memory
            if step.before:
                self.steps.append(step)
        elif not (
            step.call == "settle()" and self.steps and self.steps[-1].call == "settle()" and not step.before
        ):
            self.steps.append(step)

    def name(self, kind: str) -> str:
        """A new variable."""
        self._count[kind] = self._count.get(kind, 0) + 1
        return f"{kind}{self._count[kind]}"

    def returned(self, event: Event, step: Step, call: str, *, success: bool = False) -> None:
        """The call's result is its first; `success`: any that is no error counts as 0."""
        step.call = call
        res = event.get("res", 0)
        step.results.append(
            Seen(what=step.what, expression=call, value=names.result(min(res, 0) if success else res))
        )

    def _heap(self, event: Event, step: Step) -> list[str]:
        """Structures in memory that is no mapping: variables, set to what they were."""
        lines = []
        for addr, kind, raw, *_ in reversed(
            event.get("mem", [])
        ):  # what is pointed to before what points there
            data = bytes.fromhex(raw)
            if kind == "iovec" and data:
                name = self.name("iov")
                step.declares.append(f"struct iovec {name}[{len(data) // 16}]")
                for at in range(0, len(data), 16):
                    base, length = (int.from_bytes(data[one : one + 8], "little") for one in (at, at + 8))
                    to = f".iov_base = {self._memory.argument(base)}, " if base else ""
                    lines.append(
                        f"{name}[{at // 16}] = (struct iovec){{ {to}.iov_len = {names.number(length)} }};"
                    )
                self._memory.name_heap(addr, name)
            elif kind == "msghdr" and len(data) == 56:
                name = self.name("msg")
                step.declares.append(f"struct msghdr {name}")
                lines.append(f"{name} = (struct msghdr){{ {names.message(data, self._memory.argument)} }};")
                self._memory.name_heap(addr, f"&{name}")
            elif kind == "bytes" and data:
                self._memory.name_heap(addr, f"(const void *){names.text(data)}")
            elif kind.startswith("io_uring_") and kind in _WRITTEN_BACK:
                name = self.name(_WRITTEN_BACK[kind])
                step.declares.append(
                    f"struct {kind} {name}{f'[{len(data) // 16}]' if len(data) % 40 else ''}"
                )
                self._memory.name_heap(addr, f"&{name}" if len(data) % 40 == 0 else name)
                value = names.structure(_of(kind, data), self._pointer_or_fd)
                lines.append(f"{name}{'[0]' if len(data) % 40 else ''} = {value};")
            elif kind in {"io_uring_buf_reg", "io_uring_restriction"} and data:
                size = ctypes.sizeof(getattr(structs, kind))
                parts = [
                    names.structure(_of(kind, data[at : at + size]), self._memory.pointer)
                    for at in range(0, len(data), size)
                ]
                one = parts[0] if len(parts) == 1 else f"(struct {kind}[]){{ {', '.join(parts)} }}"
                self._memory.name_heap(addr, f"&{one}" if len(parts) == 1 else one)
        return lines

    def _pointer_or_fd(self, value: int) -> str:
        return self._memory.descriptor(value) if value < 1 << 16 else self._memory.pointer(value)

    def _completed(self, step: Step) -> None:
        """CQEs that have come, a late one of the step before included."""
        for ring in self._rings.values():
            if not ring.queue or not self._memory.area(ring.queue).live:
                continue
            params = ring.params
            tail = ring.index(self._memory, params.cq_off.tail)
            size = 32 if params.flags & c.IORING_SETUP_CQE32 else 16
            image = self._memory.area(ring.queue).image
            while ring.seen != tail:
                at = params.cq_off.cqes + (ring.seen & params.cq_entries - 1) * size
                cqe = structs.io_uring_cqe.from_buffer_copy(image[at : at + 16])
                step.completions.append(
                    Completion(ring=ring.name, user_data=cqe.user_data, res=cqe.res, flags=cqe.flags)
                )
                ring.seen = ring.seen + 1 & 0xFFFFFFFF

    def _written(self, wrote: list[tuple[int, int, bytes, bytes]]) -> list[Seen]:
        """What the kernel changed: entries of buffer rings by field, else bytes."""
        own = {one for ring in self._rings.values() for one in (ring.queue, ring.sqes)}
        found: list[Seen] = []
        for number, at, before, now in wrote:
            if number in own:
                continue
            for slot, name, old, new in self._stores.fields(number, at, before, now):
                where, there = slot
                expression = f"buf_ring_slot({self._memory.place(number, there)}, {where})->{name}"
                write = self._memory.pointer if name == "addr" else names.number
                found.append(
                    Seen(
                        what=f"{name} of slot {where}",
                        expression=expression,
                        value=write(new),
                        before=write(old),
                    )
                )
            if not self._stores.in_ring(number, at):
                found += (
                    Seen(
                        what="a byte",
                        expression=f"*({self._memory.place(number, at + one)})",
                        value=f"{now[one]:#x}",
                        before=f"{before[one]:#x}",
                    )
                    for one in range(len(now))
                    if before[one] != now[one]
                )
        return found

    # One method for each call, named after it.

    def _io_uring_setup(self, event: Event, step: Step) -> None:
        ring = self.name("ring")
        step.declares.append(f"struct ring {ring}")
        raw = bytes.fromhex(event["mem"][0][2]) if event["mem"] else bytes(120)
        given = io_uring_params.from_buffer_copy(raw)
        said = [f".flags = {names.flags(given.flags, 'IORING_SETUP_')}"] if given.flags else []
        said += [f".cq_entries = {given.cq_entries}"] if given.cq_entries else []
        if given.flags & c.IORING_SETUP_NO_MMAP:
            step.refused = "its io_uring lives in memory of the application's (IORING_SETUP_NO_MMAP)"
        params = f"(struct io_uring_params){{ {', '.join(said) or '0'} }}"
        self.returned(event, step, f"setup(&{ring}, {event['args'][0]}, {params})", success=True)
        if event.get("res", -1) >= 0 and event["mem"]:
            params_then = io_uring_params.from_buffer_copy(bytes.fromhex(event["mem"][0][3]))
            self._rings[event["res"]] = Ring(name=ring, params=params_then)
            self._memory.open(event["res"], f"{ring}.fd")

    def _mmap(self, event: Event, step: Step) -> None:
        addr, length, prot, flags, fd, offset = event["args"]
        ring = self._rings.get(fd)
        if ring is not None and "region" in event:
            if offset == c.IORING_OFF_SQ_RING and not ring.queue:
                ring.queue = event["region"]
                return self._memory.add(ring.queue, event["res"], length, f"{ring.name}.queue")
            if offset == c.IORING_OFF_SQES and not ring.sqes:
                ring.sqes = event["region"]
                return self._memory.add(ring.sqes, event["res"], length, f"{ring.name}.sqes")
        to = self._memory.argument(addr)
        name = self.name(self._role(event, shows_ring=ring is not None and offset >= c.IORING_OFF_PBUF_RING))
        step.declares.append(f"unsigned char *{name}")
        if (prot, flags, addr, fd) == (3, 0x22, 0, -1) and event.get("res", -1) > 0:
            step.call, step.spare = f"{name} = memory({names.number(length)})", True
        else:
            words = [to, names.number(length), names.protection(prot), names.mapping_flags(flags)]
            words += [self._memory.descriptor(fd), names.offset(offset) if ring else names.number(offset)]
            self.returned(event, step, f"mapped({name} = mmap({', '.join(words)}))", success=True)
            step.spare = fd == -1
        if "region" in event:
            self._memory.add(event["region"], event["res"], length, name)
        return None

    def _role(self, event: Event, *, shows_ring: bool) -> str:
        """What a mapping is called after: a buffer ring, an argument of a call, or other memory."""
        number = event.get("region")
        if shows_ring or any(number == area for area, _ in self._places.buffer_rings):
            return "br"
        return "arg" if any(number == area for area, _ in self._places.arguments) else "mem"

    def _munmap(self, event: Event, step: Step) -> None:
        addr, length = event["args"]
        self.returned(event, step, f"result(munmap({self._memory.argument(addr)}, {names.number(length)}))")
        if event.get("res") == 0:
            self._memory.drop(addr, length)

    def _mprotect(self, event: Event, step: Step) -> None:
        addr, length, prot = event["args"]
        words = f"{self._memory.argument(addr)}, {names.number(length)}, {names.protection(prot)}"
        self.returned(event, step, f"result(mprotect({words}))")

    def _mremap(self, event: Event, step: Step) -> None:
        addr, old, new, flags, to, *_ = event["args"]
        name = self.name("mem")
        step.declares.append(f"unsigned char *{name}")
        words = f"{self._memory.argument(addr)}, {old}, {new}, {flags}, {self._memory.argument(to)}"
        self.returned(event, step, f"mapped({name} = mremap({words}))", success=True)
        if "region" in event:
            self._memory.drop(addr, old)
            self._memory.add(event["region"], event["res"], new, name)

    def _io_uring_register(self, event: Event, step: Step) -> None:
        fd, op, addr, count, *_ = event["args"]
        by_index = op & c.IORING_REGISTER_USE_REGISTERED_RING
        named = names.register_op(op)
        step.what = named.split(" ")[0]
        to = self._memory.argument(addr)
        ring = names.number(fd) if by_index else self._memory.descriptor(fd)
        self.returned(event, step, f"io_uring_register({ring}, {named}, {to}, {names.number(count)})")
        for at, kind, before, after in ((*one, one[2])[:4] for one in event["mem"]):
            if at == addr and kind in _WRITTEN_BACK:
                old, new = (_of(kind, bytes.fromhex(text)) for text in (before, after))
                target = to.removeprefix("&") if to.startswith("&") else f"{to}[0]"
                step.results += (
                    Seen(
                        what=f"{kind}.{name}",
                        expression=f"{target}.{name}",
                        value=names.number(getattr(new, name)),
                    )
                    for name, *_ in new._fields_
                    if isinstance(getattr(new, name), int) and getattr(new, name) != getattr(old, name)
                )

    def _io_uring_enter(self, event: Event, step: Step) -> None:
        fd, submit, wait, flags, *_ = event["args"]
        ring = self._rings.get(fd)
        if ring is None:
            step.refused = "it calls io_uring_enter() through a descriptor that is no io_uring of its own"
            return
        plain = flags == c.IORING_ENTER_GETEVENTS | c.IORING_ENTER_EXT_ARG
        words = f"&{ring.name}, {names.number(submit)}, {names.number(wait)}"
        more = "" if plain else f", {names.flags(flags, 'IORING_ENTER_')}"
        self.returned(event, step, f"enter{'' if plain else '_with'}({words}{more})")

    def _settle(self, event: Event, step: Step) -> None:
        step.call = "settle()"

    def _unknown(self, event: Event, step: Step) -> None:
        from ringrig.report.reproduce_files import FILES

        if event["call"] in FILES:
            FILES[event["call"]](self, self._memory, event, step)
        else:
            step.refused = f"{event['call']}() is not known here"


_WRITTEN_BACK = {"io_uring_buf_status": "status", "io_uring_rsrc_update": "update"}
"""Arguments that the kernel writes to, and what their variables are called."""


def _of(kind: str, data: bytes) -> Any:
    made: type[ctypes.Structure] = getattr(structs, kind)
    return made.from_buffer_copy(data[: ctypes.sizeof(made)].ljust(ctypes.sizeof(made), b"\0"))
