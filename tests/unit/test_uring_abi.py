"""ringrig.uring speaks the kernel's ABI: layouts, results, and the probe's refusal to guess."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
from collections.abc import Callable

import pytest

from ringrig.uring import bufring, group, libc, memory, probe, structs
from ringrig.uring import consts as c
from ringrig.uring.layout import MERGED, RFC, Layout
from ringrig.uring.memory import Arena
from ringrig.uring.ring import Cqe, Ring, SetupFailed

SIZES = {
    structs.io_uring_params: 120,
    structs.io_uring_sqe: 64,
    structs.io_uring_cqe: 16,
    structs.io_uring_buf: 16,
    structs.rfc_io_uring_buf: 16,
    structs.io_uring_buf_reg: 40,
    structs.io_uring_buf_status: 40,
    structs.io_uring_restriction: 16,
    structs.io_uring_rsrc_update: 16,
    structs.io_uring_probe: 16 + 256 * 8,
    structs.io_uring_getevents_arg: 24,
}
OFFSETS = {
    (structs.io_uring_sqe, "user_data"): 32,
    (structs.io_uring_sqe, "addr3"): 48,
    (structs.io_uring_params, "sq_off"): 40,
    (structs.io_uring_params, "cq_off"): 80,
    (structs.io_uring_buf_reg, "bgid"): 12,
    (structs.io_uring_buf_reg, "flags"): 14,
    (structs.io_uring_buf_reg, "min_left"): 16,
    (structs.io_uring_buf, "resv"): 14,
}

usable = pytest.mark.skipif(not probe.probe()["usable"], reason=f"no io_uring: {probe.probe()['reason']}")


@pytest.mark.parametrize("struct", SIZES, ids=lambda struct: struct.__name__)
def test_struct_has_the_kernels_size(struct: type[ctypes.Structure]) -> None:
    """sizeof() as the kernel's BUILD_BUG_ONs and uapi header have it."""
    assert ctypes.sizeof(struct) == SIZES[struct]


@pytest.mark.parametrize("struct, field", OFFSETS, ids=lambda value: getattr(value, "__name__", value))
def test_field_lies_where_the_kernel_has_it(struct: type[ctypes.Structure], field: str) -> None:
    """offsetof() as in the uapi header."""
    assert getattr(struct, field).offset == OFFSETS[struct, field]


def test_syscalls_return_negative_errnos() -> None:
    """A failing call raises nothing."""
    assert libc.io_uring_register(-1, 0xFFFF, 0, 0) == -errno.EINVAL
    assert libc.io_uring_setup(1, 0) == -errno.EFAULT
    assert libc.mmap(0, 0, libc.MAP_PRIVATE | libc.MAP_ANONYMOUS) == -errno.EINVAL


def test_any_bit_pattern_can_be_passed() -> None:
    """Numbers beyond 64 bits' signed half are cut, not refused."""
    assert libc.io_uring_setup(1, 0xFFFF888000000000) == -errno.EFAULT


def test_bid_is_the_upper_half_of_the_flags() -> None:
    """...and None without F_BUFFER."""
    assert Cqe(0, 1, c.IORING_CQE_F_BUFFER | 0xFFFF << 16).bid == 0xFFFF
    assert Cqe(0, 1, 0).bid is None


@usable
def test_refused_setup_says_why() -> None:
    """SetupFailed carries errno and flags."""
    with pytest.raises(SetupFailed, match=r"flags=0x80000000\): Invalid"):
        Ring(1, 1 << 31)


@usable
@pytest.mark.parametrize(
    "name",
    [name for name in probe.SETUP_FLAGS if probe.probe()["capabilities"].get(name) and name != "iopoll"],
)
def test_a_buffer_is_read_into_on_every_kind_of_ring(name: str) -> None:
    """Register, publish, select, status, unregister, whatever the set-up flags."""
    arena = Arena()
    with Ring(4, probe.SETUP_FLAGS[name]) as ring:
        used = group.Group(ring, arena)
        assert used.register() == 0
        used.publish(77)

        cqe = used.read(length=3)

        assert (cqe.res, cqe.bid) == (3, 77)
        assert used.unregister() == 0
    arena.close()


@usable
def test_waiting_has_an_end() -> None:
    """No completion: TimeoutError, never a hang."""
    with Ring() as ring, pytest.raises(TimeoutError, match="0 of 1"):
        ring.complete(timeout=0.01)


def test_merged_producer_shares_bytes_with_slot_zero() -> None:
    """write() leaves the index alone, publish() moves it, u16 wrap included."""
    arena = Arena()
    ring = bufring.BufRing(arena.anon(128), 8, MERGED)
    ring.producer = 0xFFFF
    ring.write(0, 0x1234, 5, 9)
    assert ring.producer == 0xFFFF

    ring.publish(0x5678, 6, 10)

    assert ring.producer == 0
    assert ring.entry(0) == (0x1234, 5, 9)
    assert ring.entry(7) == (0x5678, 6, 10)
    assert len(ring.raw()) == 128
    arena.close()


def test_rfc_producer_has_a_header_of_its_own() -> None:
    """32 bits at offset 0, entries from 16 on, ids of 32 bits: as the RFC's header file has it."""
    arena = Arena()
    ring = bufring.BufRing(arena.anon(16 + 128), 8, RFC)
    ring.producer = 0xFFFF

    ring.publish(0x5678, 6, 0x12345)
    ring.publish(0x9ABC, 7, 2)

    assert ring.raw()[:4] == (0x10001).to_bytes(4, "little")
    assert ring.raw()[16:32] == struct.pack("<QII", 0x9ABC, 7, 2)
    assert ring.raw()[128:] == struct.pack("<QII", 0x5678, 6, 0x12345)
    assert ring.entry(7) == (0x5678, 6, 0x12345)
    arena.close()


@pytest.mark.parametrize("layout, entries, pages", [(MERGED, 256, 1), (RFC, 255, 1), (RFC, 256, 2)])
def test_size_of_a_ring(layout: Layout, entries: int, pages: int) -> None:
    """The RFC's header pushes 256 entries onto a second page."""
    assert memory.pages(layout.size(entries)) == pages * 4096


def test_arena_gives_everything_back() -> None:
    """close() unmaps: the addresses are free again."""
    arena = Arena()
    addr = arena.anon(8192)
    arena.close()
    vec = ctypes.create_string_buffer(2)
    mincore = ctypes.CDLL(None, use_errno=True).mincore

    assert mincore(ctypes.c_void_p(addr), ctypes.c_size_t(8192), vec) == -1


def test_facts_are_json() -> None:
    """What the probe found survives a round trip."""
    facts = probe.probe()
    assert json.loads(json.dumps(facts)) == facts


@pytest.mark.parametrize(
    "error, text",
    [(errno.ENOSYS, "CONFIG_IO_URING"), (errno.EPERM, "io_uring_disabled"), (errno.EMFILE, "-EMFILE")],
)
def test_unusable_kernel_is_told_apart(monkeypatch: pytest.MonkeyPatch, error: int, text: str) -> None:
    """No ring at all: a reason a person can act on."""

    def refuse() -> Ring:
        raise SetupFailed(error, os.strerror(error))

    monkeypatch.setattr(probe, "Ring", refuse)

    facts = probe.probe.__wrapped__()

    assert not facts["usable"]
    assert text in facts["reason"]


@usable
def test_a_contradiction_is_an_error_not_an_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The known-good registration says -ENOMEM: ProbeFailed names it."""
    monkeypatch.setattr(bufring, "register", lambda ring, **_: -errno.ENOMEM)

    with pytest.raises(probe.ProbeFailed, match=r"anonymous pages.*-ENOMEM"):
        probe.probe.__wrapped__()


class _Kernel:
    """A ring that registers anything; each read of a selected buffer gets what `reads` says of the memory."""

    def __init__(self, reads: Callable[[int], tuple[int, int]]) -> None:
        self._reads, self.sqe_made, self.memory = reads, structs.io_uring_sqe(), 0

    def register(self, *_: object) -> int:
        return 0

    def sqe(self) -> structs.io_uring_sqe:
        return self.sqe_made

    def complete(self) -> list[Cqe]:
        return [Cqe(0, *self._reads(self.memory))]


def _took(bid: int) -> tuple[int, int]:
    return 1, c.IORING_CQE_F_BUFFER | bid << 16


def _of(layout: Layout) -> Callable[[int], tuple[int, int]]:
    def reads(at: int) -> tuple[int, int]:
        ring = bufring.BufRing(at, 1, layout)
        return _took(ring.entry(0).bid) if ring.producer else (-errno.ENOBUFS, 0)

    return reads


KERNELS = {
    "rfc": (_of(RFC), RFC),
    "merged": (_of(MERGED), MERGED),
    "never_finds_any": (lambda _: (-errno.ENOBUFS, 0), None),
    "another_buffer": (lambda _: _took(77), None),
    "fails": (lambda _: (-errno.EFAULT, 0), None),
}


@pytest.mark.parametrize("reads, layout", KERNELS.values(), ids=KERNELS)
def test_layout_is_the_one_in_which_a_buffer_is_found(
    reads: Callable[[int], tuple[int, int]], layout: Layout | None
) -> None:
    """Anything else is ProbeFailed, which says what the reads said."""
    arena = Arena()
    kernel = _Kernel(reads)
    kernel.memory = arena.anon(8192)

    if layout:
        assert probe._layout(kernel, arena, kernel.memory) is layout  # type: ignore[arg-type]
    else:
        with pytest.raises(probe.ProbeFailed, match=r"no published buffer.*merged: .*rfc: "):
            probe._layout(kernel, arena, kernel.memory)  # type: ignore[arg-type]
    arena.close()


class _Answers:
    """A ring whose register() says one prepared thing after the other."""

    def __init__(self, *answers: int) -> None:
        self._answers = iter(answers)

    def register(self, *_: object) -> int:
        return next(self._answers)


ATTEMPTS = {
    "known": ((0, 0), ""),
    "unknown": ((-errno.EINVAL,), "says -EINVAL"),
    "no_flags_so_an_address_is_wanted": ((-errno.EFAULT,), "wants an address"),
    "no_flags_but_a_wide_bgid": ((0, -errno.ENOENT), "another id"),
}
CONTRADICTIONS = {"registering": (-errno.ENOMEM,), "unregistering": (0, -errno.EINVAL)}


@pytest.mark.parametrize("answers, why", ATTEMPTS.values(), ids=ATTEMPTS)
def test_a_flag_is_known_only_if_its_ring_is_there(answers: tuple[int, ...], why: str) -> None:
    """The RFC takes flags for half of a bgid, or for nothing: absent, though the call may say 0."""
    found = probe._attempt(_Answers(*answers), "REGISTER", structs.io_uring_buf_reg())  # type: ignore[arg-type]

    assert why in found
    assert bool(found) == bool(why)


@pytest.mark.parametrize("answers", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_flag_that_is_neither_known_nor_unknown(answers: tuple[int, ...]) -> None:
    """ProbeFailed."""
    with pytest.raises(probe.ProbeFailed, match="cannot fail"):
        probe._attempt(_Answers(*answers), "REGISTER", structs.io_uring_buf_reg())  # type: ignore[arg-type]
