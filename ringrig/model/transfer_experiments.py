"""Experiments for the traits of transfers: a request each, from a group with two buffers."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Collection
from contextlib import ExitStack, closing
from io import FileIO

from ringrig.model.calls import unregistration
from ringrig.model.scene import Scene
from ringrig.model.shelf import Shelf
from ringrig.model.spec import name_of
from ringrig.model.subject import Subject
from ringrig.model.transfer import Buffer, Issue, Kind, Op, Place, Reply, Source, Stock, Then, Transfer
from ringrig.uring import consts as c
from ringrig.uring.compat import CompatRing, CompatVector
from ringrig.uring.counters import settled
from ringrig.uring.group import Group, Pipe
from ringrig.uring.memory import Arena, Unavailable
from ringrig.uring.neighbour import Neighbour
from ringrig.uring.probe import probe
from ringrig.uring.requests import selecting
from ringrig.uring.ring import Ring

_BID = 5


class Unclear(RuntimeError):
    """An experiment ended in a way that neither having nor lacking the trait explains."""


def _last(s: Subject, call: Transfer, *, kind: Kind = Kind.RING, place: Place = Place.GOOD) -> Reply:
    """The last completion of a transfer on group 7, which is made anew."""
    s.unregister_pbuf_ring(unregistration())
    stock = Stock(kind=kind, buffers=(Buffer(bid=_BID, place=place), Buffer(bid=_BID + 1)))
    return Scene(s, stock, frozenset({"unix_inq"})).transfer(call)[0][-1]


def _among(reply: Reply, *, yes: Reply, no: Collection[Reply]) -> bool:
    if reply == yes:
        return True
    if reply in no:
        return False
    raise Unclear(f"{reply} tells neither having nor lacking it")


def _zero_length_stays(s: Subject) -> bool:
    got = _last(s, Transfer(op=Op.READ, ready=8))
    return _among(got, yes=Reply(res=0, bid=_BID), no=[Reply(res=8, bid=_BID)])


def _null(s: Subject, op: Op) -> Reply:
    return _last(s, Transfer(op=op, ready=8, length=8), place=Place.NULL)


_NULL = [Reply(res=-error, bid=bid) for error in (errno.ENOBUFS, errno.EFAULT) for bid in (None, _BID)]


def _null_addr_tried(s: Subject) -> bool:
    return _among(_null(s, Op.READ), yes=Reply(res=-errno.EFAULT, bid=_BID), no=_NULL)


def _null_addr_recycled(s: Subject) -> bool:
    return _among(_null(s, Op.RECV), yes=Reply(res=-errno.ENOBUFS), no=_NULL)


def _kernel(s: Subject) -> Reply:
    return _last(s, Transfer(op=Op.READ, source=Source.ZERO, length=8), place=Place.KERNEL)


_KERNEL = [Reply(res=-errno.EFAULT, bid=_BID), Reply(res=-errno.EFAULT), Reply(res=-errno.ENOBUFS)]


def _bad_addr_refused(s: Subject) -> bool:
    return _among(_kernel(s), yes=Reply(res=-errno.EFAULT), no=_KERNEL)


def _bad_addr_is_enobufs(s: Subject) -> bool:
    return _among(_kernel(s), yes=Reply(res=-errno.ENOBUFS), no=_KERNEL)


def _keeps(reply: Reply, error: int) -> bool:
    return _among(reply, yes=Reply(res=-error), no=[Reply(res=-error, bid=_BID)])


def _read_error_keeps_ring_buffer(s: Subject) -> bool:
    return _keeps(_last(s, Transfer(op=Op.READ, source=Source.WRITE_END, length=8)), errno.EBADF)


def _dontwait_keeps_buffer(s: Subject) -> bool:
    return _keeps(_last(s, Transfer(op=Op.RECV, length=8, op_flags=socket.MSG_DONTWAIT)), errno.EAGAIN)


def _poll_arm_returns_legacy_buffer(s: Subject) -> bool:
    return _keeps(_last(s, Transfer(op=Op.READ, then=(Then.CANCEL,)), kind=Kind.LEGACY), errno.ECANCELED)


def _waiting_readv_keeps_buffer(s: Subject) -> bool:
    return not _keeps(_last(s, Transfer(op=Op.READV, length=8, then=(Then.CANCEL,))), errno.ECANCELED)


def _async_readv_selects_early(s: Subject) -> bool:
    got = _last(s, Transfer(op=Op.READV, issue=Issue.IO_WQ, length=8, ready=8), place=Place.KERNEL)
    return _among(got, yes=Reply(res=-errno.EFAULT), no=_KERNEL)


def _pipe_nowait_refused(s: Subject) -> bool:
    reply = _last(s, Transfer(op=Op.READ, length=8, ready=8, op_flags=c.RWF_NOWAIT))
    return _among(Reply(res=reply.res), yes=Reply(res=-errno.EOPNOTSUPP), no=[Reply(res=8)])


def _linked_async_inline(s: Subject) -> bool:
    """A READ of an empty pipe behind a NOP: what it has while it waits for poll, another request does not get."""
    s.unregister_pbuf_ring(unregistration())
    shelf, pipe = Shelf(s, {5: 8, 2: 8}), Pipe(s.arena)
    s.ring.sqe().flags = c.IOSQE_IO_LINK
    shelf.queue(c.IORING_OP_READ, pipe.reader, length=8, flags=c.IOSQE_ASYNC)
    s.ring.submit(1)
    if settled(lambda: s.ring.armed(c.IORING_OP_READ), 1) != 1:
        raise Unclear("a READ of an empty pipe does not wait")
    s.ring.cqes()
    other = shelf.group.read(length=1)
    pipe.feed(b"x")
    shelf.to_the_end()
    return _among(Reply(res=1, bid=other.bid), yes=Reply(res=1, bid=5), no=[Reply(res=1, bid=2)])


def _woken_run_backwards(_: Subject) -> bool:
    """Two RECVs of a ring that runs nothing unasked are woken, the first one first: which is completed first?"""
    if not probe()["capabilities"]["defer_taskrun"]:
        return False
    flags = c.IORING_SETUP_SINGLE_ISSUER | c.IORING_SETUP_DEFER_TASKRUN
    with closing(Subject(Ring(flags=flags), Arena())) as late, ExitStack() as sockets:
        shelf = Shelf(late, {5: 8, 2: 8})
        pairs = [tuple(map(sockets.enter_context, socket.socketpair())) for _ in range(2)]
        for number, (near, _far) in enumerate(pairs):
            shelf.queue(c.IORING_OP_RECV, near.fileno()).user_data = number
        late.ring.submit()
        for _near, far in pairs:
            far.send(b"x")
        return late.ring.complete(2)[0].user_data == 1


def _multishot_unlimited(_: Subject) -> bool:
    """Two in one submission, 40 bytes each for buffers of a byte: does the first have a 34th round before the second's first?"""
    if not probe()["capabilities"]["recv_multishot"]:
        return False
    with closing(Subject(Ring(64), Arena())) as wide, ExitStack() as sockets:
        shelf = Shelf(wide, dict.fromkeys(range(82), 1))
        for number in (1, 2):
            near, far = map(sockets.enter_context, socket.socketpair())
            far.send(bytes(40))
            shelf.queue(c.IORING_OP_RECV, near.fileno(), ioprio=c.IORING_RECV_MULTISHOT).user_data = number
        return wide.ring.complete(80)[33].user_data == 1


def _multishot_in_io_wq(s: Subject) -> bool:
    if not probe()["capabilities"]["recv_multishot"]:
        return False
    call = Transfer(op=Op.RECVMSG_MULTISHOT, issue=Issue.IO_WQ, ready=8, then=(Then.CANCEL,))
    return _last(s, call).bid is not None


def _unix_inq(s: Subject) -> bool:
    """Set where a byte is left, clear where none is: else it is chance."""
    some, none = (_last(s, Transfer(op=Op.RECV, ready=ready, length=8)).nonempty for ready in (9, 8))
    return some and not none


def _rings_are_locked_memory(_: Subject) -> bool:
    """A ring of one page, by a process that may lock none."""
    with Neighbour() as nobody:
        nobody.ask("drop_rights")
        nobody.ask("make")
        nobody.ask("lock_no_memory")
        res = nobody.ask("register", bgid=8)
    return _among(Reply(res=res), yes=Reply(res=-errno.ENOMEM), no=[Reply(res=0)])


def _compat_length_unsigned(_: Subject) -> bool:
    """On a ring of its own, set up as a 32-bit program does. Unavailable where there are none."""
    if why := probe()["absent"].get("compat32"):
        raise Unavailable(errno.ENOSYS, why)
    arena = Arena(low=True)
    with CompatRing() as ring, FileIO("/dev/zero") as zero:
        group = Group(ring, arena)
        if group.register():
            raise Unclear("no group can be registered")
        group.publish(_BID)
        selecting(ring, c.IORING_OP_READV, zero.fileno(), bgid=group.bgid, vector=CompatVector(arena, -1))
        cqe = ring.complete()[0]
        group.unregister()
    arena.close()
    return _among(Reply.of(cqe.res, cqe.flags), yes=Reply(res=64, bid=_BID), no=[Reply(res=-errno.EINVAL)])


def _multishot_length(s: Subject) -> bool:
    """Asked of a closed descriptor: what io_recvmsg_prep() refuses is refused before."""
    if not probe()["capabilities"]["recv_multishot"]:
        return False
    sqe = selecting(s.ring, c.IORING_OP_RECV, -1, bgid=7, length=1)
    sqe.ioprio = c.IORING_RECV_MULTISHOT
    return _refused_late(s)


def _send_bundle_alone(s: Subject) -> bool:
    if not probe()["capabilities"]["bundle"]:
        return False
    sqe = s.ring.sqe()
    sqe.opcode, sqe.fd, sqe.ioprio = c.IORING_OP_SEND, -1, c.IORING_RECVSEND_BUNDLE
    return _refused_late(s)


def _refused_late(s: Subject) -> bool:
    reply = Reply.of(*s.ring.complete()[0][1:])
    return _among(reply, yes=Reply(res=-errno.EBADF), no=[Reply(res=-errno.EINVAL)])


def _waiting_length_sticks(s: Subject) -> bool:
    """A READ waits with a buffer of 8 bytes first, which another takes; then 24 bytes come, for one of 64."""
    s.unregister_pbuf_ring(unregistration())
    shelf, pipe = Shelf(s, {5: 8, 2: 64}), Pipe(s.arena)
    shelf.queue(c.IORING_OP_READ, pipe.reader, length=64)
    s.ring.submit()
    shelf.group.read(length=1)
    pipe.feed(bytes(24))
    (reply,) = shelf.to_the_end()
    return _among(reply, yes=Reply(res=8, bid=2), no=[Reply(res=24, bid=2)])


def _receive_length_sticks(s: Subject) -> bool:
    """Provided buffers of 1 and 64 bytes, more data than that: what a multishot RECV's second completion has."""
    if not probe()["capabilities"]["recv_multishot"]:
        return False
    s.unregister_pbuf_ring(unregistration())
    near, far = socket.socketpair()
    shelf = Shelf(s, {5: 1, 2: 64}, kind=Kind.LEGACY)
    with near, far:
        far.send(bytes(100))
        shelf.queue(c.IORING_OP_RECV, near.fileno(), ioprio=c.IORING_RECV_MULTISHOT)
        second = shelf.to_the_end()[1].res
    if second not in {1, 64}:
        raise Unclear(f"the second of two buffers got {name_of(second)}")
    return second == 1


TRANSFER_EXPERIMENTS: dict[str, Callable[[Subject], bool]] = {
    "send_select": lambda _: probe()["capabilities"]["send_select"],
    "read_multishot": lambda _: probe()["capabilities"]["read_multishot"],
    "recv_multishot": lambda _: probe()["capabilities"]["recv_multishot"],
    "zero_length_stays": _zero_length_stays,
    "null_addr_tried": _null_addr_tried,
    "null_addr_recycled": _null_addr_recycled,
    "bad_addr_refused": _bad_addr_refused,
    "bad_addr_is_enobufs": _bad_addr_is_enobufs,
    "read_error_keeps_ring_buffer": _read_error_keeps_ring_buffer,
    "dontwait_keeps_buffer": _dontwait_keeps_buffer,
    "poll_arm_returns_legacy_buffer": _poll_arm_returns_legacy_buffer,
    "waiting_readv_keeps_buffer": _waiting_readv_keeps_buffer,
    "async_readv_selects_early": _async_readv_selects_early,
    "pipe_nowait_refused": _pipe_nowait_refused,
    "linked_async_inline": _linked_async_inline,
    "woken_run_backwards": _woken_run_backwards,
    "multishot_unlimited": _multishot_unlimited,
    "multishot_in_io_wq": _multishot_in_io_wq,
    "unix_inq": _unix_inq,
    "multishot_length": _multishot_length,
    "waiting_length_sticks": _waiting_length_sticks,
    "receive_length_sticks": _receive_length_sticks,
    "send_bundle_alone": _send_bundle_alone,
    "rings_are_locked_memory": _rings_are_locked_memory,
    "compat_length_unsigned": _compat_length_unsigned,
}
