"""The ordered checks of io_uring_register() for buffer rings, as data.

A table is read from the top; the first check that is broken decides. A row holds for kernels that have all of
`only` and none of `unless`: a kernel's order is composed of its traits. An Effect between checks is what the
kernel has already changed by the time a later check fails.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ringrig.model.calls import (
    BACKED,
    PAGE,
    REGISTERED_FDS,
    UNREADABLE,
    Arg,
    BufReg,
    BufStatus,
    Call,
    Fd,
    Memory,
)
from ringrig.model.state import BGID_ARRAY, State
from ringrig.uring import consts as c
from ringrig.uring.layout import MERGED, RFC

Traits = frozenset[str]
C = TypeVar("C", bound=Call)
NONE: Traits = frozenset()


def _t(*names: str) -> Traits:
    return frozenset(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(Generic[C]):
    """Fails with `errno` when `broken`; `where` is the kernel's file and function."""

    name: str
    errno: int
    where: str
    broken: Callable[[C, State, Traits], bool]
    only: Traits = NONE
    unless: Traits = NONE

    def __str__(self) -> str:
        return f"{self.name} (-{errno.errorcode[self.errno]}, {self.where})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect(Generic[C]):
    """Changes the state even if a later check fails."""

    name: str
    where: str
    apply: Callable[[C, State], State]
    only: Traits = NONE
    unless: Traits = NONE


_REGISTER_C = "io_uring/register.c"
_KBUF = "io_uring/kbuf.c"

# A thread that never used io_uring has no table of registered rings, so every index is -EINVAL there.
PREFIX: tuple[Check[Call], ...] = (
    Check(
        name="opcode",
        errno=errno.EINVAL,
        where=f"{_REGISTER_C} io_uring_register()",
        broken=lambda call, _, traits: (
            (call.op == c.IORING_REGISTER_PBUF_STATUS and "pbuf_status" not in traits)
            or (call.fd in REGISTERED_FDS and "registered_ring_fd" not in traits)
        ),
    ),
    Check(
        name="task_restriction",
        errno=errno.EACCES,
        where=f"{_REGISTER_C} io_uring_register_blind()",
        broken=lambda call, state, _: (
            call.fd in {Fd.MINUS_ONE, Fd.REGISTERED_MINUS_ONE}
            and (limits := state.restrictions) is not None
            and limits.inherited
            and not limits.sqe_only
            and call.op not in limits.register_ops
        ),
        only=_t("task_restrictions", "blind_calls_restricted"),
    ),
    Check(
        name="blind_fd",
        errno=errno.EINVAL,
        where=f"{_REGISTER_C} io_uring_register_blind()",
        broken=lambda call, _state, _: call.fd in {Fd.MINUS_ONE, Fd.REGISTERED_MINUS_ONE},
        only=_t("blind_fd"),
    ),
    Check(
        name="registered_index",
        errno=errno.EINVAL,
        where=f"{_REGISTER_C} io_uring_register_get_file()",
        broken=lambda call, _state, _: (
            call.fd in {Fd.REGISTERED_BEYOND, Fd.REGISTERED_MINUS_ONE}
            or (call.fd in REGISTERED_FDS and call.other_thread)
        ),
    ),
    Check(
        name="fd_open",
        errno=errno.EBADF,
        where=f"{_REGISTER_C} io_uring_register_get_file()",
        broken=lambda call, _state, _: call.fd in {Fd.CLOSED, Fd.MINUS_ONE, Fd.REGISTERED_EMPTY},
    ),
    Check(
        name="fd_is_ring",
        errno=errno.EOPNOTSUPP,
        where=f"{_REGISTER_C} io_uring_register_get_file()",
        broken=lambda call, _state, _: call.fd is Fd.NOT_A_RING,
    ),
    Check(
        name="submitter",
        errno=errno.EEXIST,
        where=f"{_REGISTER_C} __io_uring_register()",
        broken=lambda call, state, _: state.bound and call.other_thread,
    ),
    Check(
        name="restriction",
        errno=errno.EACCES,
        where=f"{_REGISTER_C} __io_uring_register()",
        broken=lambda call, state, traits: (
            state.restrictions is not None
            and (not state.disabled or state.restrictions.inherited)
            and call.op not in state.restrictions.register_ops
            and not (state.restrictions.sqe_only and "register_restrictions_apart" in traits)
        ),
    ),
    Check(
        name="arg_and_count",
        errno=errno.EINVAL,
        where=f"{_REGISTER_C} __io_uring_register()",
        broken=lambda call, _state, _: call.arg is Arg.NULL or call.nr_args != 1,
    ),
)


def group_id(call: Call, traits: Traits) -> int:
    """The group a call names: in the RFC's argument a u32, whose upper half became `flags`."""
    upper = call.flags if isinstance(call, BufReg) and "bgid_32_bits" in traits else 0
    return call.bgid | upper << 16


def ring_size(call: BufReg, traits: Traits) -> int:
    """Bytes the kernel takes the ring for."""
    return (RFC if "rfc_layout" in traits else MERGED).size(call.entries)


def kernel_memory(call: BufReg, traits: Traits) -> bool:
    """The ring is to lie in memory of the kernel's."""
    return "pbuf_mmap" in traits and bool(call.flags & c.IOU_PBUF_RING_MMAP)


def _reserved(call: BufReg, _: State, traits: Traits) -> bool:
    return any(call.resv) or (call.min_left != 0 and "pbuf_min_left" not in traits)


def _unknown_flags(call: BufReg, _: State, traits: Traits) -> bool:
    known = c.IOU_PBUF_RING_MMAP * ("pbuf_mmap" in traits) | c.IOU_PBUF_RING_INC * ("pbuf_inc" in traits)
    return bool(call.flags & ~known)


def _unreadable(call: Call, _: State, _traits: Traits) -> bool:
    return call.arg in UNREADABLE


def _in_use(call: BufReg, state: State, traits: Traits) -> bool:
    group = state.find(group_id(call, traits))
    return group is not None and (group.is_ring or group.buffers > 0 or "upgrade_refused" in traits)


def _unknown_group(call: Call, state: State, traits: Traits) -> bool:
    return state.find(group_id(call, traits)) is None


def _legacy_group(call: Call, state: State, traits: Traits) -> bool:
    group = state.find(group_id(call, traits))
    return group is not None and not group.is_ring


def _null(call: BufReg, _: State, traits: Traits) -> bool:
    return not kernel_memory(call, traits) and call.memory is Memory.NULL and call.offset == 0


def _misaligned(call: BufReg, _: State, traits: Traits) -> bool:
    return not kernel_memory(call, traits) and call.offset % PAGE != 0


_NEVER_PINNED = frozenset({
    Memory.NULL, Memory.SECRET, Memory.READ_ONLY, Memory.PROT_NONE, Memory.UNMAPPED, Memory.LOWEST,
    Memory.NONCANONICAL, Memory.USER_END, Memory.KERNEL,
})  # fmt: skip
_SECOND_PAGE_BAD = frozenset({Memory.THEN_UNMAPPED, Memory.THEN_READ_ONLY, Memory.THEN_PROT_NONE})
_FILE = frozenset({Memory.QUEUE, Memory.RAMFS, Memory.RAMFS_PRIVATE, Memory.DISK, Memory.DISK_PRIVATE})
_DIRTY_TRACKED = frozenset({Memory.RAMFS, Memory.DISK})


def _wraps(call: BufReg, _: State, traits: Traits) -> bool:
    return call.memory is Memory.LAST_PAGE and not kernel_memory(call, traits)


def _unpinnable(call: BufReg, _: State, traits: Traits) -> bool:
    if kernel_memory(call, traits):
        return False
    size = ring_size(call, traits)
    return (
        call.memory in _NEVER_PINNED
        or size > BACKED
        or (call.memory in _SECOND_PAGE_BAD and size > PAGE)
        or (call.memory in _DIRTY_TRACKED and "dirty_tracked_memory_refused" in traits)
        or (call.memory is Memory.QUEUE and "queue_memory_pinnable" not in traits)
    )


def _low_array(call: BufReg, state: State) -> State:
    return replace(state, low_array=state.low_array or call.bgid < BGID_ARRAY)


def _drop_empty(call: BufReg, state: State) -> State:
    return state.having(call.bgid, None)


_HERE = f"{_KBUF} io_register_pbuf_ring()"
_REGION = "io_uring/memmap.c io_create_region()"
_PIN = "io_uring/memmap.c io_pin_pages()"
_LAST = _t("addr_checked_last")

REGISTER: tuple[Check[BufReg] | Effect[BufReg], ...] = (
    Check(name="arg_readable", errno=errno.EFAULT, where=_HERE, broken=_unreadable),
    Check(name="reserved", errno=errno.EINVAL, where=_HERE, broken=_reserved),
    Check(name="flags", errno=errno.EINVAL, where=_HERE, broken=_unknown_flags, unless=_t("bgid_32_bits")),
    Check(name="addr_null", errno=errno.EFAULT, where=_HERE, broken=_null, unless=_LAST),
    Check(name="addr_aligned", errno=errno.EINVAL, where=_HERE, broken=_misaligned, unless=_LAST),
    Check(
        name="mmap_without_addr",
        errno=errno.EINVAL,
        where=_HERE,
        broken=lambda call, _state, traits: kernel_memory(call, traits) and call.memory is not Memory.NULL,
        unless=_t("mmap_addr_ignored"),
    ),
    Check(
        name="entries_power_of_two",
        errno=errno.EINVAL,
        where=_HERE,
        broken=lambda call, _state, _: call.entries.bit_count() != 1,
    ),
    Check(
        name="entries_limit",
        errno=errno.EINVAL,
        where=_HERE,
        broken=lambda call, _state, _: call.entries >= 65536,
        unless=_t("entries_unbounded"),
    ),
    Check(
        name="min_left_with_inc",
        errno=errno.EINVAL,
        where=_HERE,
        broken=lambda call, _state, _: call.min_left != 0 and not call.flags & c.IOU_PBUF_RING_INC,
    ),
    Effect(
        name="low_array",
        where=f"{_KBUF} io_init_bl_list()",
        apply=_low_array,
        only=_t("low_bgids_stay"),
    ),
    Check(name="group_free", errno=errno.EEXIST, where=_HERE, broken=_in_use),
    Effect(
        name="empty_group_dropped",
        where=f"{_KBUF} io_destroy_bl()",
        apply=_drop_empty,
        only=_t("failed_upgrade_drops_group"),
    ),
    Check(name="addr_null", errno=errno.EFAULT, where=_REGION, broken=_null, only=_LAST),
    Check(name="addr_aligned", errno=errno.EINVAL, where=_REGION, broken=_misaligned, only=_LAST),
    Check(name="addr_range", errno=errno.EOVERFLOW, where=_PIN, broken=_wraps, only=_t("range_checked")),
    Check(name="addr_range", errno=errno.ENOMEM, where=_PIN, broken=_wraps, unless=_t("range_checked")),
    Check(name="memory_pinned", errno=errno.EFAULT, where=_PIN, broken=_unpinnable),
    Check(
        name="memory_of_one_file",
        errno=errno.EINVAL,
        where="io_uring/rsrc.c io_pin_pages()",
        broken=lambda call, _state, traits: (
            call.memory is Memory.THEN_MEMFD and ring_size(call, traits) > PAGE
        ),
        only=_t("file_memory_refused"),
    ),
    Check(
        name="memory_not_of_a_file",
        errno=errno.EOPNOTSUPP,
        where="io_uring/rsrc.c io_pin_pages()",
        broken=lambda call, _state, _: call.memory in _FILE,
        only=_t("file_memory_refused"),
    ),
)

_UNREGISTER = f"{_KBUF} io_unregister_pbuf_ring()"

UNREGISTER: tuple[Check[BufReg] | Effect[BufReg], ...] = (
    Check(name="arg_readable", errno=errno.EFAULT, where=_UNREGISTER, broken=_unreadable),
    Check(
        name="reserved",
        errno=errno.EINVAL,
        where=_UNREGISTER,
        broken=lambda call, state, traits: (
            _reserved(call, state, traits) or (call.flags != 0 and "bgid_32_bits" not in traits)
        ),
    ),
    Check(name="group_exists", errno=errno.ENOENT, where=_UNREGISTER, broken=_unknown_group),
    Check(name="group_is_ring", errno=errno.EINVAL, where=_UNREGISTER, broken=_legacy_group),
)

_STATUS = f"{_KBUF} io_register_pbuf_status()"

STATUS: tuple[Check[BufStatus] | Effect[BufStatus], ...] = (
    Check(name="arg_readable", errno=errno.EFAULT, where=_STATUS, broken=_unreadable),
    Check(
        name="reserved",
        errno=errno.EINVAL,
        where=_STATUS,
        broken=lambda call, _state, _: any(call.resv),
    ),
    Check(name="group_exists", errno=errno.ENOENT, where=_STATUS, broken=_unknown_group),
    Check(name="group_is_ring", errno=errno.EINVAL, where=_STATUS, broken=_legacy_group),
    Check(
        name="arg_writable",
        errno=errno.EFAULT,
        where=_STATUS,
        broken=lambda call, _state, _: call.arg is Arg.READ_ONLY,
    ),
)
