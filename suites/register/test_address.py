"""ring_addr: its alignment, and what may lie there."""

from __future__ import annotations

import pytest

from ringrig.model.calls import PAGE, Memory, kernel_registration, registration
from ringrig.model.spec import Model
from ringrig.model.subject import Subject
from ringrig.uring import consts as c
from ringrig.uring.layout import A_PAGE

OFFSETS = {"one": 1, "eight": 8, "one_entry": 16, "half_a_page": PAGE // 2, "a_page_less_one": PAGE - 1}

NEEDS = {
    Memory.HUGETLB: "hugetlb",
    Memory.RAMFS: "ramfs",
    Memory.RAMFS_PRIVATE: "ramfs",
    Memory.DISK: "disk_file",
    Memory.DISK_PRIVATE: "disk_file",
    Memory.SECRET: "memfd_secret",
}
SHAPES = [
    pytest.param(
        shape, id=shape.name.lower(), marks=[pytest.mark.needs(NEEDS[shape])] if shape in NEEDS else []
    )
    for shape in Memory
    if shape is not Memory.HUGETLB
]
TWO_PAGES = 2 * A_PAGE
SECOND_PAGE = [Memory.THEN_UNMAPPED, Memory.THEN_READ_ONLY, Memory.THEN_PROT_NONE, Memory.THEN_MEMFD]


@pytest.mark.parametrize("offset", OFFSETS.values(), ids=OFFSETS)
@pytest.mark.parametrize("entries", [1, TWO_PAGES], ids=["within_a_page", "two_pages"])
def test_misaligned_address(ring: Subject, model: Model, offset: int, entries: int) -> None:
    """An address in good memory that is no page's begin: -EINVAL.

    io_register_pbuf_ring(), since 6.14 io_create_region()
    """
    call = registration(offset=offset, entries=entries)

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    assert ring.survey(7) == model.survey(7)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_lies_at_the_address(ring: Subject, model: Model, shape: Memory) -> None:
    """Two pages of each kind of memory: taken if they can be pinned for long and written, else an errno.

    io_pin_pages(), mm/gup.c check_vma_flags(); 34ed8d0dcd69 and 8ac268436e6d (6.5) changed it for files.
    """
    call = registration(memory=shape, entries=TWO_PAGES)

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    assert ring.survey(7) == model.survey(7)


@pytest.mark.needs("hugetlb")
def test_a_huge_page_at_the_address(ring: Subject, model: Model, hugepages: None) -> None:
    """A 2 MiB page is taken: hugetlbfs can always be pinned. io_pin_pages()"""
    call = registration(memory=Memory.HUGETLB, entries=TWO_PAGES)

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    assert ring.survey(7) == model.survey(7)


@pytest.mark.parametrize("shape", SECOND_PAGE, ids=lambda shape: shape.name.lower())
def test_a_ring_of_a_page_does_not_reach_the_next(ring: Subject, model: Model, shape: Memory) -> None:
    """Entries that fill exactly one page, 256 of 4 KiB; what follows it does not matter. The RFC's header makes it two.

    io_pin_pages(); struct_size() instead of flex_array_size() pins one page too many.
    """
    call = registration(memory=shape, entries=A_PAGE)

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    assert ring.survey(7) == model.survey(7)


@pytest.mark.parametrize("shape", SECOND_PAGE, ids=lambda shape: shape.name.lower())
def test_only_the_last_of_many_pages_is_bad(ring: Subject, model: Model, shape: Memory) -> None:
    """A ring of 4 pages that goes wrong behind its first: refused as a whole. io_pin_pages()"""
    call = registration(memory=shape, entries=4 * A_PAGE)

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    assert ring.survey(7) == model.survey(7)


@pytest.mark.parametrize(
    "shape", [Memory.LAST_PAGE, Memory.USER_END, Memory.KERNEL], ids=lambda shape: shape.name.lower()
)
@pytest.mark.parametrize("entries", [1, A_PAGE, TWO_PAGES, 32768], ids=["one", "a_page", "two_pages", "most"])
def test_ring_at_an_end_of_address_space(ring: Subject, model: Model, shape: Memory, entries: int) -> None:
    """Rings that reach 2^64 are -EOVERFLOW, those beyond user space -EFAULT. io_pin_pages()"""
    call = registration(memory=shape, entries=entries)

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    assert ring.survey(7) == model.survey(7)


@pytest.mark.parametrize(
    "shape",
    [Memory.ANON, Memory.UNMAPPED, Memory.READ_ONLY, Memory.LOWEST, Memory.KERNEL, Memory.LAST_PAGE],
    ids=lambda shape: shape.name.lower(),
)
@pytest.mark.parametrize("flags", [c.IOU_PBUF_RING_MMAP, 3], ids=["mmap", "mmap_and_inc"])
def test_kernel_ring_with_an_address(ring: Subject, model: Model, shape: Memory, flags: int) -> None:
    """IOU_PBUF_RING_MMAP with ring_addr set: -EINVAL; from 6.14 on accepted without a look at it.

    io_register_pbuf_ring(); ef62de3c4ad5
    """
    call = kernel_registration(memory=shape, flags=flags)

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    assert ring.survey(7) == model.survey(7)
