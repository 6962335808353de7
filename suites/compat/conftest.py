"""The fixtures of all suites, on rings of a 32-bit program: every call through int $0x80, all memory below 4 GiB."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator

import pytest

from ringrig.model.calls import Arg
from ringrig.model.profiles import Profile
from ringrig.model.scene import Scene
from ringrig.model.subject import Subject
from ringrig.model.transfer import Stock
from ringrig.uring.compat import CompatRing, CompatVector, int80
from ringrig.uring.libc import NR_IO_URING_REGISTER
from ringrig.uring.memory import Arena
from ringrig.uring.requests import Vector


class CompatSubject(Subject):
    """A Subject whose described calls are those of a 32-bit program."""

    def register(self, fd: int, op: int, at: int, nr_args: int) -> int:
        return int80(NR_IO_URING_REGISTER, fd, op, at, nr_args)

    def _place(self, payload: bytes, arg: Arg) -> int:
        if arg is not Arg.GOOD:
            return super()._place(payload, arg)
        at = self.arena.anon(len(payload))
        ctypes.memmove(at, payload, len(payload))
        return at


class CompatScene(Scene):
    """A Scene whose iovecs and msghdrs have 32-bit fields."""

    def vector(self, length: int, *, count: int = 1) -> Vector:
        return CompatVector(self.arena, length, count=count)


@pytest.fixture
def make_ring() -> Iterator[Callable[..., Subject]]:
    """make_ring(entries=8, flags=0): a Subject on a ring that a 32-bit program set up."""
    made: list[Subject] = []

    def make(entries: int = 8, flags: int = 0) -> Subject:
        made.append(CompatSubject(CompatRing(entries, flags), Arena(low=True)))
        return made[-1]

    yield make
    for subject in made:
        subject.close()


@pytest.fixture
def make_scene(ring: Subject, profile: Profile) -> Callable[[Stock | None], Scene]:
    """make_scene(stock): a CompatScene on `ring`, whose group 7 has that stock of buffers (None: no group)."""
    return lambda stock: CompatScene(ring, stock, profile.traits)
