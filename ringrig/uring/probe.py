"""What this kernel can do, as plain facts for JSON.

Each capability is asked for by a call that must succeed where it is known. A known-good call goes first, so
-EINVAL can only mean "absent"; any other errno is ProbeFailed, never "absent".
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypedDict

from ringrig.uring import bufring, compat, fuse, libc
from ringrig.uring import consts as c
from ringrig.uring.counters import multiprocessor, preempted
from ringrig.uring.disks import loop_control, null_blk_folder
from ringrig.uring.faults import Injector
from ringrig.uring.layout import LAYOUTS, MERGED, RFC, Layout
from ringrig.uring.leaks import ControlGroup, Kmemleak, slab_unreadable
from ringrig.uring.memory import Arena, Unavailable
from ringrig.uring.requests import cancel, selecting
from ringrig.uring.restriction import in_child, restrict_task
from ringrig.uring.ring import Ring, SetupFailed
from ringrig.uring.structs import io_uring_buf_reg, io_uring_probe, io_uring_sync_cancel_reg


class ProbeFailed(RuntimeError):
    """A call that can only succeed or say "absent" said something else; the text names call and errno."""


class Facts(TypedDict):
    """`usable` is false where no ring can be had at all; then `reason` says why and the rest is empty."""

    usable: bool
    reason: str
    release: str
    machine: str
    features: int
    ops: list[int]
    layout: str
    """Name of the buffer rings' Layout; "" where there are no buffer rings."""
    capabilities: dict[str, bool]
    absent: dict[str, str]


SETUP_FLAGS: dict[str, int] = {
    "sqpoll": c.IORING_SETUP_SQPOLL,
    "iopoll": c.IORING_SETUP_IOPOLL,
    "submit_all": c.IORING_SETUP_SUBMIT_ALL,
    "coop_taskrun": c.IORING_SETUP_COOP_TASKRUN,
    "sqe128": c.IORING_SETUP_SQE128,
    "cqe32": c.IORING_SETUP_CQE32,
    "single_issuer": c.IORING_SETUP_SINGLE_ISSUER,
    "defer_taskrun": c.IORING_SETUP_SINGLE_ISSUER | c.IORING_SETUP_DEFER_TASKRUN,
    "no_mmap": c.IORING_SETUP_NO_MMAP,
    "registered_fd_only": c.IORING_SETUP_NO_MMAP | c.IORING_SETUP_REGISTERED_FD_ONLY,
    "no_sqarray": c.IORING_SETUP_NO_SQARRAY,
    "cqe_mixed": c.IORING_SETUP_CQE_MIXED,
    "sqe_mixed": c.IORING_SETUP_SQE_MIXED,
}
"""Capability name: the smallest set of set-up flags that asks for it."""

_OPERATIONS: dict[str, tuple[int, int]] = {
    "send_select": (c.IORING_OP_SEND, 0),
    "read_multishot": (c.IORING_OP_READ_MULTISHOT, 0),
    "recv_multishot": (c.IORING_OP_RECV, c.IORING_RECV_MULTISHOT),
}
"""Capability name: opcode and ioprio of a request that selects a buffer."""

_DISABLED = Path("/proc/sys/kernel/io_uring_disabled")


@cache
def probe() -> Facts:
    """All facts, found out once a process (forked children inherit them); ProbeFailed on a contradiction."""
    facts = Facts(
        usable=False,
        reason="",
        release=platform.release(),
        machine=platform.machine(),
        features=0,
        ops=[],
        layout="",
        capabilities={},
        absent={},
    )
    if facts["machine"] != "x86_64":
        facts["reason"] = f"{facts['machine']}: ringrig.uring orders its shared indices for x86-64 only"
        return facts
    try:
        ring = Ring()
    except SetupFailed as error:
        facts["reason"] = _unusable(error)
        return facts
    with ring:
        facts["usable"] = True
        facts["features"] = ring.params.features
        facts["ops"] = _ops(ring)
        arena = Arena()
        facts["layout"], rings = _buffer_rings(ring, arena)
        for name, why in rings + _findings(ring, arena, facts["features"]):
            facts["capabilities"][name] = not why
            if why:
                facts["absent"][name] = why
        arena.close()
    return facts


def known_layout() -> Layout:
    """The Layout probe() found; the merged one where it found no buffer rings, and nobody reads the memory."""
    return LAYOUTS[probe()["layout"] or MERGED.name]


def _unusable(error: SetupFailed) -> str:
    setting = _DISABLED.read_text().strip() if _DISABLED.exists() else "not there"
    known = {
        errno.ENOSYS: "the kernel is built without CONFIG_IO_URING",
        errno.EPERM: f"io_uring is forbidden (kernel.io_uring_disabled is {setting}, or seccomp)",
    }
    return known.get(error.errno or 0, f"io_uring_setup() says {bufring.explain(-(error.errno or 0))}")


def _ops(ring: Ring) -> list[int]:
    table = io_uring_probe()
    if (res := ring.register(c.IORING_REGISTER_PROBE, table, len(table.ops))) < 0:
        raise ProbeFailed(f"IORING_REGISTER_PROBE says {bufring.explain(res)}")
    return [op.op for op in table.ops[: table.ops_len] if op.flags & c.IO_URING_OP_SUPPORTED]


def _findings(ring: Ring, arena: Arena, features: int) -> list[tuple[str, str]]:
    """(capability, why it is absent or "")"""
    return [
        *((name, _setup(name, flags)) for name, flags in SETUP_FLAGS.items()),
        *((name, _operation(ring, *asked)) for name, asked in _OPERATIONS.items()),
        *_cancelling(ring),
        ("bundle", "" if features & c.IORING_FEAT_RECVSEND_BUNDLE else "no IORING_FEAT_RECVSEND_BUNDLE"),
        ("compat32", _compat32()),
        ("root", "" if os.geteuid() == 0 else "not run as root"),
        ("caught", _caught()),
        ("pin_counters", _pin_counters()),
        ("vmallocinfo", _vmallocinfo()),
        ("hugetlb", _hugetlb()),
        ("prot_none", _prot_none(arena)),
        ("task_restrictions", _task_restrictions()),
        ("ramfs", _can(arena.ramfs_file)),
        ("faults", _can(lambda: _closed(Injector()))),
        ("memcg", _can(lambda: _closed(ControlGroup()))),
        ("kmemleak", _can(lambda: _closed(Kmemleak()))),
        ("slabinfo", slab_unreadable()),
        ("disk_file", _can(arena.disk_file)),
        ("loop_disk", _can(lambda: loop_control(arena))),
        ("polled_disk", _can(lambda: null_blk_folder(arena))),
        ("fuse_file", _can(fuse.look)),
        ("memfd_secret", _can(lambda: arena.secret(libc.PAGE_SIZE))),
    ]


def _buffer_rings(ring: Ring, arena: Arena) -> tuple[str, list[tuple[str, str]]]:
    """The layout's name, and (capability, why it is absent or "")"""
    memory = arena.anon(RFC.size(1))
    names = ("pbuf_ring", "mmap", "inc", "min_left", "status", "registered_ring_fd")
    if why := _absent("REGISTER_PBUF_RING of anonymous pages", bufring.register(ring, addr=memory)):
        return "", [(name, why) for name in names]
    layout = _layout(ring, arena, memory)
    found = [("pbuf_ring", "")]
    found.append(("status", _absent("REGISTER_PBUF_STATUS", min(0, bufring.head(ring, 0)))))
    found.append(("registered_ring_fd", _registered_ring_fd(ring)))
    attempts = {
        "mmap": io_uring_buf_reg(ring_entries=1, flags=c.IOU_PBUF_RING_MMAP),
        "inc": io_uring_buf_reg(ring_addr=memory, ring_entries=1, flags=c.IOU_PBUF_RING_INC),
        "min_left": io_uring_buf_reg(ring_addr=memory, ring_entries=1, flags=c.IOU_PBUF_RING_INC, min_left=1),
    }
    _must("UNREGISTER_PBUF_RING", bufring.unregister(ring, 0))
    for name, reg in attempts.items():
        found.append((name, _attempt(ring, f"REGISTER_PBUF_RING ({name})", reg)))
    return layout.name, found


def _attempt(ring: Ring, call: str, reg: io_uring_buf_reg) -> str:
    """Registers group 0 with a flag and unregisters it. Of a u32 bgid the flags are the upper half: no group 0."""
    res = ring.register(c.IORING_REGISTER_PBUF_RING, reg, 1)
    if res == -errno.EFAULT and not reg.ring_addr:
        return f"{call} wants an address: -EFAULT"
    if why := _absent(call, res):
        return why
    if (res := bufring.unregister(ring, reg.bgid)) == -errno.ENOENT:
        return f"{call} makes a group of another id"
    _must("UNREGISTER_PBUF_RING", res)
    return ""


def _layout(ring: Ring, arena: Arena, memory: int) -> Layout:
    """The layout in which a read takes the one buffer that is published: group 0, one entry, at `memory`.

    What the RFC's kernel takes for an entry when the merged layout is tried is all zero: a read of nothing.
    """
    buffer = arena.anon(libc.PAGE_SIZE)
    zero = arena.own(os.open("/dev/zero", os.O_RDONLY | os.O_CLOEXEC))
    seen = []
    for bid, layout in enumerate((MERGED, RFC), 5):
        _must("UNREGISTER_PBUF_RING", bufring.unregister(ring, 0))
        ctypes.memset(memory, 0, RFC.size(1))
        _must("REGISTER_PBUF_RING", bufring.register(ring, addr=memory))
        bufring.BufRing(memory, 1, layout).publish(buffer, 1, bid)
        sqe = ring.sqe()
        sqe.opcode, sqe.fd, sqe.len, sqe.flags = c.IORING_OP_READ, zero, 1, c.IOSQE_BUFFER_SELECT
        cqe = ring.complete()[0]
        if (cqe.res, cqe.bid) == (1, bid):
            return layout
        seen.append(f"{layout.name}: {bufring.explain(cqe.res)}, buffer {cqe.bid}")
    raise ProbeFailed(f"a read finds no published buffer in any layout ({'; '.join(seen)})")


def _registered_ring_fd(ring: Ring) -> str:
    slot = ring.register_ring_fd()
    if slot < 0:
        return _absent("REGISTER_RING_FDS", slot)
    op = c.IORING_UNREGISTER_PBUF_RING | c.IORING_REGISTER_USE_REGISTERED_RING
    argument = io_uring_buf_reg(bgid=0xFFFF)
    res = libc.io_uring_register(slot, op, ctypes.addressof(argument), 1)
    ring.unregister_ring_fd(slot)
    return "" if res == -errno.ENOENT else _absent("a registered ring fd", res)


def _setup(name: str, flags: int) -> str:
    try:
        Ring(2, flags).close()
    except SetupFailed as error:
        # NO_MMAP without huge pages is -ENOMEM before 6.8; the capability is the one a case can use.
        if error.errno in (errno.EINVAL, errno.ENOMEM, errno.EPERM):
            return f"io_uring_setup() with {name} says {bufring.explain(-error.errno)}"
        raise ProbeFailed(str(error)) from error
    return ""


def _operation(ring: Ring, opcode: int, ioprio: int) -> str:
    """Of a closed descriptor: -EBADF comes after all that io_init_req() and the operation's prep refuse."""
    sqe = selecting(ring, opcode, -1, bgid=0)
    sqe.ioprio = ioprio
    res = ring.complete()[0].res
    if res in (-errno.EINVAL, -errno.EOPNOTSUPP):
        return f"a request that selects a buffer, opcode {opcode}, says {bufring.explain(res)}"
    if res != -errno.EBADF:
        raise ProbeFailed(f"opcode {opcode} on a closed descriptor says {bufring.explain(res)}")
    return ""


def _cancelling(ring: Ring) -> list[tuple[str, str]]:
    """Nothing waits: -ENOENT. 6.1.y took the flag over for requests alone."""
    flag = c.IORING_ASYNC_CANCEL_OP
    cancel(ring, 0, own=0).cancel_flags = flag
    call = io_uring_sync_cancel_reg(flags=flag, opcode=c.IORING_OP_READ)
    found = ring.complete()[0].res, ring.register(c.IORING_REGISTER_SYNC_CANCEL, call, 1)
    return [
        (name, "" if res == -errno.ENOENT else _absent(name, res))
        for name, res in zip(("cancel_op", "sync_cancel_op"), found, strict=True)
    ]


def _absent(call: str, res: int) -> str:
    if res == -errno.EINVAL:
        return f"{call} says -EINVAL"
    _must(call, res)
    return ""


def _must(call: str, res: int) -> None:
    if res < 0:
        raise ProbeFailed(f"{call}, which cannot fail, says {bufring.explain(res)}")


def _can(make: Callable[[], int]) -> str:
    try:
        make()
    except Unavailable as error:
        return str(error)
    return ""


def _compat32() -> str:
    try:
        return compat.why_not()
    except Unavailable as error:
        return str(error)


def _task_restrictions() -> str:
    res = in_child(lambda: restrict_task((c.IORING_RESTRICTION_SQE_OP, c.IORING_OP_NOP)))
    if res == -errno.EBADF:
        return "io_uring_register() on fd -1 says -EBADF"
    return _absent("IORING_REGISTER_RESTRICTIONS on fd -1", min(0, res))


def _closed(opened: Injector | ControlGroup | Kmemleak) -> int:
    opened.close()
    return 0


def _pin_counters() -> str:
    if "nr_foll_pin_acquired" not in Path("/proc/vmstat").read_text():
        return "no nr_foll_pin_acquired in /proc/vmstat"
    refresh = Path("/proc/sys/vm/stat_refresh")
    return "" if os.access(refresh, os.R_OK) or not multiprocessor() else f"{refresh} cannot be read"


def _vmallocinfo() -> str:
    try:
        with open("/proc/vmallocinfo", encoding="utf-8") as table:  # noqa: PTH123
            return "" if table.read(1) else "/proc/vmallocinfo is empty"
    except OSError as error:
        return f"/proc/vmallocinfo: {error.strerror}"


def _caught() -> str:
    """Is a task of another process found where it was interrupted, while another processor goes on?"""
    if not preempted():
        return "the kernel is not built with CONFIG_PREEMPT"
    if len(os.sched_getaffinity(0)) < 2:
        return "one processor only"
    return "" if os.access("/proc/self/stack", os.R_OK) else "/proc/PID/stack cannot be read"


def _prot_none(arena: Arena) -> str:
    """User-Mode Linux (maybe_map() in arch/um/kernel/skas/uaccess.c) reads such a page if it was touched before."""
    page = (ctypes.c_char * libc.PAGE_SIZE).from_address(arena.anon(libc.PAGE_SIZE))
    page[0] = b"x"
    arena.protect(ctypes.addressof(page), libc.PAGE_SIZE, libc.PROT_NONE)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    arena.own(reader)
    arena.own(writer)
    try:
        os.write(writer, page)
    except OSError as error:
        if error.errno == errno.EFAULT:
            return ""
        raise ProbeFailed(f"write() from a PROT_NONE page says {error}") from error
    return "the kernel reads from a PROT_NONE page"


def _hugetlb() -> str:
    pool = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
    if not pool.exists():
        return "no 2 MiB pages (CONFIG_HUGETLBFS)"
    return "" if os.geteuid() == 0 or int((pool / "free_hugepages").read_text()) else "no free 2 MiB page"
