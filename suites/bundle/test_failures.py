"""Bundles that fail once their buffers are mapped: a receive leaves ring and stream as they were, a SEND has used all up."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import pytest

from ringrig.model.profiles import Profile
from ringrig.model.shelf import Rest, Shelf, spread
from ringrig.model.subject import Subject
from ringrig.model.transfer import Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("bundle"), pytest.mark.ends_within(3)]

THREE = {9: 64, 300: 64, 4: 64}
BUNDLE = c.IORING_RECVSEND_BUNDLE
NOWHERE = {"null": 0, "unmapped": -1, "kernel": 0xFFFF888000000000}
each_slot = pytest.mark.parametrize("slot", [0, 2], ids=["first", "third"])
each_place = pytest.mark.parametrize("addr", NOWHERE.values(), ids=NOWHERE)
each_ring = pytest.mark.parametrize(
    "flags", [0, pytest.param(c.IOU_PBUF_RING_INC, marks=pytest.mark.needs("inc"))], ids=["plain", "inc"]
)


def spoil(subject: Subject, shelf: Shelf, slot: int, addr: int) -> tuple[int, int, int]:
    """The buffer in `slot` lies at a bad address: what its entry says then."""
    bid = [*THREE][slot]
    at = subject.arena.unmapped(64) if addr < 0 else addr
    shelf.group.memory.write(slot, at, 64, bid)
    return (at, 64, bid)


@each_ring
@each_slot
@each_place
def test_a_receive_leaves_all_as_it_was(
    ring: Subject, make_wire: Callable[..., Wire], addr: int, slot: int, flags: int
) -> None:
    """192 bytes for three buffers, one of them nowhere: -EFAULT alone, no head moves and no byte is taken; with the entry put
    right the same three get the same bytes.

    46800585ae04 looks at all addresses before the first byte; before, the copy fails, and the stream keeps what it had.
    io_ring_buffers_peek(), io_recv(): io_kbuf_recycle()
    """
    shelf, wire = Shelf(ring, THREE, flags=flags), make_wire()
    good = shelf.group.entry(slot)
    bad = spoil(ring, shelf, slot, addr)
    wire.feed(incoming(0, 192))
    shelf.queue(c.IORING_OP_RECV, wire.near, length=192, ioprio=BUNDLE)
    found = shelf.to_the_end()

    assert [(reply.res, reply.bid, reply.more, reply.buf_more) for reply in found] == [
        (-errno.EFAULT, None, False, False)
    ]
    assert (shelf.head(), wire.unread(), shelf.group.entry(slot)) == (0, 192, bad)

    shelf.group.memory.write(slot, *good)
    shelf.queue(c.IORING_OP_RECV, wire.near, length=192, ioprio=BUNDLE)

    assert shelf.to_the_end() == [Reply(res=192, bid=9)]
    assert shelf.written() == spread(THREE, (64, 64, 64))
    assert shelf.head() == 3


@each_slot
@each_place
def test_a_send_has_used_up_what_it_selected(
    ring: Subject, make_wire: Callable[..., Wire], profile: Profile, addr: int, slot: int
) -> None:
    """Three buffers, one of them nowhere: -EFAULT with the first bid, no F_MORE, nothing is sent and all three are gone.

    Where addresses are looked at first, one of the kernel's is -EFAULT before anything is selected.
    io_buffers_select(), io_send_finish(). Fixed by 46800585ae04 (7.2).
    """
    refused = addr == NOWHERE["kernel"] and bool(profile.traits & {"bad_addr_is_enobufs", "bad_addr_refused"})
    shelf, wire = Shelf(ring, THREE), make_wire()
    shelf.load()
    spoil(ring, shelf, slot, addr)
    shelf.queue(c.IORING_OP_SEND, wire.near, ioprio=BUNDLE)

    assert shelf.to_the_end() == [Reply(res=-errno.EFAULT, bid=None if refused else 9)]
    assert (shelf.head(), wire.received()) == (0 if refused else 3, b"")


@each_ring
@pytest.mark.parametrize("length", [0, 1, 100], ids=["no_length", "a_byte", "within_the_second"])
def test_nothing_to_receive(ring: Subject, wire: Wire, profile: Profile, length: int, flags: int) -> None:
    """MSG_DONTWAIT, and nothing there: -EAGAIN alone; head and entries are as they were, and the next receive has the first.

    A length that ends within a buffer must not shorten its entry. io_ring_buffers_peek(). Fixed by 70f4886bcbb9 (6.12.94, 7.1-rc).
    """
    shelf = Shelf(ring, THREE, flags=flags)
    shelf.queue(c.IORING_OP_RECV, wire.near, length=length, ioprio=BUNDLE, msg_flags=socket.MSG_DONTWAIT)
    bid = None if "dontwait_keeps_buffer" in profile.traits else 9

    assert shelf.to_the_end() == [Reply(res=-errno.EAGAIN, bid=bid)]
    assert (shelf.head(), shelf.rests()) == (0, [Rest(bid, 0, 64) for bid in THREE])

    wire.feed(incoming(0, 64))
    shelf.queue(c.IORING_OP_RECV, wire.near, length=64, ioprio=BUNDLE)

    assert shelf.to_the_end() == [Reply(res=64, bid=9)]
    assert shelf.written() == spread(THREE, (64,))
