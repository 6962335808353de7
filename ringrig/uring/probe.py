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

from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.memory import Arena, Unavailable
from ringrig.uring.restriction import in_child, restrict_task
from ringrig.uring.ring import Ring, SetupFailed
from ringrig.uring.structs import io_uring_buf_reg, io_uring_probe


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
        for name, why in _findings(ring, arena, facts["features"]):
            facts["capabilities"][name] = not why
            if why:
                facts["absent"][name] = why
        arena.close()
    return facts


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
    page = arena.anon(libc.PAGE_SIZE)
    return [
        *_buffer_rings(ring, page),
        *((name, _setup(name, flags)) for name, flags in SETUP_FLAGS.items()),
        ("bundle", "" if features & c.IORING_FEAT_RECVSEND_BUNDLE else "no IORING_FEAT_RECVSEND_BUNDLE"),
        ("root", "" if os.geteuid() == 0 else "not run as root"),
        ("pin_counters", _pin_counters()),
        ("vmallocinfo", _vmallocinfo()),
        ("hugetlb", _hugetlb()),
        ("task_restrictions", _task_restrictions()),
        ("ramfs", _can(arena.ramfs_file)),
        ("disk_file", _can(arena.disk_file)),
        ("memfd_secret", _can(lambda: arena.secret(libc.PAGE_SIZE))),
    ]


def _buffer_rings(ring: Ring, page: int) -> list[tuple[str, str]]:
    names = ("pbuf_ring", "mmap", "inc", "min_left", "status", "registered_ring_fd")
    if why := _absent("REGISTER_PBUF_RING of one anonymous page", bufring.register(ring, addr=page)):
        return [(name, why) for name in names]
    found = [("pbuf_ring", "")]
    found.append(("status", _absent("REGISTER_PBUF_STATUS", min(0, bufring.head(ring, 0)))))
    found.append(("registered_ring_fd", _registered_ring_fd(ring)))
    attempts = {
        "mmap": io_uring_buf_reg(ring_entries=1, flags=c.IOU_PBUF_RING_MMAP),
        "inc": io_uring_buf_reg(ring_addr=page, ring_entries=1, flags=c.IOU_PBUF_RING_INC),
        "min_left": io_uring_buf_reg(ring_addr=page, ring_entries=1, flags=c.IOU_PBUF_RING_INC, min_left=1),
    }
    for name, reg in attempts.items():
        _must("UNREGISTER_PBUF_RING", bufring.unregister(ring, 0))
        why = _absent(f"REGISTER_PBUF_RING ({name})", ring.register(c.IORING_REGISTER_PBUF_RING, reg, 1))
        if why:
            _must("REGISTER_PBUF_RING", bufring.register(ring, addr=page))
        found.append((name, why))
    _must("UNREGISTER_PBUF_RING", bufring.unregister(ring, 0))
    return found


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


def _task_restrictions() -> str:
    res = in_child(lambda: restrict_task((c.IORING_RESTRICTION_SQE_OP, c.IORING_OP_NOP)))
    if res == -errno.EBADF:
        return "io_uring_register() on fd -1 says -EBADF"
    return _absent("IORING_REGISTER_RESTRICTIONS on fd -1", min(0, res))


def _pin_counters() -> str:
    if "nr_foll_pin_acquired" not in Path("/proc/vmstat").read_text():
        return "no nr_foll_pin_acquired in /proc/vmstat"
    refresh = Path("/proc/sys/vm/stat_refresh")
    return "" if os.access(refresh, os.R_OK) else f"{refresh} cannot be read"


def _vmallocinfo() -> str:
    try:
        with open("/proc/vmallocinfo", encoding="utf-8") as table:  # noqa: PTH123
            return "" if table.read(1) else "/proc/vmallocinfo is empty"
    except OSError as error:
        return f"/proc/vmallocinfo: {error.strerror}"


def _hugetlb() -> str:
    pool = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
    if not pool.exists():
        return "no 2 MiB pages (CONFIG_HUGETLBFS)"
    return "" if os.geteuid() == 0 or int((pool / "free_hugepages").read_text()) else "no free 2 MiB page"
