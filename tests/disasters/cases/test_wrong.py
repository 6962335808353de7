"""What `rig explain` is shown: a case that wants of the kernel what it does not give, and its other parametrizations."""

import errno

import pytest

from ringrig.uring import consts as c
from ringrig.uring.memory import Arena
from ringrig.uring.ring import Ring
from ringrig.uring.structs import io_uring_buf_reg


@pytest.mark.parametrize("beyond", [0, 8], ids=["at_a_page", "within_a_page"])
def test_any_address_will_do(beyond: int) -> None:
    """io_register_pbuf_ring() wants a page's beginning: one of the two fails on every kernel."""
    with Ring() as ring:
        wanted = io_uring_buf_reg(ring_addr=Arena().map(8192) + beyond, ring_entries=8, bgid=1)
        res = ring.register(c.IORING_REGISTER_PBUF_RING, wanted, 1)

    assert res == 0, f"PBUF_RING: got -{errno.errorcode.get(-res)}, want 0"
