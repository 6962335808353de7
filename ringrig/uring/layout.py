"""The two layouts a buffer ring's shared memory has had.

The application is the producer: it fills entries and moves an index. Merged kernels (5.19 on) call that index
`tail`, have 16 bits for it and lay it over unused bytes of entry 0. The RFC of April 2022 calls it `head`, has
32 bits for it and a header of its own before the entries. The consumer's index is the kernel's in both.
"""

from __future__ import annotations

from ctypes import c_uint16, c_uint32
from dataclasses import dataclass

from ringrig.uring import libc
from ringrig.uring.structs import io_uring_buf, rfc_io_uring_buf

ENTRY_SIZE = 16
A_PAGE = libc.PAGE_SIZE // ENTRY_SIZE
"""Entries that fill a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Offsets and sizes in bytes."""

    name: str
    header: int
    """Before the first entry."""
    producer_at: int
    producer: type[c_uint16] | type[c_uint32]
    entry: type[io_uring_buf] | type[rfc_io_uring_buf]

    def size(self, entries: int) -> int:
        """What a ring of so many entries takes, and the kernel pins (rounded up to pages)."""
        return self.header + entries * ENTRY_SIZE


MERGED = Layout(name="merged", header=0, producer_at=14, producer=c_uint16, entry=io_uring_buf)
"""include/uapi/linux/io_uring.h: struct io_uring_buf_ring, a union of `tail` and bufs[]."""

RFC = Layout(name="rfc", header=16, producer_at=0, producer=c_uint32, entry=rfc_io_uring_buf)
"""The RFC's struct io_uring_buf_ring: a union of `head` and a padding entry, then bufs[]."""

LAYOUTS = {layout.name: layout for layout in (MERGED, RFC)}
