"""Every operation that selects buffers, on the ring of a 32-bit program."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from ringrig.model.course import expect, meaningless
from ringrig.model.params import ops
from ringrig.model.profiles import Profile
from ringrig.model.scene import Afterwards, Scene
from ringrig.model.subject import Subject
from ringrig.model.transfer import Buffer, Issue, Kind, Op, Stock, Then, Transfer
from ringrig.uring.group import legacy, remove_legacy

pytestmark = [pytest.mark.needs("compat32"), pytest.mark.ends_within(3)]

BUFFERS = tuple(Buffer(bid=bid) for bid in (41, 7, 0xFFFF, 3))


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("issue", Issue, ids=lambda issue: issue.value)
@pytest.mark.parametrize("op", ops())
def test_an_operation_takes_the_first_buffer(
    make_scene: Callable[[Stock | None], Scene], profile: Profile, op: Op, issue: Issue, kind: Kind
) -> None:
    """40 bytes are ready: the first buffer gets them, head, flags and payload as for a 64-bit program.

    io_buffer_select() and its callers know nothing of ctx->compat.
    """
    call = Transfer(
        op=op, issue=issue, length=0 if op.multishot else 64, ready=40, then=(Then.CANCEL,) * op.multishot
    )
    stock = Stock(kind=kind, buffers=BUFFERS)
    if why := meaningless(call, stock, profile.traits):
        pytest.skip(why)
    scene = make_scene(stock)

    got = scene.run(call)

    assert got == expect(call, stock, profile.traits)
    assert scene.afterwards() == Afterwards()


def test_provided_buffers_are_counted(ring: Subject) -> None:
    """PROVIDE_BUFFERS and REMOVE_BUFFERS: buffers in, as many out, then an empty group; of no group -ENOENT.

    io_provide_buffers_prep() reads an SQE, which is the same for everyone.
    """
    page = ring.arena.anon(1)
    assert remove_legacy(ring.ring, bgid=900, count=1) == -errno.ENOENT
    for count, bid in ((3, 0), (1, 65535), (2, 7)):
        assert legacy(ring.ring, bgid=900, addr=page, count=count, bid=bid) == 0

    assert [remove_legacy(ring.ring, bgid=900, count=4) for _ in range(3)] == [4, 2, 0]
