"""A group whose buffers differ in size, for requests that take several of them or a part of one."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.group import Group, legacy
from ringrig.uring.requests import Vector, cancel, limit, run_out, selecting
from ringrig.uring.ring import Ring
from ringrig.uring.structs import io_uring_sqe

BGID = 7
_CANARY, _FILL = 64, 0xA5
REQUEST, _OTHER, _TIMEOUT = 1, 2, 3


class Rest(NamedTuple):
    """What an entry of the ring says about its buffer: bytes behind, and bytes still to be had."""

    bid: int
    used: int
    left: int


class Shelf:
    """Group 7 of a Subject: buffers of `sizes` (bid: bytes), in that order, between canaries, all bytes 0xA5.

    Only the first `published` are provided at once. `start`: slots that were used up before, so that the first
    buffer lies in slot `start` modulo the ring's size.
    """

    def __init__(
        self,
        subject: Subject,
        sizes: Mapping[int, int],
        *,
        kind: Kind = Kind.RING,
        flags: int = 0,
        min_left: int = 0,
        start: int = 0,
        published: int | None = None,
    ) -> None:
        self.ring, self.sizes, self.start = subject.ring, dict(sizes), start
        room = _CANARY + sum(size + _CANARY for size in sizes.values())
        self._base, self._room = subject.arena.anon(room), room
        ctypes.memset(self._base, _FILL, room)
        self._at: dict[int, int] = {}
        at = self._base + _CANARY
        for bid, size in sizes.items():
            self._at[bid] = at
            at += size + _CANARY
        entries = max(8, 1 << (len(sizes) - 1).bit_length())
        self.group = Group(
            self.ring, subject.arena, bgid=BGID, entries=entries, flags=flags, min_left=min_left
        )
        self.kind = kind
        if kind is Kind.RING:
            assert self.group.register() == 0
            subject.owns(BGID)
            self.group.spend(start)
        for bid in list(sizes)[:published]:
            self.provide(bid)

    def provide(self, bid: int) -> None:
        """Append the buffer with that bid."""
        size = self.sizes[bid]
        if self.kind is Kind.RING:
            self.group.memory.publish(self._at[bid], size, bid)
        else:
            assert legacy(self.ring, bgid=BGID, addr=self._at[bid], size=size, count=1, bid=bid) == 0

    def load(self) -> bytes:
        """Fill all buffers, for a SEND: together they hold one stream, which is returned."""
        done = 0
        for bid, size in self.sizes.items():
            ctypes.memmove(self._at[bid], incoming(done, size), size)
            done += size
        return incoming(0, done)

    def written(self) -> dict[int, bytes]:
        """What buffers hold that were written: from their start to the last byte that is not 0xA5.

        A write outside of buffers shows as bid -1 and the bytes of all canaries.
        """
        found = {
            bid: held
            for bid, at in self._at.items()
            if (held := ctypes.string_at(at, self.sizes[bid]).rstrip(bytes((_FILL,))))
        }
        ends = [self._base, *(edge for bid, at in self._at.items() for edge in (at, at + self.sizes[bid]))]
        ends.append(self._base + self._room)
        canaries = b"".join(ctypes.string_at(a, b - a) for a, b in list(pairwise(ends))[::2])
        if canaries.strip(bytes((_FILL,))):
            found[-1] = canaries
        return found

    def rests(self) -> list[Rest]:
        """What the ring's entries say, in the order of the buffers."""
        entries = [self.group.entry(self.start + slot) for slot in range(len(self.sizes))]
        return [Rest(entry.bid, entry.addr - self._at.get(entry.bid, 0), entry.len) for entry in entries]

    def head(self) -> int:
        """Buffers of the shelf that the kernel has used up, by IORING_REGISTER_PBUF_STATUS."""
        return self.group.head() - self.start

    def left(self) -> list[tuple[int, int]]:
        """Bid and bytes of what is still to be had, in order; uses it up (and writes zeros to it).

        Of a page at most each: a longer read of /dev/zero ends where the clock ticks. read_iter_zero(): IOCB_NOWAIT
        """
        found = []
        while (cqe := self.group.read()).bid is not None:
            found.append((cqe.bid, cqe.res))
        return found

    def queue(
        self, opcode: int, fd: int, *, length: int = 0, ioprio: int = 0, msg_flags: int = 0, flags: int = 0
    ) -> io_uring_sqe:
        """Queue a request that selects from the group, and may have other fields set before it is submitted.

        `length` is of the SQE, or of the one iovec of READV and RECVMSG.
        """
        vector = Vector(length) if opcode in {c.IORING_OP_READV, c.IORING_OP_RECVMSG} else None
        sqe = selecting(self.ring, opcode, fd, bgid=BGID, length=length, vector=vector)
        sqe.ioprio, sqe.msg_flags, sqe.user_data = ioprio, msg_flags, REQUEST
        sqe.flags |= flags
        return sqe

    def to_the_end(self) -> list[Reply]:
        """Submit, and wait for all completions of the one request, up to its last."""
        return to_the_end(self.ring)

    def some(self, count: int, *, timeout: float = 10.0) -> list[Reply]:
        """Submit, and wait for `count` completions of a request that goes on; TimeoutError after `timeout` s."""
        return [Reply.of(cqe.res, cqe.flags) for cqe in self.ring.complete(count, timeout=timeout)]

    def cancelled(self) -> list[Reply]:
        """Cancel the request: its completions that nobody has seen yet, up to its last."""
        cancel(self.ring, REQUEST, own=_OTHER)
        last: list[Reply] = []
        while not last or last[-1].more:
            last += [Reply.of(cqe.res, cqe.flags) for cqe in self.ring.complete() if cqe.user_data == REQUEST]
        return last

    def limit(self, sqe: io_uring_sqe) -> None:
        """Link a timeout to the request in `sqe`, which was queued just now."""
        limit(self.ring, sqe, own=_TIMEOUT)

    def timed_out(self) -> tuple[list[Reply], Reply]:
        """Let that timeout run out now: the request's completions up to its last, and what the timeout says."""
        run_out(self.ring, _TIMEOUT, own=_OTHER)
        found: dict[int, list[Reply]] = {REQUEST: [], _OTHER: [], _TIMEOUT: []}
        while not all(found.values()) or found[REQUEST][-1].more:
            for cqe in self.ring.complete():
                found[cqe.user_data].append(Reply.of(cqe.res, cqe.flags))
        assert found[_OTHER] == [Reply(res=0)], "the timeout cannot be changed"
        (timeout,) = found[_TIMEOUT]
        return found[REQUEST], timeout


def to_the_end(ring: Ring) -> list[Reply]:
    """Completions of the one request that is on its way, up to its last."""
    found: list[Reply] = []
    while not found or found[-1].more:
        found += [Reply.of(cqe.res, cqe.flags) for cqe in ring.complete()]
    return found


def spread(sizes: Mapping[int, int], pieces: tuple[int, ...]) -> dict[int, bytes]:
    """What the first buffers hold, if piece by piece of one stream went to one after the other."""
    done, found = 0, {}
    for bid, piece in zip(sizes, pieces, strict=False):
        if piece:
            found[bid] = incoming(done, piece)
        done += piece
    return found
