"""A small experiment for each trait. A call known to work goes first; a result of neither kind is Unclear."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from ringrig.model.calls import Fd, Memory, registration, status, unregistration
from ringrig.model.spec import name_of
from ringrig.model.subject import Subject
from ringrig.model.transfer_experiments import TRANSFER_EXPERIMENTS, Unclear
from ringrig.uring import bufring
from ringrig.uring import consts as c
from ringrig.uring.bufring import BufRing
from ringrig.uring.group import Group
from ringrig.uring.layout import A_PAGE, RFC
from ringrig.uring.memory import Arena
from ringrig.uring.restriction import in_child, restrict_task
from ringrig.uring.ring import Ring


def _either(res: int, *, yes: int, no: int | tuple[int, ...]) -> bool:
    if res == yes:
        return True
    if res in (no if isinstance(no, tuple) else (no,)):
        return False
    raise Unclear(f"{name_of(res)} tells neither having nor lacking it")


def _good(res: int) -> None:
    if res:
        raise Unclear(f"{name_of(res)} from a call that cannot fail")


def _taken(s: Subject, **changes: Any) -> bool:
    """Whether a registration of group 8 is taken for what it is.

    -EFAULT for no address, or a group of another id, are kernels that see no flags in io_uring_buf_reg.
    """
    res = s.register_pbuf_ring(registration(bgid=8, **changes)).res
    if changes.get("memory") is Memory.NULL and res == -errno.EFAULT:
        return False
    return _either(res, yes=0, no=-errno.EINVAL) and _either(
        s.unregister_pbuf_ring(unregistration(bgid=8)).res, yes=0, no=-errno.ENOENT
    )


def _pbuf_mmap(s: Subject) -> bool:
    return _taken(s, flags=c.IOU_PBUF_RING_MMAP, memory=Memory.NULL)


def _pbuf_inc(s: Subject) -> bool:
    return _taken(s, flags=c.IOU_PBUF_RING_INC)


def _pbuf_min_left(s: Subject) -> bool:
    return _taken(s, flags=c.IOU_PBUF_RING_INC, min_left=1)


def _pbuf_status(s: Subject) -> bool:
    return _either(s.pbuf_status(status()).res, yes=0, no=-errno.EINVAL)


def _registered_ring_fd(s: Subject) -> bool:
    res = s.unregister_pbuf_ring(unregistration(fd=Fd.REGISTERED)).res
    return _either(res, yes=0, no=-errno.EINVAL)


def _addr_checked_last(s: Subject) -> bool:
    res = s.register_pbuf_ring(registration(memory=Memory.NULL)).res
    return _either(res, yes=-errno.EEXIST, no=-errno.EFAULT)


def _mmap_addr_ignored(s: Subject) -> bool:
    return _taken(s, flags=c.IOU_PBUF_RING_MMAP)


def _low_bgids_stay(s: Subject) -> bool:
    _good(s.unregister_pbuf_ring(unregistration()).res)
    return _either(s.unregister_pbuf_ring(unregistration()).res, yes=-errno.EINVAL, no=-errno.ENOENT)


def _stale_head(s: Subject) -> bool:
    """Of two entries a new ring hands out the first; with the old ring's head, 1, the second."""
    found = []
    for bids in ((0,), (5, 6)):
        group = Group(s.ring, s.arena, bgid=3)
        _good(group.register())
        group.publish(*bids)
        found.append(group.read(length=1).bid)
        _good(group.unregister())
    return _either(found[1] or 0, yes=6, no=5)


def _failed_upgrade_drops_group(s: Subject) -> bool:
    _good(s.provide_buffers(bgid=700, count=1))
    if s.remove_buffers(bgid=700, count=1) != 1:
        raise Unclear("REMOVE_BUFFERS did not remove the one buffer provided")
    res = s.register_pbuf_ring(registration(bgid=700, memory=Memory.UNMAPPED)).res
    if res not in (-errno.EFAULT, -errno.EEXIST):
        raise Unclear(f"{name_of(res)} for unmapped memory")
    return _either(s.remove_buffers(bgid=700, count=1), yes=-errno.ENOENT, no=0)


def _file_memory_refused(s: Subject) -> bool:
    res = s.register_pbuf_ring(registration(bgid=8, memory=Memory.THEN_MEMFD, entries=2 * A_PAGE)).res
    return _either(res, yes=-errno.EINVAL, no=0)


def _range_checked(s: Subject) -> bool:
    res = s.register_pbuf_ring(registration(bgid=8, memory=Memory.LAST_PAGE)).res
    return _either(res, yes=-errno.EOVERFLOW, no=-errno.ENOMEM)


def _dirty_tracked_memory_refused(s: Subject) -> bool:
    res = s.register_pbuf_ring(registration(bgid=8, memory=Memory.RAMFS)).res
    return _either(res, yes=-errno.EFAULT, no=(0, -errno.EOPNOTSUPP))


def _queue_memory_pinnable(s: Subject) -> bool:
    res = s.register_pbuf_ring(registration(bgid=8, memory=Memory.QUEUE)).res
    return res == -errno.EOPNOTSUPP or _either(res, yes=0, no=-errno.EFAULT)


def _blind_fd(s: Subject) -> bool:
    res = s.register_pbuf_ring(registration(fd=Fd.MINUS_ONE)).res
    return _either(res, yes=-errno.EINVAL, no=-errno.EBADF)


def _mmap_refusal_is_einval(s: Subject) -> bool:
    return _either(bufring.map_kernel_ring(s.ring, bgid=8, entries=8), yes=-errno.EINVAL, no=-errno.ENOMEM)


def _task_restrictions(_: Subject) -> bool:
    res = in_child(lambda: restrict_task((c.IORING_RESTRICTION_SQE_OP, c.IORING_OP_NOP)))
    return _either(min(0, res), yes=0, no=(-errno.EINVAL, -errno.EBADF))


def _blind_calls_restricted(s: Subject) -> bool:
    def work() -> int:
        restrict_task((c.IORING_RESTRICTION_REGISTER_OP, c.IORING_REGISTER_PROBE))
        return s.register_pbuf_ring(registration(fd=Fd.MINUS_ONE)).res

    return _either(in_child(work), yes=-errno.EACCES, no=(-errno.EINVAL, -errno.EBADF))


def _register_restrictions_apart(s: Subject) -> bool:
    with Ring(flags=c.IORING_SETUP_R_DISABLED) as ring:
        if (res := ring.restrict((c.IORING_RESTRICTION_SQE_OP, c.IORING_OP_READ))) < 0:
            raise Unclear(f"{name_of(res)} from IORING_REGISTER_RESTRICTIONS")
        _good(ring.enable())
        res = Subject(ring, s.arena).register_pbuf_ring(registration()).res
    return _either(res, yes=0, no=-errno.EACCES)


def _rfc_layout(s: Subject) -> bool:
    return s.layout is RFC


def _producer_cleared(s: Subject) -> bool:
    memory = s.arena.anon(s.layout.size(8))
    ring = BufRing(memory, 8, s.layout)
    ring.producer = 5
    _good(bufring.register(s.ring, addr=memory, entries=8, bgid=8))
    s.owns(8)
    return _either(ring.producer, yes=0, no=5)


def _entries_unbounded(s: Subject) -> bool:
    return _either(s.register_pbuf_ring(registration(bgid=8, entries=65536)).res, yes=0, no=-errno.EINVAL)


def _upgrade_refused(s: Subject) -> bool:
    _good(s.provide_buffers(bgid=700, count=1))
    if s.remove_buffers(bgid=700, count=1) != 1:
        raise Unclear("REMOVE_BUFFERS did not remove the one buffer provided")
    return _either(s.register_pbuf_ring(registration(bgid=700)).res, yes=-errno.EEXIST, no=0)


def _bgid_32_bits(s: Subject) -> bool:
    call = registration(bgid=8, flags=1 << 15)
    if not _either(s.register_pbuf_ring(call).res, yes=0, no=-errno.EINVAL):
        return False
    return _either(s.unregister_pbuf_ring(unregistration(bgid=8)).res, yes=-errno.ENOENT, no=())


EXPERIMENTS: dict[str, Callable[[Subject], bool]] = {
    "pbuf_mmap": _pbuf_mmap,
    "pbuf_inc": _pbuf_inc,
    "pbuf_min_left": _pbuf_min_left,
    "pbuf_status": _pbuf_status,
    "registered_ring_fd": _registered_ring_fd,
    "addr_checked_last": _addr_checked_last,
    "mmap_addr_ignored": _mmap_addr_ignored,
    "low_bgids_stay": _low_bgids_stay,
    "stale_head": _stale_head,
    "failed_upgrade_drops_group": _failed_upgrade_drops_group,
    "file_memory_refused": _file_memory_refused,
    "range_checked": _range_checked,
    "dirty_tracked_memory_refused": _dirty_tracked_memory_refused,
    "queue_memory_pinnable": _queue_memory_pinnable,
    "blind_fd": _blind_fd,
    "mmap_refusal_is_einval": _mmap_refusal_is_einval,
    "task_restrictions": _task_restrictions,
    "blind_calls_restricted": _blind_calls_restricted,
    "register_restrictions_apart": _register_restrictions_apart,
    "rfc_layout": _rfc_layout,
    "producer_cleared": _producer_cleared,
    "entries_unbounded": _entries_unbounded,
    "upgrade_refused": _upgrade_refused,
    "bgid_32_bits": _bgid_32_bits,
    **TRANSFER_EXPERIMENTS,
}


def probe_trait(name: str) -> bool:
    """Does the running kernel have it? On a ring of its own, group 7 registered. Unclear or Unavailable."""
    subject = Subject(Ring(), Arena())
    try:
        _good(subject.register_pbuf_ring(registration()).res)
        return EXPERIMENTS[name](subject)
    finally:
        subject.close()
