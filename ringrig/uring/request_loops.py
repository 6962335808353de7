"""Loops of requests that select: each takes provided buffers, vectors or what a request keeps, and gives it back."""

from __future__ import annotations

import ctypes
import errno
import os
import socket

from ringrig.uring import consts as c
from ringrig.uring.floods import Step, pour, request
from ringrig.uring.group import Group
from ringrig.uring.loops import LOOPS, loop, on_a_ring
from ringrig.uring.memory import Arena
from ringrig.uring.requests import CURRENT_POSITION, Vector
from ringrig.uring.ring import Ring
from ringrig.uring.wire import stuff

__all__ = ["LOOPS"]  # which has all loops once this is imported

_LEGACY, _RING = 7, 8
_SLOTS = 16_384
_BUNDLE = c.IORING_RECVSEND_BUNDLE


def _provide(count: int) -> Step:
    return request(c.IORING_OP_PROVIDE_BUFFERS, count, addr=0x1000, len=1, buf_group=_LEGACY)


def _remove(count: int, *, want: int | tuple[int, ...]) -> Step:
    return request(c.IORING_OP_REMOVE_BUFFERS, count, buf_group=_LEGACY, want=want)


def _cancel(user_data: int) -> Step:
    """Of the step with that place in the round; of those that wait the kernel finds the youngest."""
    return request(c.IORING_OP_ASYNC_CANCEL, addr=user_data)


_NOP = request(c.IORING_OP_NOP)


def _buffers(ring: Ring, arena: Arena, *sizes: int) -> None:
    """A ring group full of buffers that lie over one another; their sizes take turns."""
    group = Group(ring, arena, bgid=_RING, entries=_SLOTS, size=1)
    if res := group.register():
        raise OSError(-res, "registering a ring of buffers")
    for slot, size in enumerate(sizes):
        group.memory.write(slot, group.data, size, slot)
    at, some = group.memory.address_of(0), 16 * len(sizes)
    once = ctypes.string_at(at, some)
    ctypes.memmove(at, once * (_SLOTS // len(sizes)), 16 * _SLOTS)
    group.memory.producer = _SLOTS


def _pair(arena: Arena) -> tuple[socket.socket, int]:
    """The far end of two connected sockets, and the descriptor of the near one."""
    near, far = socket.socketpair()
    near.setblocking(False)
    return far, arena.own(near.detach())


def _silent(arena: Arena) -> int:
    """A socket that nothing comes from."""
    far, near = _pair(arena)
    arena.own(far.detach())
    return near


def _ended(arena: Arena) -> int:
    """A socket whose stream has ended: receiving says 0, sending -EPIPE."""
    far, near = _pair(arena)
    far.close()
    return near


def _stuffed(arena: Arena) -> int:
    """A socket that takes no byte more."""
    near = _silent(arena)
    stuff(near)
    return near


def _silent_pipe(arena: Arena) -> int:
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    arena.own(writer)
    return arena.own(reader)


def _zero(arena: Arena) -> int:
    return arena.own(os.open("/dev/zero", os.O_RDONLY | os.O_CLOEXEC))


def _selecting(
    opcode: int, fd: int, bgid: int, *, want: int | tuple[int, ...], flags: int = 0, **fields: int
) -> Step:
    flags |= c.IOSQE_BUFFER_SELECT
    if opcode in {c.IORING_OP_READ, c.IORING_OP_READ_MULTISHOT}:
        fields["off"] = CURRENT_POSITION
    return request(opcode, fd, buf_group=bgid, flags=flags, want=want, **fields)


@loop()
def provide(rounds: int) -> None:
    """Provide four buffers, remove three, remove the last."""
    with on_a_ring() as (ring, _):
        pour(ring, [_provide(4), _remove(3, want=3), _remove(4, want=1), _NOP], rounds)


@loop()
def use_up(rounds: int) -> None:
    """Provide a buffer, read into it."""
    with on_a_ring() as (ring, arena):
        memory = arena.anon(64)
        provide = request(c.IORING_OP_PROVIDE_BUFFERS, 1, addr=memory, len=1, buf_group=_LEGACY)
        pour(ring, [provide, _selecting(c.IORING_OP_READ, _zero(arena), _LEGACY, want=1)], rounds)


@loop()
def use_up_by_a_worker(rounds: int) -> None:
    """Provide a buffer, and let io-wq read into it."""
    with on_a_ring() as (ring, arena):
        memory = arena.anon(64)
        provide = request(c.IORING_OP_PROVIDE_BUFFERS, 1, addr=memory, len=1, buf_group=_LEGACY)
        read = _selecting(c.IORING_OP_READ, _zero(arena), _LEGACY, want=1, flags=c.IOSQE_ASYNC)
        pour(ring, [provide, read], rounds)


@loop()
def put_back(rounds: int) -> None:
    """Provide a buffer, take it for a receive that waits and so gives it back, cancel that, remove the buffer."""
    with on_a_ring() as (ring, arena):
        waiting = _selecting(c.IORING_OP_RECV, _silent(arena), _LEGACY, want=-errno.ECANCELED)
        pour(ring, [_provide(1), waiting, _cancel(1), _remove(1, want=1)], rounds)


@loop()
def hold(rounds: int) -> None:
    """The same with a read, which keeps the buffer in some kernels, and then its cancellation uses it up."""
    with on_a_ring() as (ring, arena):
        waiting = _selecting(c.IORING_OP_READ, _silent_pipe(arena), _LEGACY, want=-errno.ECANCELED)
        pour(ring, [_provide(1), waiting, _cancel(1), _remove(1, want=(0, 1))], rounds)


@loop()
def fail(rounds: int) -> None:
    """Provide two buffers at address 4096, where nothing is: a read and a receive into them fail; remove the rest."""
    with on_a_ring() as (ring, arena):
        far, near = _pair(arena)
        far.sendall(b"data" * 4096)
        read = _selecting(c.IORING_OP_READ, _zero(arena), _LEGACY, want=-errno.EFAULT)
        receive = _selecting(c.IORING_OP_RECV, near, _LEGACY, want=-errno.EFAULT)
        pour(ring, [_provide(2), read, receive, _remove(4, want=(0, 1))], rounds)
        far.close()


@loop()
def wait_for_a_ring(rounds: int) -> None:
    """A read and a RECVMSG over a ring wait and are cancelled."""
    with on_a_ring() as (ring, arena):
        _buffers(ring, arena, 8)
        vector = Vector(8)
        read = _selecting(c.IORING_OP_READ, _silent_pipe(arena), _RING, want=-errno.ECANCELED)
        message = _selecting(
            c.IORING_OP_RECVMSG,
            _silent(arena),
            _RING,
            want=-errno.ECANCELED,
            addr=ctypes.addressof(vector.header),
        )
        pour(ring, [read, _cancel(0), message, _cancel(2)], rounds)


@loop()
def wait_on_two_queues(rounds: int) -> None:
    """64 reads at a time wait on a FIFO that is open both ways; each byte wakes all, and all but one wait again."""
    with on_a_ring() as (ring, arena):
        _buffers(ring, arena, 1)
        fifo = arena.own(os.open(f"/proc/self/fd/{_silent_pipe(arena)}", os.O_RDWR | os.O_CLOEXEC))
        read = _selecting(c.IORING_OP_READ, fifo, _RING, want=1)
        for _ in range(0, rounds, 64 * 63 // 2):
            ring.fill(read.sqe, 64)
            ring.submit()
            for _ in range(64):
                os.write(fifo, b"x")
                ring.complete()


@loop("recv_multishot")
def wait_again_and_again(rounds: int) -> None:
    """Multishot receives over a ring wait and are cancelled."""
    with on_a_ring() as (ring, arena):
        _buffers(ring, arena, 64)
        vector, silent = Vector(0), _silent(arena)
        receive, message = (
            _selecting(
                opcode, silent, _RING, want=-errno.ECANCELED, ioprio=c.IORING_RECV_MULTISHOT, addr=addr
            )
            for opcode, addr in (
                (c.IORING_OP_RECV, 0),
                (c.IORING_OP_RECVMSG, ctypes.addressof(vector.header)),
            )
        )
        pour(ring, [receive, _cancel(0), message, _cancel(2)], rounds)


def _bundle(opcode: int, fd: int, length: int, *, want: int, msg_flags: int = 0) -> Step:
    return _selecting(opcode, fd, _RING, want=want, len=length, ioprio=_BUNDLE, msg_flags=msg_flags)


@loop("bundle")
def receive_growing_bundles(rounds: int) -> None:
    """Receive bundles of 2 and then 256 buffers, of which the second takes over the first one's vector; the next
    one, of 2, fails with that.
    """
    with on_a_ring() as (ring, arena):
        _buffers(ring, arena, 1)
        ended, silent = _ended(arena), _silent(arena)
        steps = [
            _bundle(c.IORING_OP_RECV, ended, 2, want=0),
            _bundle(c.IORING_OP_RECV, ended, 256, want=0),
            _bundle(c.IORING_OP_RECV, silent, 2, want=-errno.EAGAIN, msg_flags=socket.MSG_DONTWAIT),
            _NOP,
        ]
        pour(ring, steps, rounds)


@loop("bundle")
def receive_bundles_of_one(rounds: int) -> None:
    """Receive bundles that make a vector for two buffers, and find that the length cuts the second."""
    with on_a_ring() as (ring, arena):
        _buffers(ring, arena, 1, 100)
        ended, silent = _ended(arena), _silent(arena)
        steps = [
            _bundle(c.IORING_OP_RECV, ended, 2, want=0),
            _bundle(c.IORING_OP_RECV, silent, 2, want=-errno.EAGAIN, msg_flags=socket.MSG_DONTWAIT),
        ]
        pour(ring, steps, rounds)


@loop("bundle")
def receive_bundles_that_wait(rounds: int) -> None:
    """Receive bundles wait and are cancelled."""
    with on_a_ring() as (ring, arena):
        _buffers(ring, arena, 1)
        pour(ring, [_bundle(c.IORING_OP_RECV, _silent(arena), 4, want=-errno.ECANCELED), _cancel(0)], rounds)


@loop("bundle")
def send_growing_bundles(rounds: int) -> None:
    """Send bundles of 2 and then 3 buffers, of which the second takes over the first one's vector; the next one,
    of 2, fails with that.
    """
    with on_a_ring() as (ring, arena):
        _buffers(ring, arena, 1)
        ended, stuffed = _ended(arena), _stuffed(arena)
        steps = [
            _bundle(c.IORING_OP_SEND, ended, 2, want=-errno.EPIPE),
            _bundle(c.IORING_OP_SEND, ended, 3, want=-errno.EPIPE),
            _bundle(c.IORING_OP_SEND, stuffed, 2, want=-errno.EAGAIN, msg_flags=socket.MSG_DONTWAIT),
            _NOP,
        ]
        pour(ring, steps, rounds)


@loop("bundle")
def send_bundles_of_one(rounds: int) -> None:
    """Send bundles that make a vector for two buffers, and find that the length cuts the second; a plain SEND uses
    that up.
    """
    with on_a_ring() as (ring, arena):
        _buffers(ring, arena, 1, 100)
        ended, stuffed = _ended(arena), _stuffed(arena)
        plain = _selecting(c.IORING_OP_SEND, ended, _RING, want=-errno.EPIPE)
        steps = [
            _bundle(c.IORING_OP_SEND, ended, 2, want=-errno.EPIPE),
            plain,
            _bundle(c.IORING_OP_SEND, stuffed, 2, want=-errno.EAGAIN, msg_flags=socket.MSG_DONTWAIT),
            _selecting(c.IORING_OP_SEND, ended, _RING, want=-errno.EPIPE),
        ]
        pour(ring, steps, rounds)


@loop("bundle")
def send_bundles_that_wait(rounds: int) -> None:
    """Send bundles wait and are cancelled."""
    with on_a_ring() as (ring, arena):
        _buffers(ring, arena, 1)
        pour(ring, [_bundle(c.IORING_OP_SEND, _stuffed(arena), 4, want=-errno.ECANCELED), _cancel(0)], rounds)


@loop("bundle")
def end_with_bundles(rounds: int) -> None:
    """An io_uring ends with receive bundles that wait."""
    for _ in range(0, rounds, 1024):
        with on_a_ring() as (ring, arena):
            _buffers(ring, arena, 1)
            ring.fill(_bundle(c.IORING_OP_RECV, _silent(arena), 4, want=0).sqe, 1024)
            ring.submit()


@loop("bundle")
def end_with_vectors_kept(rounds: int) -> None:
    """Receive bundles wait, 128 at a time; their stream ends, the io_uring keeps what they had, and ends."""
    for _ in range(0, rounds, 128):
        with on_a_ring() as (ring, arena):
            _buffers(ring, arena, 1)
            far, near = _pair(arena)
            ring.fill(_bundle(c.IORING_OP_RECV, near, 4, want=0).sqe, 128)
            ring.submit()
            far.close()
            ring.complete(128)
