"""READ_MULTISHOT of a file whose reads could complete later: they must not, as one request has many of them."""

from __future__ import annotations

import pytest

from ringrig.model.shelf import Shelf, spread
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply, incoming
from ringrig.uring import consts as c
from ringrig.uring.fuse import FuseFile

pytestmark = [pytest.mark.needs("fuse_file", "read_multishot"), pytest.mark.ends_within(3)]


SIZES = {5: 64, 2: 64, 9: 64}
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)


def read_all(ring: Subject, length: int, kind: Kind) -> tuple[Shelf, list[Reply]]:
    """A file of that length, past the page cache, by FUSE: the completions."""
    shelf = Shelf(ring, SIZES, kind=kind)
    with FuseFile(incoming(0, length)) as file:
        shelf.queue(c.IORING_OP_READ_MULTISHOT, file.fd)
        return shelf, shelf.to_the_end()


@each_kind
def test_each_round_is_over_before_the_next(ring: Subject, kind: Kind) -> None:
    """128 bytes, buffers of 64: twice 64 with F_MORE, then the end, in this order.

    __io_read(): ki_complete is NULL for READ_MULTISHOT. Fixed by 67b0025d19f9 (6.12.17).
    """
    shelf, found = read_all(ring, 128, kind)

    assert found == [Reply(res=64, bid=5, more=True), Reply(res=64, bid=2, more=True), Reply(res=0)]
    assert shelf.written() == spread(SIZES, (64, 64))
    assert shelf.left() == [(9, 64)]


@each_kind
def test_a_short_round_is_told(ring: Subject, kind: Kind) -> None:
    """100 bytes: 64 and 36 with F_MORE, then the end.

    Live: __io_read() wants the rest of what a regular file gave in part, gets -EAGAIN, and io_read_mshot() gives the buffer
    back with 36 bytes in it that nobody is told of; nobody has reported it that we know of. Open.
    """
    shelf, found = read_all(ring, 100, kind)

    assert len(found) == 3, f"what a short round of READ_MULTISHOT got is lost: {found}"
    assert found == [Reply(res=64, bid=5, more=True), Reply(res=36, bid=2, more=True), Reply(res=0)]
    assert shelf.written() == spread(SIZES, (64, 36))
    assert shelf.left() == [(9, 64)]
