"""Data that lands in the ring it was selected from: what the kernel has read by then counts."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from ringrig.uring import consts as c
from ringrig.uring.bufring import Entry
from ringrig.uring.group import Group, Pipe
from ringrig.uring.layout import MERGED

pytestmark = [pytest.mark.ends_within(3), pytest.mark.needs("status")]

_SLOT_0 = struct.Struct("<QIHH")
"""addr, len, bid, and the producer's index."""


def test_a_tail_that_went_back_does_not_stop_the_head(group: Group, pipe: Pipe) -> None:
    """The one buffer lies over the tail, and its data sets that to 0: the head is 1, as a buffer was used.

    The tail is looked at for the selection and not again. io_ring_buffer_select(), io_kbuf_commit()
    """
    group.memory.publish(group.memory.addr + MERGED.producer_at, 2, 6)
    pipe.feed(bytes(2))

    cqe = group.read(pipe.reader)

    assert (cqe.res, cqe.bid, group.memory.producer, group.head()) == (2, 6, 0, 1)


def test_the_completion_names_the_bid_that_was_selected(group: Group, pipe: Pipe) -> None:
    """The buffer lies over its own entry, and its data is an entry with another bid: the first one is reported.

    io_ring_buffer_select() keeps the bid in req->buf_index
    """
    group.memory.publish(group.memory.addr, _SLOT_0.size, 6)
    pipe.feed(_SLOT_0.pack(4096, 7, 9, 1))

    cqe = group.read(pipe.reader)

    assert (cqe.res, cqe.flags) == (16, 6 << 16 | c.IORING_CQE_F_BUFFER)
    assert (group.entry(0), group.head()) == (Entry(4096, 7, 9), 1)


@pytest.mark.crashes
@pytest.mark.needs("inc")
def test_an_entry_that_has_become_empty_ends_the_count(make_group: Callable[..., Group], pipe: Pipe) -> None:
    """Incremental, and the data makes the entry's length 0: F_BUF_MORE, head 0. It must not look for 16 bytes for ever.

    io_kbuf_inc_commit(); CVE-2025-39816, 98b6fa62c84f
    """
    group = make_group(flags=c.IOU_PBUF_RING_INC)
    group.memory.publish(group.memory.addr, _SLOT_0.size, 6)
    pipe.feed(_SLOT_0.pack(4096, 0, 9, 1))

    cqe = group.read(pipe.reader)

    assert (cqe.res, cqe.flags) == (16, 6 << 16 | c.IORING_CQE_F_BUFFER | c.IORING_CQE_F_BUF_MORE)
    assert (group.entry(0), group.head()) == (Entry(4096, 0, 9), 0)
