"""What maps a ring; the case's arena takes the mapping down again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.model.mapping import Mmap
from ringrig.model.subject import Subject
from ringrig.uring import libc


@pytest.fixture
def mmap(ring: Subject) -> Callable[[Mmap], int]:
    """mmap(call): does it on `ring`; the address or -errno. A case that unmaps some of it does so by `ring.arena`."""

    def say(call: Mmap) -> int:
        addr = libc.mmap(call.length, call.prot, call.flags, ring.ring.fd, call.offset, call.addr)
        if addr > 0:
            ring.arena.adopt(addr, call.length)
        return addr

    return say
