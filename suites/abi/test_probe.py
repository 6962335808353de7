"""What IORING_REGISTER_PROBE says of the operations that take provided buffers, or give and take them back."""

from __future__ import annotations

import pytest

from ringrig.model.subject import Subject
from ringrig.uring import consts as c
from ringrig.uring.structs import io_uring_probe

OPS = {
    "provide_buffers": c.IORING_OP_PROVIDE_BUFFERS,
    "remove_buffers": c.IORING_OP_REMOVE_BUFFERS,
    "read": c.IORING_OP_READ,
    "readv": c.IORING_OP_READV,
    "recv": c.IORING_OP_RECV,
    "recvmsg": c.IORING_OP_RECVMSG,
    "send": c.IORING_OP_SEND,
    "read_multishot": pytest.param(c.IORING_OP_READ_MULTISHOT, marks=pytest.mark.needs("read_multishot")),
}


@pytest.mark.parametrize("opcode", OPS.values(), ids=OPS)
def test_an_operation_is_said_to_be_supported(ring: Subject, opcode: int) -> None:
    """IO_URING_OP_SUPPORTED, and nothing else. io_probe(), io_uring_op_supported()"""
    told = io_uring_probe()

    assert ring.ring.register(c.IORING_REGISTER_PROBE, told, 256) == 0

    assert told.last_op >= opcode
    assert (told.ops[opcode].op, told.ops[opcode].flags) == (opcode, c.IO_URING_OP_SUPPORTED)
