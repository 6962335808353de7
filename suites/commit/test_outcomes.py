"""How a transfer can end, and what becomes of its buffer: reported or not, gone or still to be had."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from ringrig.model.course import expect, meaningless
from ringrig.model.profiles import Profile
from ringrig.model.scene import Afterwards, Scene
from ringrig.model.transfer import Buffer, Issue, Kind, Op, Source, Stock, Then, Transfer
from ringrig.uring import consts as c

pytestmark = pytest.mark.ends_within(3)

BUFFERS = tuple(Buffer(bid=bid) for bid in (9, 0, 0x8000))

COMMON = {
    "data": Transfer(op=Op.READ, ready=40),
    "data_to_the_brim": Transfer(op=Op.READ, ready=64),
    "more_data_than_room": Transfer(op=Op.READ, ready=100),
    "end": Transfer(op=Op.READ, eof=True),
    "waits_for_data": Transfer(op=Op.READ, then=(Then.DATA,), more=40),
    "waits_for_the_end": Transfer(op=Op.READ, then=(Then.EOF,)),
    "waits_and_is_cancelled": Transfer(op=Op.READ, then=(Then.CANCEL,)),
    "waits_and_its_timeout_runs_out": Transfer(op=Op.READ, then=(Then.TIMEOUT,)),
    "linked_behind_a_failure": Transfer(op=Op.READ, ready=40, behind_failure=True),
    "closed_descriptor": Transfer(op=Op.READ, source=Source.CLOSED),
    "skips_its_completion": Transfer(op=Op.READ, ready=64, skip_success=True),
    "comes_short_in_spite_of_skipping": Transfer(op=Op.READ, ready=40, skip_success=True),
    "fails_in_spite_of_skipping": Transfer(op=Op.READ, source=Source.CLOSED, skip_success=True),
}
NOWAIT = {
    "may_not_wait_with_data": Transfer(op=Op.READ, ready=40, op_flags=c.RWF_NOWAIT),
    "may_not_wait": Transfer(op=Op.READ, op_flags=c.RWF_NOWAIT),
}
READS = {
    **COMMON,
    **NOWAIT,
    "not_open_for_reading": Transfer(op=Op.READ, source=Source.WRITE_END),
    "file_not_open_for_reading": Transfer(op=Op.READ, source=Source.WRITE_ONLY),
    "file": Transfer(op=Op.READ, source=Source.FILE, ready=100, length=48),
    "file_shorter_than_wanted": Transfer(op=Op.READ, source=Source.FILE, ready=20),
    "file_at_its_end": Transfer(op=Op.READ, source=Source.FILE),
    "device_without_poll": Transfer(op=Op.READ, source=Source.ZERO, length=24),
    "blocking_pipe_with_data": Transfer(op=Op.READ, source=Source.FIFO, ready=40),
    "blocking_pipe_waits_for_data": Transfer(op=Op.READ, source=Source.FIFO, then=(Then.DATA,), more=40),
    "blocking_pipe_waits_and_is_cancelled": Transfer(op=Op.READ, source=Source.FIFO, then=(Then.CANCEL,)),
}
RECEIVES = {
    **COMMON,
    "not_a_socket": Transfer(op=Op.RECV, source=Source.NOT_A_SOCKET),
    "dontwait_with_data": Transfer(op=Op.RECV, ready=40, op_flags=socket.MSG_DONTWAIT),
    "dontwait_without": Transfer(op=Op.RECV, op_flags=socket.MSG_DONTWAIT),
}
SENDS = {
    "room": Transfer(op=Op.SEND),
    "nobody_listens": Transfer(op=Op.SEND, eof=True),
    "closed_descriptor": Transfer(op=Op.SEND, source=Source.CLOSED),
    "not_a_socket": Transfer(op=Op.SEND, source=Source.NOT_A_SOCKET),
    "skips_its_completion": Transfer(op=Op.SEND, skip_success=True),
    "linked_behind_a_failure": Transfer(op=Op.SEND, behind_failure=True),
}
MULTISHOTS = {
    "data_in_two_waves": Transfer(op=Op.READ, ready=40, then=(Then.DATA, Then.CANCEL), more=30),
    "data_for_two_buffers": Transfer(op=Op.READ, ready=90, then=(Then.CANCEL,)),
    "more_data_than_buffers": Transfer(op=Op.READ, ready=300),
    "runs_out_later": Transfer(op=Op.READ, ready=90, then=(Then.DATA, Then.DATA), more=60),
    "end": Transfer(op=Op.READ, eof=True),
    "data_and_then_the_end": Transfer(op=Op.READ, ready=40, then=(Then.EOF,)),
    "nothing_and_is_cancelled": Transfer(op=Op.READ, then=(Then.CANCEL,)),
    "nothing_and_its_timeout_runs_out": Transfer(op=Op.READ, then=(Then.TIMEOUT,)),
    "linked_behind_a_failure": Transfer(op=Op.READ, ready=40, behind_failure=True),
    "closed_descriptor": Transfer(op=Op.READ, source=Source.CLOSED),
}
READ_MULTISHOTS = {
    **MULTISHOTS,
    "may_not_wait": NOWAIT["may_not_wait"],
    "blocking_pipe_with_data": Transfer(op=Op.READ, source=Source.FIFO, ready=40, then=(Then.CANCEL,)),
    "blocking_pipe_waits_for_data": Transfer(
        op=Op.READ, source=Source.FIFO, then=(Then.DATA, Then.CANCEL), more=40
    ),
    "blocking_pipe_waits_and_is_cancelled": Transfer(op=Op.READ, source=Source.FIFO, then=(Then.CANCEL,)),
    "device_without_poll": Transfer(op=Op.READ, source=Source.ZERO),
    "file": Transfer(op=Op.READ, source=Source.FILE, ready=40),
}
TABLES = [
    ((Op.READ, Op.READV), READS, ()),
    ((Op.RECV, Op.RECVMSG), RECEIVES, ()),
    ((Op.SEND,), SENDS, ("send_select",)),
    ((Op.READ_MULTISHOT,), READ_MULTISHOTS, ("read_multishot",)),
    ((Op.RECV_MULTISHOT, Op.RECVMSG_MULTISHOT), MULTISHOTS, ("recv_multishot",)),
]
CASES = [
    pytest.param(
        replace(call, op=op, issue=issue, length=0 if op.multishot else call.length or 64),
        id=f"{op.value}-{name}-{issue.value}",
        marks=[pytest.mark.needs(*needs)] if needs else [],
    )
    for ops, table, needs in TABLES
    for op, (name, call), issue in product(ops, table.items(), Issue)
    if not meaningless(replace(call, op=op, issue=issue), None, frozenset())
]


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("call", CASES)
def test_a_buffer_goes_or_stays(
    make_scene: Callable[[Stock | None], Scene], profile: Profile, call: Transfer, kind: Kind
) -> None:
    """Three buffers, one transfer that ends as its name says: completions, bytes, and the bids still to be had.

    io_put_kbuf(), io_kbuf_recycle(), io_kbuf_commit(); who calls them when is in the model (course.py).
    Fixed by d8e1dec2f860 (6.12.71).
    """
    stock = Stock(kind=kind, buffers=BUFFERS)
    if why := meaningless(call, stock, profile.traits):
        pytest.skip(why)
    scene = make_scene(stock)

    got = scene.run(call)

    assert got == expect(call, stock, profile.traits)
    assert scene.afterwards() == Afterwards()
