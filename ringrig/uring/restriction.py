"""Restrictions of a whole task, which it can never take off again: hence for children."""

from __future__ import annotations

import ctypes
import os
import struct
import traceback
from collections.abc import Callable

from ringrig.uring import consts as c
from ringrig.uring import libc
from ringrig.uring.structs import io_uring_restriction, io_uring_task_restriction

_NO_RING = 0xFFFFFFFF
_NR_PRCTL = 157
_PR_SET_NO_NEW_PRIVS = 38


def restrict_task(*restrictions: tuple[int, int]) -> int:
    """IORING_REGISTER_RESTRICTIONS for the calling task and its children: >= 0 or -errno.

    (IORING_RESTRICTION_*, operation or flags) pairs; -EINVAL or -EBADF before 7.0. Sets no_new_privs, which
    the call wants where there is no CAP_SYS_ADMIN. io_uring/register.c io_register_restrictions_task()
    """
    libc.syscall(_NR_PRCTL, _PR_SET_NO_NEW_PRIVS, 1)
    head = io_uring_task_restriction(nr_res=len(restrictions))
    table = b"".join(
        bytes(io_uring_restriction(opcode=kind, register_op=what)) for kind, what in restrictions
    )
    argument = ctypes.create_string_buffer(bytes(head) + table)
    return libc.io_uring_register(_NO_RING, c.IORING_REGISTER_RESTRICTIONS, ctypes.addressof(argument), 1)


def in_child(work: Callable[[], int]) -> int:
    """What `work` returns in a forked child; ChildProcessError, and its traceback on stderr, if nothing."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if not child:
        try:
            os.write(writer, struct.pack("<q", work()))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    answer = os.read(reader, 8)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    if len(answer) != 8:
        raise ChildProcessError(f"the child ended without an answer (wait status {status:#x})")
    return int(struct.unpack("<q", answer)[0])
