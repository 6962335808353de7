"""Unregistering and closing give back what registering took."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest

from ringrig.model.calls import registration, unregistration
from ringrig.model.subject import Subject
from ringrig.uring import consts as c
from ringrig.uring.counters import Disturbed, PinWatch, pinned_pages, settled, vmapped_rings
from ringrig.uring.group import Group, Pipe
from ringrig.uring.layout import A_PAGE, ENTRY_SIZE

ENTRIES = {"one": 1, "one_page": A_PAGE, "two_pages": 2 * A_PAGE, "most": 32768}

each_size = pytest.mark.parametrize("entries", ENTRIES.values(), ids=ENTRIES)
both_sides = pytest.mark.parametrize("bgid", [7, 700], ids=["low_bgid", "high_bgid"])


@pytest.mark.needs("pin_counters")
@both_sides
@each_size
def test_unregistering_unpins(
    make_ring: Callable[..., Subject], pins: PinWatch, entries: int, bgid: int
) -> None:
    """Register and unregister: no page stays pinned, none is unpinned twice.

    __io_remove_buffers(), io_free_region(). Fixed by "fix size calculation when registering buf ring" (6.1.18).
    """
    ring = make_ring()

    def there_and_back() -> None:
        assert ring.say(registration(entries=entries, bgid=bgid)).res == 0
        assert ring.say(unregistration(bgid=bgid)).res == 0

    assert pins.after(there_and_back, wanted=0) == 0


@pytest.mark.needs("pin_counters")
@each_size
def test_closing_unpins(make_ring: Callable[..., Subject], pins: PinWatch, entries: int) -> None:
    """Close an io_uring with three rings registered: all pages come back, though not at once.

    io_ring_exit_work() calls io_destroy_buffers().
    """

    def register_and_close() -> None:
        subject = make_ring()
        for bgid in (0, 63, 700):
            assert subject.say(registration(entries=entries, bgid=bgid)).res == 0
        subject.ring.close()

    assert pins.after(register_and_close, wanted=0) == 0


@pytest.mark.needs("pin_counters")
def test_unregistering_with_a_read_waiting_unpins(make_ring: Callable[..., Subject], pins: PinWatch) -> None:
    """A read that waits for data holds no ring: unregistering under it unpins at once. io_put_bl()"""

    def unregister_under_a_read() -> None:
        subject = make_ring()
        group = Group(subject.ring, subject.arena)
        assert group.register() == 0
        group.publish(1)
        group.queue_read(Pipe(subject.arena).reader, length=64)
        assert subject.ring.submit() == 1
        assert group.unregister() == 0

    assert pins.after(unregister_under_a_read, wanted=0) == 0


@pytest.mark.needs("pin_counters", "mmap")
@each_size
def test_kernel_memory_is_not_pinned(make_ring: Callable[..., Subject], pins: PinWatch, entries: int) -> None:
    """A ring of the kernel's own pages pins nothing, registered, mapped or gone. io_alloc_pbuf_ring()"""

    def map_and_leave() -> None:
        subject = make_ring()
        group = Group(subject.ring, subject.arena, entries=entries, size=1, flags=c.IOU_PBUF_RING_MMAP)
        assert group.register() == 0
        assert group.unregister() == 0

    assert pins.after(map_and_leave, wanted=0) == 0


@pytest.mark.needs("mmap")
@pytest.mark.parametrize("entries", [8, 2 * A_PAGE], ids=["one_page", "two_pages"])
def test_a_mapping_outlives_its_ring(make_group: Callable[..., Group], entries: int) -> None:
    """Unregister a mapped kernel ring: the mapping stays, and a new ring's memory is not the old one's.

    vm_insert_pages() took references; once the pages were freed under the mapping. Fixed by c392cbecd8ec (CVE-2024-0582; 6.6.5).
    """
    old = make_group(entries=entries, flags=c.IOU_PBUF_RING_MMAP)
    size = entries * ENTRY_SIZE
    ctypes.memset(old.memory.addr, 0x5A, size)
    assert old.unregister() == 0

    new = make_group(entries=entries, flags=c.IOU_PBUF_RING_MMAP)

    assert new.memory.raw() == bytes(size)
    assert old.memory.raw() == b"\x5a" * size
    ctypes.memset(new.memory.addr, 0x77, size)
    assert old.memory.raw() == b"\x5a" * size


@pytest.mark.needs("vmallocinfo", "pin_counters")
@pytest.mark.parametrize("leave", ["unregister", "close"])
def test_kernel_mapping_of_user_memory_goes(
    make_ring: Callable[..., Subject], shared_kernel: bool, leave: str
) -> None:
    """Sixteen user rings of two pages registered and left: no vmalloc area of theirs remains.

    io_pin_pbuf_ring() maps the pages with vmap(); 6.10 to 6.13 never call vunmap() for user memory
    (io_pages_unmap() with put_pages false). Fixed by ef62de3c4ad5 (6.14).
    """
    settled(pinned_pages, 0, seconds=0.3)  # rings of earlier cases have gone
    before, pinned = vmapped_rings(), pinned_pages()
    subject = make_ring()
    for bgid in range(16):
        assert subject.say(registration(entries=2 * A_PAGE, bgid=bgid)).res == 0
    if (seen := vmapped_rings() - before) != 16:
        pytest.skip(f"needs vmapped rings: /proc/vmallocinfo shows {seen} of 16 (6.1 has none)")

    if leave == "unregister":
        for bgid in range(16):
            assert subject.say(unregistration(bgid=bgid)).res == 0
    else:
        subject.ring.close()

    settled(pinned_pages, pinned, seconds=2)  # the mapping goes with the pages, just before or after them
    left = settled(vmapped_rings, before, seconds=0.1) - before
    if shared_kernel and 0 < left < 16:
        raise Disturbed(f"others moved /proc/vmallocinfo: {left} areas more than before")
    assert left <= 0, f"{left} vmalloc areas of buffer rings are left of 16"
