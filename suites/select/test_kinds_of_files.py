"""READ into a selected buffer of what is neither pipe nor socket nor storage: events of inotify, an eventfd, a terminal."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import tty
from collections.abc import Callable
from typing import NamedTuple

import pytest

from ringrig.model.params import ops
from ringrig.model.scene import OPCODES
from ringrig.model.shelf import Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Op, Reply
from ringrig.uring import consts as c
from ringrig.uring.memory import Arena

pytestmark = pytest.mark.ends_within(3)

BIDS = (5, 300, 2, 9)
_IN_ATTRIB = 4
_INOTIFY_EVENT = struct.Struct("iIII")
"""wd, mask, cookie, len (include/uapi/linux/inotify.h)."""


class Events(NamedTuple):
    """A file, what makes it readable, and what is then read."""

    fd: int
    happen: Callable[[], object]
    data: bytes


def inotify(arena: Arena) -> Events:
    """A file's mode is changed: an event without a name. inotify_read(), which is no read_iter"""
    libc = ctypes.CDLL(None, use_errno=True)
    file, fd = arena.own(os.memfd_create("ringrig")), libc.inotify_init1(os.O_CLOEXEC)
    if fd < 0:
        pytest.skip(f"needs inotify: {os.strerror(ctypes.get_errno())}")
    arena.own(fd)
    watch = libc.inotify_add_watch(fd, f"/proc/self/fd/{file}".encode(), _IN_ATTRIB)
    assert watch > 0
    return Events(fd, lambda: os.fchmod(file, 0o600), _INOTIFY_EVENT.pack(watch, _IN_ATTRIB, 0, 0))


def eventfd(arena: Arena) -> Events:
    """A count of 3, which a read takes back."""
    fd = arena.own(os.eventfd(0))
    return Events(fd, lambda: os.eventfd_write(fd, 3), (3).to_bytes(8, "little"))


def terminal(arena: Arena) -> Events:
    """The inner end of a pseudo-terminal, raw."""
    try:
        outer, inner = os.openpty()
    except OSError as error:
        pytest.skip(f"needs a pseudo-terminal: {error.strerror}")
    tty.setraw(inner)
    arena.own(outer)
    return Events(arena.own(inner), lambda: os.write(outer, b"a line\n"), b"a line\n")


def readable(fd: int) -> None:
    """Wait until it is: a terminal has what was written a moment later."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    assert poll.poll(3000)


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("blocks", [False, True], ids=["nonblocking", "blocking"])
@pytest.mark.parametrize("flags", [0, c.IOSQE_ASYNC], ids=["locked", "io_wq"])
@pytest.mark.parametrize("waits", [False, True], ids=["there", "waits"])
@pytest.mark.parametrize("make", [inotify, eventfd, terminal], ids=lambda make: make.__name__)
@pytest.mark.parametrize("op", ops([Op.READ, Op.READV, Op.READ_MULTISHOT]))
def test_one_event_after_the_other(  # noqa: PLR0917
    ring: Subject,
    op: Op,
    make: Callable[[Arena], Events],
    waits: bool,
    flags: int,
    blocks: bool,
    kind: Kind,
) -> None:
    """An event is there, or comes while the request waits; then another: each has a buffer of its own, in which there is room for more.

    A multishot of a file that blocks, and can only be read by a worker, ends with each. loop_rw_iter(): a short read ends it;
    io_wq_submit_work(): O_NONBLOCK, FMODE_NOWAIT. Open.
    """
    by_worker = bool(flags) or make is inotify
    goes_on = op.multishot and not (blocks and by_worker and make is not eventfd)
    shelf, events = Shelf(ring, dict.fromkeys(BIDS, 64), kind=kind), make(ring.arena)
    os.set_blocking(events.fd, blocks)
    found: list[Reply] = []
    for _ in range(2):
        asked = bool(found) and found[-1].more
        if not (waits or asked):
            events.happen()
            readable(events.fd)
        if not asked:
            shelf.queue(OPCODES[op], events.fd, length=0 if op.multishot else 64, flags=flags)
            assert ring.ring.submit() == 1
        if waits or asked:
            assert ring.ring.cqes() == []
            events.happen()
        found += shelf.some(1, timeout=1)

    if found[-1].more:
        assert shelf.cancelled() == [Reply(res=-errno.ECANCELED)]
    length = len(events.data)
    assert found == [Reply(res=length, bid=bid, more=goes_on) for bid in BIDS[:2]]
    assert shelf.written() == dict.fromkeys(BIDS[:2], events.data)
    assert [bid for bid, _ in shelf.left()] == list(BIDS[2:])
