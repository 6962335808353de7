"""The model against tables written down by hand from the kernels' sources."""

from __future__ import annotations

from errno import EEXIST, EFAULT, EINVAL, ENOENT, ENOMEM, EOPNOTSUPP, EOVERFLOW
from typing import Any

import pytest

from ringrig.model.calls import Arg, Memory, registration, status, unregistration
from ringrig.model.profiles import load_profile
from ringrig.model.spec import Model, Outcome, Survey
from ringrig.model.spoil import REGISTER_SPOILS, STATUS_SPOILS, UNREGISTER_SPOILS, pairs
from ringrig.uring import consts as c

KERNELS = ("rfc", "rfc-reviewed", "debian:6.1", "debian:6.12", "7.3")
MMAP = c.IOU_PBUF_RING_MMAP

# what is wrong at once: (changes, group 7 exists, errno on RFC as posted, reviewed, 6.1, 6.12, 7.3; 0 is success)
MATRIX: dict[str, tuple[dict[str, Any], bool, tuple[int, ...]]] = {
    "nr_args and unreadable": ({"nr_args": 2, "arg": Arg.UNMAPPED}, False, (EINVAL,) * 5),
    "resv and null": ({"resv": (1, 0, 0, 0, 0), "memory": Memory.NULL}, False, (EINVAL,) * 5),
    "flag and null": ({"flags": 4, "memory": Memory.NULL}, False, (EFAULT, EINVAL, EINVAL, EINVAL, EINVAL)),
    "flag": ({"flags": 4}, False, (0, EINVAL, EINVAL, EINVAL, EINVAL)),
    "flag and exists": ({"flags": 4}, True, (0, EINVAL, EINVAL, EINVAL, EINVAL)),
    "null and entries": (
        {"memory": Memory.NULL, "entries": 3},
        False,
        (EFAULT, EFAULT, EFAULT, EFAULT, EINVAL),
    ),
    "null and exists": ({"memory": Memory.NULL}, True, (EFAULT, EFAULT, EFAULT, EFAULT, EEXIST)),
    "misaligned and exists": ({"offset": 16}, True, (EINVAL, EINVAL, EINVAL, EINVAL, EEXIST)),
    "entries and exists": ({"entries": 3}, True, (EINVAL,) * 5),
    "unmapped and exists": ({"memory": Memory.UNMAPPED}, True, (EEXIST,) * 5),
    "misaligned and unmapped": ({"memory": Memory.UNMAPPED, "offset": 1}, False, (EINVAL,) * 5),
    "65536 and unmapped": (
        {"memory": Memory.UNMAPPED, "entries": 65536},
        False,
        (EFAULT, EINVAL, EINVAL, EINVAL, EINVAL),
    ),
    "65536": ({"entries": 65536}, False, (0, EINVAL, EINVAL, EINVAL, EINVAL)),
    "2^31 entries, more than there is memory": (
        {"entries": 1 << 31},
        False,
        (EFAULT, EINVAL, EINVAL, EINVAL, EINVAL),
    ),
    "mmap with address": ({"flags": MMAP}, False, (0, EINVAL, EINVAL, EINVAL, 0)),
    "mmap with address and exists": ({"flags": MMAP}, True, (0, EINVAL, EINVAL, EINVAL, EEXIST)),
    "min_left and null": (
        {"min_left": 1, "memory": Memory.NULL},
        False,
        (EINVAL, EINVAL, EINVAL, EFAULT, EINVAL),
    ),
    "min_left and exists": ({"min_left": 1}, True, (EINVAL,) * 5),
    "last page": ({"memory": Memory.LAST_PAGE}, False, (EOVERFLOW,) * 5),
    "shared file": (
        {"memory": Memory.RAMFS},
        False,
        (EOPNOTSUPP, EOPNOTSUPP, EOPNOTSUPP, EFAULT, EFAULT),
    ),
    "private file": ({"memory": Memory.RAMFS_PRIVATE}, False, (EOPNOTSUPP, EOPNOTSUPP, EOPNOTSUPP, 0, 0)),
    "mixed backing": ({"memory": Memory.THEN_MEMFD, "entries": 512}, False, (EINVAL, EINVAL, EINVAL, 0, 0)),
    "mixed backing within a page": ({"memory": Memory.THEN_MEMFD}, False, (0,) * 5),
    "256 entries before mixed backing": (
        {"memory": Memory.THEN_MEMFD, "entries": 256},
        False,
        (EINVAL, EINVAL, 0, 0, 0),
    ),
    "256 entries in one page": (
        {"memory": Memory.THEN_UNMAPPED, "entries": 256},
        False,
        (EFAULT, EFAULT, 0, 0, 0),
    ),
}


def model_of(kernel: str) -> Model:
    return Model(load_profile(kernel).traits)


@pytest.mark.parametrize("at, kernel", list(enumerate(KERNELS)), ids=KERNELS)
@pytest.mark.parametrize("changes, exists, errnos", MATRIX.values(), ids=MATRIX)
def test_precedence(
    at: int, kernel: str, changes: dict[str, Any], exists: bool, errnos: tuple[int, ...]
) -> None:
    """Two errors at once give what each kernel's source gives."""
    model = model_of(kernel)
    if exists:
        assert model.register_pbuf_ring(registration()).res == 0

    assert model.register_pbuf_ring(registration(**changes)).res == -errnos[at]


@pytest.mark.parametrize(
    "kernel, bgid, again",
    [("rfc", 63, ENOENT), ("debian:6.1", 63, EINVAL), ("debian:6.1", 64, ENOENT), ("7.3", 63, ENOENT)],
)
def test_unregistering_twice(kernel: str, bgid: int, again: int) -> None:
    """6.1 keeps groups 0..63 as empty lists."""
    model = model_of(kernel)
    model.register_pbuf_ring(registration(bgid=bgid))

    assert model.unregister_pbuf_ring(unregistration(bgid=bgid)).res == 0
    assert model.unregister_pbuf_ring(unregistration(bgid=bgid)).res == -again


@pytest.mark.parametrize("kernel, left", [("debian:6.1", 0), ("debian:6.12", -ENOENT), ("7.3", -ENOENT)])
def test_failed_upgrade(kernel: str, left: int) -> None:
    """Only where the list is destroyed first is it gone after a failure."""
    model = model_of(kernel)
    model.provide_buffers(bgid=700, count=1)
    assert model.remove_buffers(bgid=700, count=1) == 1

    assert model.register_pbuf_ring(registration(bgid=700, memory=Memory.UNMAPPED)).res == -EFAULT

    assert model.remove_buffers(bgid=700, count=1) == left


@pytest.mark.parametrize("kernel, res", [("rfc", -EEXIST), ("rfc-reviewed", -EEXIST), ("7.3", 0)])
def test_an_emptied_legacy_group_is_no_place_for_the_rfcs_ring(kernel: str, res: int) -> None:
    """No upgrade in the RFC: the group stays what it was."""
    model = model_of(kernel)
    model.provide_buffers(bgid=7, count=1)
    model.remove_buffers(bgid=7, count=1)

    assert model.register_pbuf_ring(registration()).res == res

    assert model.remove_buffers(bgid=7, count=1) == (-EINVAL if res == 0 else 0)


def test_group_id_of_32_bits() -> None:
    """The RFC's upper half of a bgid names another group, in UNREGISTER too; no SQE can."""
    model = model_of("rfc")
    for res in (0, -EEXIST):
        assert model.register_pbuf_ring(registration(flags=1)).res == res
    assert model.register_pbuf_ring(registration()).res == 0

    assert model.unregister_pbuf_ring(unregistration(flags=2)).res == -ENOENT
    assert model.unregister_pbuf_ring(unregistration(flags=1)).res == 0
    assert model.unregister_pbuf_ring(unregistration()).res == 0


def test_a_wrapping_range_before_it_was_checked() -> None:
    """No memory for 2^52 page pointers."""
    model = model_of("debian-uml:6.1")

    assert model.register_pbuf_ring(registration(memory=Memory.LAST_PAGE)).res == -ENOMEM


def test_head_is_free_running_in_16_bits() -> None:
    """Not masked by the ring's size."""
    model = model_of("7.3")
    model.register_pbuf_ring(registration())
    model.consumed(bgid=7, buffers=65540)

    assert model.pbuf_status(status()) == Outcome(res=0, head=4)
    assert model.pbuf_status(status(bgid=65536 + 7)) == Outcome(res=-ENOENT)


def test_failure_text_names_both_checks() -> None:
    """What decided, and which later check gives what came instead."""
    model = model_of("debian:6.12")
    expected = model.register_pbuf_ring(registration(memory=Memory.NULL, entries=3))
    lines = expected.against(Outcome(res=-EINVAL, call="REGISTER_PBUF_RING(...)"))

    assert lines[0] == "REGISTER_PBUF_RING(...): got -EINVAL, want -EFAULT"
    assert "addr_null (-EFAULT, io_uring/kbuf.c io_register_pbuf_ring())" in lines[1]
    assert "entries_power_of_two" in lines[2]


def test_survey_text_names_what_differs() -> None:
    """Fields that agree are not mentioned."""
    want = Survey(status=Outcome(res=-ENOENT), removed=0, unregistered=-EINVAL, taken=0)
    got = Survey(status=Outcome(res=-ENOENT), removed=-ENOENT, unregistered=-EINVAL, taken=0)

    assert want.against(got) == ["afterwards, REMOVE_BUFFERS from the group: got -ENOENT, want 0"]


@pytest.mark.parametrize("table", [REGISTER_SPOILS, UNREGISTER_SPOILS, STATUS_SPOILS])
def test_spoils_combine_only_where_they_can(table: tuple[Any, ...]) -> None:
    """Names are unique, and no pair writes one thing twice."""
    assert len({one.name for one in table}) == len(table)
    for one, other in pairs(table):
        assert not one.changes.keys() & other.changes.keys()
