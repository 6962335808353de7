"""Requests of a ring that polls disks (IORING_SETUP_IOPOLL) which find no buffer, or a file that cannot be polled."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace

import pytest

from ringrig.model.course import expect
from ringrig.model.params import ops
from ringrig.model.profiles import Profile
from ringrig.model.scene import Scene
from ringrig.model.subject import Subject
from ringrig.model.transfer import Buffer, Issue, Kind, Op, Reply, Result, Source, Stock, Transfer
from ringrig.uring import consts as c

pytestmark = [pytest.mark.needs("iopoll"), pytest.mark.ends_within(3)]

THREE = tuple(Buffer(bid=bid) for bid in (9, 0, 0x8000))
BARE = {"no_group": None, "empty_ring": Stock(kind=Kind.RING), "empty_list": Stock(kind=Kind.LEGACY)}
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
each_issue = pytest.mark.parametrize("issue", Issue, ids=lambda issue: issue.value)
each_read = pytest.mark.parametrize("op", ops([Op.READ, Op.READV]))


@pytest.fixture
def polling(make_ring: Callable[..., Subject], profile: Profile) -> Callable[[Stock | None], Scene]:
    """A Scene on a ring that polls disks. Its look for what is left takes buffers by reads that fail, and report them."""
    return lambda stock: Scene(make_ring(flags=c.IORING_SETUP_IOPOLL), stock, profile.traits)


@each_read
@each_issue
@pytest.mark.parametrize("stock", BARE.values(), ids=BARE)
@pytest.mark.parametrize("source", [Source.ZERO, Source.PIPE], ids=["device", "pipe"])
def test_no_buffer(  # noqa: PLR0917
    polling: Callable[[Stock | None], Scene],
    profile: Profile,
    op: Op,
    issue: Issue,
    stock: Stock | None,
    source: Source,
) -> None:
    """READ and READV of no group, or one without buffers: -ENOBUFS, as anywhere else, though the file cannot be polled.

    __io_read(): io_buffer_select() comes before io_rw_init_file()
    """
    call = Transfer(op=op, issue=issue, source=source, length=8, ready=8)

    got = polling(stock).run(call)

    assert got == expect(call, stock, profile.traits)
    assert [reply.res for reply in got.replies] == [-errno.ENOBUFS]


FILES = {
    "device": (Source.ZERO, Source.WRITE_ONLY),
    "file": (Source.FILE, Source.WRITE_ONLY),
    "pipe": (Source.PIPE, Source.WRITE_END),
}
"""A file, and one of its sort that io_rw_init_file() refuses on any ring, as it cannot be read: -EBADF."""


@each_read
@each_issue
@each_kind
@pytest.mark.parametrize("source, refused", FILES.values(), ids=FILES)
def test_a_file_that_cannot_be_polled(  # noqa: PLR0917
    polling: Callable[[Stock | None], Scene],
    profile: Profile,
    op: Op,
    issue: Issue,
    kind: Kind,
    source: Source,
    refused: Source,
) -> None:
    """READ and READV of a device, a regular file, a pipe: -EOPNOTSUPP after the selection. What is committed as it is selected is
    reported and gone, and so is a provided buffer; else a ring's goes back, where reads that fail do that.

    io_rw_init_file(); io_read(): io_kbuf_recycle()
    """
    stock = Stock(kind=kind, buffers=THREE)
    call = Transfer(op=op, issue=issue, source=source, length=8, ready=8)
    want = expect(replace(call, source=refused), stock, profile.traits)

    got = polling(stock).run(call)

    replies = tuple(replace(reply, res=-errno.EOPNOTSUPP) for reply in want.replies)
    assert got == replace(want, replies=replies)


@each_issue
@each_kind
@pytest.mark.parametrize("op", ops(op for op in Op if op not in {Op.READ, Op.READV}))
def test_an_operation_that_cannot_be_polled(
    polling: Callable[[Stock | None], Scene], op: Op, issue: Issue, kind: Kind, profile: Profile
) -> None:
    """READ_MULTISHOT and what sends and receives: -EINVAL before anything is looked at, of no buffer; all stay, the data too.

    io_init_req(): io_issue_defs[].iopoll
    """
    stock = Stock(kind=kind, buffers=THREE)

    got = polling(stock).run(Transfer(op=op, issue=issue, ready=8))

    assert got == Result(
        replies=(Reply(res=-errno.EINVAL),),
        left=tuple(buffer.bid for buffer in THREE),
        head=0 if kind is Kind.RING and "pbuf_status" in profile.traits else None,
    )
