"""A READ that completes later of a file that can be polled (FUSE, past the page cache): it waits for no poll, and yet is not done."""

from __future__ import annotations

import pytest

from ringrig.model.shelf import BGID, Shelf
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.fuse import FuseFile
from ringrig.uring.requests import selecting

pytestmark = [pytest.mark.needs("fuse_file"), pytest.mark.ends_within(3)]

SIZES = {5: 64, 2: 64, 9: 64}


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_two_on_their_way_have_two_buffers(ring: Subject, kind: Kind) -> None:
    """Two READs of 64 bytes each in one submission, of different parts of a file: two bids, and each buffer holds what it
    is told to.

    Live: io_read() takes IOU_ISSUE_SKIP_COMPLETE (-EIOCBQUEUED) for a failure, and gives the ring's buffer back while
    the file system still writes to it; nobody has reported it that we know of. Open.
    """
    shelf = Shelf(ring, SIZES, kind=kind)
    with FuseFile(incoming(0, 128)) as file:
        for offset in (0, 64):
            sqe = selecting(ring.ring, c.IORING_OP_READ, file.fd, bgid=BGID, length=64)
            sqe.off, sqe.user_data = offset, offset
        found = {cqe.user_data: Reply.of(cqe.res, cqe.flags) for cqe in ring.ring.complete(2)}

    bids = [found[offset].bid for offset in (0, 64)]
    assert bids == [5, 2], f"a READ that is on its way gave its buffer back: bids {bids}"
    assert [found[offset] for offset in (0, 64)] == [Reply(res=64, bid=5), Reply(res=64, bid=2)]
    assert shelf.written() == {5: incoming(0, 64), 2: incoming(64, 64)}
    assert shelf.left() == [(9, 64)]
