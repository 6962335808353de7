"""What maps a ring and takes the mapping down again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ringrig.model.mapping import Mmap
from ringrig.model.subject import Subject
from ringrig.uring import libc


@pytest.fixture
def mmap(ring: Subject) -> Iterator[Callable[[Mmap], int]]:
    """mmap(call): does it on `ring`; the address or -errno. A mapping that a case takes down or moves itself is
    none of this fixture's: munmap() of nothing is no error.
    """
    made: list[tuple[int, int]] = []

    def say(call: Mmap) -> int:
        addr = libc.mmap(call.length, call.prot, call.flags, ring.ring.fd, call.offset, call.addr)
        if addr > 0:
            made.append((addr, call.length))
        return addr

    yield say
    for addr, length in made:
        libc.munmap(addr, length)
