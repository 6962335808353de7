"""The steps of a case as one C program that needs nothing but a C library."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from ringrig.report.reproduce_course import Step
from ringrig.report.reproduce_judge import Verdict
from ringrig.uring import consts

_PARTS = Path(__file__).with_name("reproduce_parts.c")
_WORD = re.compile(r"\b[A-Za-z_]\w*\b")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_WIDTH = 100
_PATIENCE = 60
"""Seconds, more than any case waits for."""
_HEADERS = (
    ("arpa/inet.h", ("htonl",)),
    ("errno.h", ("errno",)),
    ("fcntl.h", ("open", "pipe2", "fcntl", "O_CLOEXEC")),
    ("netinet/in.h", ("sockaddr_in",)),
    ("netinet/tcp.h", ("TCP_NODELAY",)),
    ("signal.h", ("kill", "signal")),
    ("stdint.h", ("uint8_t", "uint16_t", "uint32_t", "uint64_t", "uintptr_t")),
    ("stdio.h", ("printf", "puts", "snprintf")),
    ("stdlib.h", ("exit",)),
    ("string.h", ("memcpy", "memset", "strerror")),
    ("sys/mman.h", ("mmap", "munmap", "mprotect", "mremap", "memfd_create")),
    ("sys/socket.h", ("socketpair", "send", "recv", "shutdown", "socket", "setsockopt", "msghdr")),
    ("sys/syscall.h", ("syscall",)),
    ("sys/uio.h", ("iovec",)),
    ("sys/wait.h", ("waitpid",)),
    ("unistd.h", ("alarm", "syscall", "close", "read", "write", "usleep")),
)
"""Header: what of it a program may use."""
_SYSCALLS = {"__NR_io_uring_setup": 425, "__NR_io_uring_enter": 426, "__NR_io_uring_register": 427}


@cache
def _parts() -> dict[str, str]:
    """Pieces of C by the identifier they bring, in their order."""
    found = {}
    for part in _PARTS.read_text().split("/* part: ")[1:]:
        name, text = part.split(" */\n", 1)
        found[name] = text.rstrip()
    return found


def program(steps: Sequence[Step], *, verdict: Verdict | None, head: str, seconds: int = 10) -> str:
    """Up to the step that decides, or (None) all of it, with an eye on the kernel from outside for `seconds`."""
    taken = _needed(steps[: verdict.at + 1] if verdict else steps, decisive=verdict.at if verdict else -1)
    lines: list[str] = []
    for at, step in taken:
        lines += _statements(step, verdict if verdict and verdict.at == at else None)
    declared = _declarations(step for _, step in taken)
    if any(re.search(r"\bi\b", _STRING.sub("", line)) for line in lines):
        declared.append("unsigned int i;")
    body = (
        [f"\t{one}" for one in declared]
        + [""]
        + (["\tsignal(SIGALRM, too_late);", f"\talarm({_PATIENCE});"] if verdict else [])
        + [f"\t{part}" if part else "" for line in lines for part in _fold(line)]
    )
    if verdict is None:
        body = ["static void course(void)", "{", *body, "}", "", "int main(void)", "{"]
        body += [f"\treturn watched(course, {seconds});", "}"]
    else:
        body = ["int main(void)", "{", *body, "}"]
    text = "\n".join(body)
    return f"{_comment(head)}\n{_prelude(text)}\n\n{text}\n"


def _needed(steps: Sequence[Step], *, decisive: int) -> list[tuple[int, Step]]:
    """Without calls whose only effect is a variable that no other step uses; what was stored before them stays."""
    taken = list(enumerate(steps))
    while True:
        words = [set(_WORD.findall("\n".join(_statements(step, None)))) for _, step in taken]
        spare = [
            place
            for place, (at, step) in enumerate(taken)
            if step.spare
            and at != decisive
            and not any(_variable(step) in other for n, other in enumerate(words) if n != place)
        ]
        if not spare:
            return taken
        taken = [
            (at, replace(step, call="", declares=step.declares[:-1], results=[], spare=False))
            if n in spare
            else (at, step)
            for n, (at, step) in enumerate(taken)
        ]


def _variable(step: Step) -> str:
    name: str = _WORD.findall(step.declares[-1])[-1]
    return name


def _statements(step: Step, verdict: Verdict | None) -> list[str]:
    """A step in C; one that decides ends the program."""
    lines = list(step.before)
    judged = verdict.place if verdict else ""
    results = step.results
    if not results and step.call:
        lines.append(f"{step.call};")
    for at, seen in enumerate(results):
        if verdict and judged == "results" and at == verdict.index:
            return lines + _judgement(verdict)
        lines.append(f'expect("{seen.what}", {seen.expression}, {seen.value});')
    if verdict and judged == "results":
        return lines + _judgement(verdict)
    for at, cqe in enumerate(step.completions):
        if verdict and judged in {"completions", "count"} and at == verdict.index:
            break
        lines.append(f"expect_cqe(&{cqe.ring}, {cqe.literal});")
    return lines + (_judgement(verdict) if verdict else [])


def _judgement(verdict: Verdict) -> list[str]:
    comment = ["", f"/* What is in question: {verdict.what}. The fault, then what is right: */"]
    if verdict.place == "completions":
        return [*comment, f"verdict_cqe({verdict.expression}, {verdict.wrong}, {verdict.right});"]
    return [
        *comment,
        f'verdict("{verdict.what}", {verdict.expression}, {verdict.wrong}, {verdict.right});',
    ]


def _declarations(steps: Iterable[Step]) -> list[str]:
    """Each once, in the order of their use; one kind a line."""
    kinds: dict[str, list[str]] = {}
    for step in steps:
        for one in step.declares:
            kind, name = re.fullmatch(r"(.* )(\*?\w+(?:\[\d+\])?)", one).groups()  # type: ignore[union-attr]
            names = kinds.setdefault(kind, [])
            if name not in names:
                names.append(name)
    return [part for kind, names in kinds.items() for part in _fold(f"{kind}{', '.join(names)};")]


def _fold(line: str) -> list[str]:
    """A statement over several lines, broken after commas outside of strings."""
    if len(line) <= _WIDTH or not line:
        return [line]
    indent = len(line) - len(line.lstrip("\t"))
    parts, now = [], ""
    for word in _split(line):
        if now and len(now) + len(word) > _WIDTH:
            parts.append(now.rstrip())
            now = "\t" * (indent + 1) + word.lstrip()
        else:
            now += word
    return [*parts, now.rstrip()]


def _split(line: str) -> list[str]:
    """At ", " outside of strings; a long string in pieces."""
    words, start, at = [], 0, 0
    while at < len(line):
        if line[at] == '"':
            end = _STRING.match(line, at)
            assert end is not None
            text = end.group()
            if len(text) > 80:
                words.append(line[start:at])
                pieces = re.findall(r"(?:\\x[0-9a-f]{2}|\\.|.){1,16}", text[1:-1])
                words += [f'"{piece}" ' for piece in pieces[:-1]] + [f'"{pieces[-1]}"']
                start = end.end()
            at = end.end()
        elif line.startswith(", ", at):
            words.append(line[start : at + 2])
            start = at = at + 2
        else:
            at += 1
    return [*words, line[start:]]


def _prelude(body: str) -> str:
    """Headers, definitions and functions that the body needs, directly or not."""
    parts = _parts()
    used: set[str] = set()
    words = set(_WORD.findall(_STRING.sub("", body)))
    while more := [name for name in parts if name in words and name not in used]:
        for name in more:
            used.add(name)
            words |= set(_WORD.findall(_STRING.sub("", parts[name])))
    structures = [
        parts[name] for name in parts if name in used and parts[name].startswith("struct io_uring_")
    ]
    functions = [text for name, text in parts.items() if name in used and text not in structures]
    lines = ["#define _GNU_SOURCE"]
    lines += [f"#include <{header}>" for header, brought in _HEADERS if words & set(brought)]
    numbers = [name for name in _SYSCALLS if name in words]
    lines += [""] if numbers else []
    for name in numbers:
        lines += [f"#ifndef {name}", f"#define {name} {_SYSCALLS[name]}", "#endif"]
    constants = [name for name in vars(consts) if name.startswith("IO") and name in words]
    if constants:
        lines += ["", "/* include/uapi/linux/io_uring.h */"]
        lines += [
            f"#define {name:<{max(map(len, constants))}} {_value(getattr(consts, name))}"
            for name in constants
        ]
    return "\n".join([*lines, "", *("\n\n".join([*structures, *functions]).splitlines())])


def _value(number: int) -> str:
    return f"{number:#x}U" if number > 64 else str(number)


def _comment(head: str) -> str:
    lines = ["// SPDX-License-Identifier: GPL-2.0-only", "/*"]
    lines += [f" * {line}".rstrip() for line in head.replace("*/", "* /").splitlines()]
    return "\n".join([*lines, " */"])
