"""What is left of an incremental ring's buffers (IOU_PBUF_RING_INC), piece by piece."""

from __future__ import annotations

from collections.abc import Mapping

from ringrig.model.shelf import Rest
from ringrig.model.transfer import incoming


class Increments:
    """Buffers of `sizes` (bid: bytes), first to go first; io_uring/kbuf.c io_kbuf_inc_commit()."""

    def __init__(self, sizes: Mapping[int, int], *, min_left: int = 0) -> None:
        self._sizes, self._min_left = sizes, max(1, min_left)
        self._bids = list(sizes)
        self._used = dict.fromkeys(sizes, 0)
        self._gone: set[int] = set()
        self._stream = 0
        self.held: dict[int, bytearray] = {}
        """What each buffer holds, of one stream that went to all."""

    @property
    def head(self) -> int:
        return len(self._gone)

    @property
    def bid(self) -> int:
        """The buffer that the next piece goes to."""
        return self._bids[self.head]

    @property
    def room(self) -> int:
        """Bytes still to be had of it."""
        return self._sizes[self.bid] - self._used[self.bid]

    def take(self, length: int) -> bool:
        """`length` bytes of the stream go to buffer after buffer; is there more to come for the last (F_BUF_MORE)?

        A buffer is gone when less than min_left is left of it, and when nothing is.
        """
        while True:
            bid, piece = self.bid, min(length, self.room)
            self.held.setdefault(bid, bytearray()).extend(incoming(self._stream, piece))
            self._stream += piece
            length -= piece
            if self.room - piece >= self._min_left:
                self._used[bid] += piece
                return True
            self._gone.add(bid)
            if not length:
                return False

    def rests(self) -> list[Rest]:
        """What the ring's entries must say: one that is gone keeps its address and has length 0."""
        return [
            Rest(bid, self._used[bid], 0 if bid in self._gone else size - self._used[bid])
            for bid, size in self._sizes.items()
        ]

    def written(self) -> dict[int, bytes]:
        return {bid: bytes(held) for bid, held in self.held.items() if held}
