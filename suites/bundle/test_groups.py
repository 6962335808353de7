"""Whose buffers a bundle takes: those of the group that it names, whatever the number."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.model.shelf import to_the_end
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, incoming
from ringrig.uring import consts as c
from ringrig.uring.group import Group, legacy, remove_legacy
from ringrig.uring.requests import selecting
from ringrig.uring.wire import Wire

pytestmark = [pytest.mark.needs("bundle"), pytest.mark.ends_within(3)]


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("bgid", [0, 0x7FFF, 0x8000, 0xFFFF], ids=["none", "largest_s16", "sign", "all_bits"])
@pytest.mark.parametrize("opcode", [c.IORING_OP_RECV, c.IORING_OP_SEND], ids=["recv", "send"])
def test_a_group_of_any_number(
    ring: Subject, make_wire: Callable[..., Wire], opcode: int, bgid: int, kind: Kind
) -> None:
    """Two buffers of 64 bytes in the group, and in two others: a SEND takes both, a RECV of 64 bytes the first.

    The number has 16 bits and no sign. io_buffers_select(), io_buffers_peek(): req->buf_index
    """
    wire, groups = make_wire(), []
    for each in (bgid, bgid ^ 0x8000, bgid ^ 1):
        group = Group(ring.ring, ring.arena, bgid=each)
        groups.append(group)
        if kind is Kind.RING:
            assert group.register() == 0
            ring.owns(each)
            group.publish(5, 6)
        else:
            assert legacy(ring.ring, bgid=each, addr=group.address_of(5), count=2, bid=5) == 0
    if opcode == c.IORING_OP_RECV:
        wire.feed(incoming(0, 64))

    selecting(ring.ring, opcode, wire.near, bgid=bgid).ioprio = c.IORING_RECVSEND_BUNDLE
    found = to_the_end(ring.ring)

    taken = 1 if opcode == c.IORING_OP_RECV else 2
    assert (found[0].bid, sum(reply.res for reply in found)) == (5, 64 * taken)
    if kind is Kind.RING:
        assert [group.head() for group in groups] == [taken, 0, 0]
    else:
        left = [remove_legacy(ring.ring, bgid=group.bgid, count=4) for group in groups]
        assert left == [2 - taken, 2, 2]
