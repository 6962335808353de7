"""Calls on files and sockets, as steps of a C program."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ringrig.report import reproduce_names as names
from ringrig.report.reproduce_memory import Event, Memory

if TYPE_CHECKING:
    from ringrig.report.reproduce_course import Course, Step

Maker = Callable[["Course", Memory, Event, "Step"], None]
_ROOM = 1 << 16


def _opens(kind: str, call: Callable[[Event, Memory], str]) -> Maker:
    """A call whose result is one descriptor."""

    def make(course: Course, memory: Memory, event: Event, step: Step) -> None:
        words = call(event, memory)
        name = course.name(kind)
        step.declares.append(f"int {name}")
        course.returned(event, step, f"opened({name} = {words})", success=True)
        step.spare = event.get("res", -1) >= 0
        for fd in event.get("new", []):
            memory.open(fd, name)

    return make


def _pair(kind: str, call: Callable[[Event, str], str]) -> Maker:
    """A call that fills an array of two descriptors."""

    def make(course: Course, memory: Memory, event: Event, step: Step) -> None:
        name = course.name(kind)
        step.declares.append(f"int {name}[2]")
        course.returned(event, step, call(event, name), success=True)
        step.spare = event.get("res", -1) >= 0
        for at, fd in enumerate(event.get("new", [])):
            memory.open(fd, f"{name}[{at}]")

    return make


def _close(course: Course, memory: Memory, event: Event, step: Step) -> None:
    course.returned(event, step, f"result(close({memory.descriptor(event['args'][0])}))")


def _writes(function: str) -> Maker:
    def make(course: Course, memory: Memory, event: Event, step: Step) -> None:
        fd, text, *more = event["args"]
        data = bytes.fromhex(text)
        at = "".join(f", {names.number(one)}" for one in more) if function == "pwrite" else ""
        call = f"{function}({memory.descriptor(fd)}, {names.text(data) if data else 'NULL'}, {len(data)}{at})"
        # sendall() says nothing, and has sent all.
        told = {**event, "res": len(data)} if event["call"] == "sendall" and event.get("res") == 0 else event
        course.returned(told, step, call if function == "sent" else f"result({call})")

    return make


def _reads(function: str) -> Maker:
    def make(course: Course, memory: Memory, event: Event, step: Step) -> None:
        from ringrig.report.reproduce_course import Seen

        fd, *rest = event["args"]
        step.declares.append(f"static unsigned char room[{_ROOM}]")
        size = _ROOM if not rest or not 0 < rest[0] <= _ROOM else rest[0]
        more = "".join(f", {names.message_flags(one) if function == 'recv' else one}" for one in rest[1:])
        if function == "recv" and not more:
            more = ", 0"
        course.returned(event, step, f"result({function}({memory.descriptor(fd)}, room, {size}{more}))")
        data = bytes.fromhex(event.get("data", ""))
        step.memory += (
            Seen(what="a byte that was read", expression=f"room[{at}]", value=f"{one:#x}")
            for at, one in enumerate(data)
        )

    return make


def _ftruncate(course: Course, memory: Memory, event: Event, step: Step) -> None:
    fd, length = event["args"]
    course.returned(event, step, f"result(ftruncate({memory.descriptor(fd)}, {names.number(length)}))")


def _shutdown(course: Course, memory: Memory, event: Event, step: Step) -> None:
    fd, how = event["args"]
    named = ("SHUT_RD", "SHUT_WR", "SHUT_RDWR")[how]
    course.returned(event, step, f"result(shutdown({memory.descriptor(fd)}, {named}))")


def _setsockopt(course: Course, memory: Memory, event: Event, step: Step) -> None:
    fd, level, option, value = event["args"]
    words = f"{memory.descriptor(fd)}, {level}, {option}, &(int){{ {value} }}, sizeof(int)"
    course.returned(event, step, f"result(setsockopt({words}))")


def _socketpair(event: Event, name: str) -> str:
    kinds = [one for one in event["args"] if isinstance(one, int)]
    kind = kinds[-1] if kinds else 1
    return f"result(socketpair(AF_UNIX, {names.socket_type(kind)}, 0, {name}))"


def _memfd(event: Event, memory: Memory) -> str:
    name, *flags = event["args"]
    return f"memfd_create({names.literal(name)}, {flags[0] if flags else 'MFD_CLOEXEC'})"


FILES: dict[str, Maker] = {
    "pipe2": _pair(
        "fifo", lambda event, name: f"result(pipe2({name}, {names.pipe_flags(event['args'][0])}))"
    ),
    "pipe": _pair("fifo", lambda _, name: f"result(pipe2({name}, O_CLOEXEC))"),
    "socketpair": _pair("sock", _socketpair),
    "tcp_pair": _pair("sock", lambda _, name: f"tcp_pair({name})"),
    "open": _opens(
        "fd",
        lambda event, _: (
            f"open({names.literal(event['args'][0])}, {names.open_flags(event['args'][1])}, 0600)"
        ),
    ),
    "dup": _opens("fd", lambda event, memory: f"dup({memory.descriptor(event['args'][0])})"),
    "memfd_create": _opens("fd", _memfd),
    "memfd_secret": _opens("fd", lambda event, _: f"syscall(447, {event['args'][0]})"),
    "close": _close,
    "write": _writes("write"),
    "pwrite": _writes("pwrite"),
    "send": _writes("sent"),
    "sendall": _writes("sent"),
    "read": _reads("read"),
    "pread": _reads("pread"),
    "recv": _reads("recv"),
    "ftruncate": _ftruncate,
    "shutdown": _shutdown,
    "setsockopt": _setsockopt,
}
"""By the name under which it was recorded."""
