"""The kernel and the model of many groups (world.py) in step: each call is made on both, and all is compared.

    both = Lockstep()
    both.register(7, entries=4)
    both.publish(7, bid=5, size=64)
    both.feed("pipe_0", 24)
    both.request("read", "pipe_0", 7)

A step that differs raises Difference; `steps` has those so far.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from io import FileIO
from typing import Any, Concatenate, ParamSpec, Self, cast

from ringrig.model.holdings import FILES, PATTERN, SLAB, Slots
from ringrig.model.profiles import load_profile, profile_for
from ringrig.model.scene import OPCODES
from ringrig.model.seen import wrong_bytes, wrong_heads, wrong_rings
from ringrig.model.spec import name_of
from ringrig.model.transfer import Issue, Op, Reply, Source, Transfer, incoming
from ringrig.model.world import World
from ringrig.uring import bufring
from ringrig.uring import consts as c
from ringrig.uring.bufring import BufRing
from ringrig.uring.counters import settled
from ringrig.uring.group import legacy, remove_legacy
from ringrig.uring.layout import MERGED
from ringrig.uring.libc import MAP_SHARED, PAGE_SIZE, PROT_READ, PROT_WRITE, mmap, munmap
from ringrig.uring.memory import Arena
from ringrig.uring.requests import Vector, cancel, selecting
from ringrig.uring.ring import Ring

_OWN = 1 << 32
"""Added to the number of a request that is cancelled: the cancellation's own."""
P = ParamSpec("P")


class Difference(AssertionError):
    """The kernel did not do what the model says; a line for each thing that differs."""


@dataclass(slots=True, kw_only=True)
class Step:
    """A call of Lockstep's, by its method's name, and what came of it."""

    name: str
    args: tuple[Any, ...]
    options: dict[str, Any]
    came: str = ""

    def __str__(self) -> str:
        said = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.options.items())]
        return f"both.{self.name}({', '.join(said)})" + (f"  # {self.came}" if self.came else "")


def _step(
    method: Callable[Concatenate[Lockstep, P], str],
) -> Callable[Concatenate[Lockstep, P], None]:
    """A call on both sides, which returns what came of it: recorded, and followed by a look at everything."""

    @wraps(method)
    def made(self: Lockstep, *args: P.args, **options: P.kwargs) -> None:
        step = Step(name=method.__name__, args=args, options=options)
        self.steps.append(step)
        try:
            step.came = method(self, *args, **options)
            self.look()
        except Difference as error:
            self.differs = str(error)
            raise

    return cast("Callable[Concatenate[Lockstep, P], None]", made)


class Lockstep:
    """`profile`: the name of what the kernel is judged by (default: by uname -r)."""

    def __init__(self, profile: str | None = None, *, patience: float = 5.0) -> None:
        judged = profile_for(None, platform.release()) if profile is None else load_profile(profile)
        self.world, self._judged = World(judged.traits), judged.name
        self.patience = patience
        """Seconds that a completion may take before it counts as lost."""
        self.steps: list[Step] = []
        self.differs = ""
        """How the last step went wrong."""
        self._ring, self._arena = Ring(64), Arena()
        self._slab = self._arena.anon(SLAB)
        ctypes.memmove(self._slab, PATTERN, SLAB)
        self._memories: dict[int, BufRing] = {}
        self._every: list[tuple[int, BufRing, Slots]] = []
        self._bgids: set[int] = set()
        self._near: dict[str, int] = {}
        self._far: dict[str, FileIO] = {}
        self._numbers: dict[str, int] = {}
        self._count = 0
        for name, source in FILES.items():
            self._near[name], self._far[name] = self._open(source)

    def _open(self, source: Source) -> tuple[int, FileIO]:
        """The end that requests have, and the other."""
        if source is Source.SOCKET:
            ours, other = socket.socketpair(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            near, far = ours.detach(), FileIO(other.detach(), "r+")
        elif source is Source.PIPE:
            near, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            far = FileIO(writer, "w")
        elif source is Source.FILE:
            near = os.memfd_create("ringrig")
            far = FileIO(f"/proc/self/fd/{near}", "a")
        else:
            near, far = os.open("/dev/zero", os.O_RDONLY | os.O_CLOEXEC), FileIO("/dev/zero")
        return self._arena.own(near), far

    @_step
    def register(self, bgid: int, *, entries: int, flags: int = 0, min_left: int = 0) -> str:
        """REGISTER_PBUF_RING (flags: 1 IOU_PBUF_RING_MMAP, 2 IOU_PBUF_RING_INC)."""
        want = self.world.register(bgid, entries=entries, flags=flags, min_left=min_left)
        in_kernel = bool(flags & c.IOU_PBUF_RING_MMAP)
        room = MERGED.size(max(1, entries))
        addr = 0 if in_kernel else self._arena.anon(room)
        self._bgids.add(bgid)
        got = bufring.register(
            self._ring, addr=addr, entries=entries, bgid=bgid, flags=flags, min_left=min_left
        )
        if got != want.res:
            raise Difference(f"got {name_of(got)}, want {want!r}\n{want.fired or 'no check is broken'}")
        if got == 0:
            if in_kernel and (addr := bufring.map_kernel_ring(self._ring, bgid=bgid, entries=entries)) < 0:
                raise Difference(f"mmap() of the new ring: {name_of(addr)}, want 0")
            self._memories[bgid] = memory = BufRing(addr, entries, MERGED)
            slots = self.world.pools[bgid].slots
            assert slots is not None
            memory.producer = slots.tail
            self._every.append((bgid, memory, slots))
        return name_of(got)

    @_step
    def unregister(self, bgid: int) -> str:
        """UNREGISTER_PBUF_RING."""
        want = self.world.unregister(bgid)
        got = bufring.unregister(self._ring, bgid)
        if got != want.res:
            raise Difference(f"got {name_of(got)}, want {want!r}\n{want.fired or 'no check is broken'}")
        return name_of(got)

    @_step
    def provide(self, bgid: int, *, bid: int, count: int = 1, size: int) -> str:
        """PROVIDE_BUFFERS: `count` buffers of `size` bytes, numbered from `bid` on."""
        at = self.world.next_place
        want = self.world.provide(bgid, bid=bid, count=count, size=size)
        got = legacy(self._ring, bgid=bgid, addr=self._slab + at, size=size, count=count, bid=bid)
        return self._same(got, want)

    @_step
    def remove(self, bgid: int, *, count: int) -> str:
        """REMOVE_BUFFERS."""
        want = self.world.remove(bgid, count=count)
        return self._same(remove_legacy(self._ring, bgid=bgid, count=count), want)

    @_step
    def publish(self, bgid: int, *, bid: int, size: int) -> str:
        """The application puts a buffer of `size` bytes into the ring and moves the tail."""
        at = self.world.publish(bgid, bid=bid, size=size)
        self._memories[bgid].publish(self._slab + at, size, bid)
        return f"at {at}"

    @_step
    def mmap(self, bgid: int) -> str:
        """mmap() of the group's ring, a page of it: refused, or the same memory once more."""
        want = self.world.mmap(bgid)
        offset = bufring.mmap_offset(bgid)
        addr = mmap(PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, self._ring.fd, offset)
        came = self._same(min(addr, 0), want)
        if addr > 0:
            held = ctypes.string_at(addr, PAGE_SIZE)
            munmap(addr, PAGE_SIZE)
            raw = self._memories[bgid].raw()
            if held != raw.ljust(PAGE_SIZE, b"\0"):
                raise Difference("the mapping shows other memory than the ring's")
        return came

    @_step
    def request(
        self, op: str, file: str, bgid: int, *, length: int = 0, by: str = "locked", wait: bool = True
    ) -> str:
        """A request that selects from group `bgid`: by the submitter ("locked") or "io_wq" (IOSQE_ASYNC).

        `length` 0: as much as the buffer takes. `wait` False: MSG_DONTWAIT.
        """
        flags = 0 if wait else socket.MSG_DONTWAIT
        call = Transfer(op=Op(op), issue=Issue(by), length=length, op_flags=flags)
        want = self.world.request(call, file, bgid)
        self._count += 1
        self._numbers[file] = self._count
        vector = Vector(length) if call.op in {Op.READV, Op.RECVMSG, Op.RECVMSG_MULTISHOT} else None
        sqe = selecting(
            self._ring, OPCODES[call.op], self._near[file], bgid=bgid, length=length, vector=vector
        )
        sqe.user_data = self._count
        if not call.op.reads:
            sqe.msg_flags, sqe.ioprio = flags, c.IORING_RECV_MULTISHOT * call.op.multishot
        sqe.flags |= c.IOSQE_ASYNC * (call.issue is Issue.IO_WQ)
        came = self._replies(file, want)
        if call.op is Op.SEND:
            self._received(file)
        if call.issue is Issue.IO_WQ and self.world.files[file].waiting is not None:
            self._until_they_wait(call.op)
        return came

    @_step
    def feed(self, file: str, length: int) -> str:
        """`length` bytes come to the file."""
        at = self.world.files[file].at + self.world.files[file].unread
        want = self.world.feed(file, length)
        data = incoming(at, length)
        assert self._far[file].write(data) == length
        return self._replies(file, want)

    @_step
    def end(self, file: str) -> str:
        """The other end of a pipe or socket closes."""
        want = self.world.end(file)
        self._far[file].close()
        return self._replies(file, want)

    @_step
    def cancel(self, file: str) -> str:
        """ASYNC_CANCEL of the last request of the file."""
        waits = self.world.files[file].waiting is not None
        want = self.world.cancel(file)
        number = self._numbers.get(file, 0)
        cancel(self._ring, number, own=number + _OWN)
        return self._replies(file, want, cancelled=0 if waits else -errno.ENOENT)

    def finish(self) -> None:
        """All that is left is used up, cancelled, unregistered: what is to be seen of a group only so."""
        for name, file in self.world.files.items():
            if file.waiting is not None:
                self.cancel(name)
        for bgid, pool in list(self.world.pools.items()):
            while pool.items:
                self.request("read", "zero", bgid)
            if pool.slots is not None:
                self.unregister(bgid)
            else:
                self.remove(bgid, count=1)

    def look(self) -> None:
        """Everything that user space can see: buffers and what lies between them, rings, heads."""
        wrong = [
            *wrong_bytes(self._slab, self.world.memory),
            *wrong_rings(self._slab, self._every),
            *wrong_heads(self._ring, self._bgids, self.world),
        ]
        if wrong:
            raise Difference("\n".join(wrong))

    def _same(self, got: int, want: int) -> str:
        if got != want:
            raise Difference(f"got {name_of(got)}, want {name_of(want)}")
        return name_of(got)

    def _replies(self, file: str, want: list[Reply], *, cancelled: int | None = None) -> str:
        """Submit, and collect what must come and what comes besides."""
        number = self._numbers.get(file, 0)
        wanted = {number: want} if want else {}
        if cancelled is not None:
            wanted[number + _OWN] = [Reply(res=cancelled)]
        try:
            cqes = self._ring.complete(sum(map(len, wanted.values())), timeout=self.patience)
        except TimeoutError as error:
            raise Difference(f"want {wanted}: {error}") from error
        self._ring.submit()
        got: dict[int, list[Reply]] = {}
        doubtful = 0 if "unix_inq" in self.world.traits else c.IORING_CQE_F_SOCK_NONEMPTY
        for cqe in [*cqes, *self._ring.cqes()]:
            got.setdefault(cqe.user_data, []).append(Reply.of(cqe.res, cqe.flags & ~doubtful))
        if got != wanted:
            raise Difference(f"completions by request: got {got}, want {wanted}")
        return ", ".join(map(repr, want)) or ("nothing to cancel" if cancelled else "waits or is done")

    def _received(self, file: str) -> None:
        far = self._far[file]
        got = b"" if far.closed else far.read(1 << 16) or b""
        if got != self.world.sent:
            raise Difference(f"the other end got {got.hex(' ')}, want {self.world.sent.hex(' ')}")

    def _until_they_wait(self, op: Op) -> None:
        """An io-wq worker is still on the way to where its request waits; the ring's fdinfo tells."""
        waiting = [file.waiting for file in self.world.files.values() if file.waiting is not None]
        want = sum(OPCODES[one.call.op] == OPCODES[op] for one in waiting)
        got = settled(lambda: self._ring.armed(OPCODES[op]), want, seconds=self.patience)
        if got != want:
            raise Difference(f"{got} requests wait, want {want}; completions: {self._ring.cqes()}")

    def story(self) -> str:
        """What went wrong, and the steps up to there as a script to be run."""
        body = "".join(f"    {step}\n" for step in self.steps)
        return (
            f"{self.differs}\n\nfrom ringrig.model.lockstep import Lockstep\n\n"
            f"with Lockstep({self._judged!r}) as both:\n{body}"
        )

    def close(self) -> None:
        """Give everything back."""
        for bgid in self._bgids:
            bufring.unregister(self._ring, bgid)
        for far in self._far.values():
            far.close()
        self._ring.close()
        self._arena.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
