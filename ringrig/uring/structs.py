"""The structures of include/uapi/linux/io_uring.h, with the kernel's field names and layout; rfc_*: of the RFC's."""

from __future__ import annotations

from ctypes import (
    Array,
    Structure,
    Union,
    c_int32,
    c_int64,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
)


class io_sqring_offsets(Structure):
    head: int
    tail: int
    ring_mask: int
    ring_entries: int
    flags: int
    dropped: int
    array: int
    resv1: int
    user_addr: int
    _fields_ = (
        *((name, c_uint32) for name in ("head", "tail", "ring_mask", "ring_entries")),
        *((name, c_uint32) for name in ("flags", "dropped", "array", "resv1")),
        ("user_addr", c_uint64),
    )


class io_cqring_offsets(Structure):
    head: int
    tail: int
    ring_mask: int
    ring_entries: int
    overflow: int
    cqes: int
    flags: int
    resv1: int
    user_addr: int
    _fields_ = (
        *((name, c_uint32) for name in ("head", "tail", "ring_mask", "ring_entries")),
        *((name, c_uint32) for name in ("overflow", "cqes", "flags", "resv1")),
        ("user_addr", c_uint64),
    )


class io_uring_params(Structure):
    """120 bytes; io_uring_setup() reads it and writes it back."""

    sq_entries: int
    cq_entries: int
    flags: int
    sq_thread_cpu: int
    sq_thread_idle: int
    features: int
    wq_fd: int
    resv: Array[c_uint32]
    sq_off: io_sqring_offsets
    cq_off: io_cqring_offsets
    _fields_ = (
        *((name, c_uint32) for name in ("sq_entries", "cq_entries", "flags", "sq_thread_cpu")),
        *((name, c_uint32) for name in ("sq_thread_idle", "features", "wq_fd")),
        ("resv", c_uint32 * 3),
        ("sq_off", io_sqring_offsets),
        ("cq_off", io_cqring_offsets),
    )


class _sqe_off(Union):
    _fields_ = (("off", c_uint64), ("addr2", c_uint64))


class _sqe_addr(Union):
    _fields_ = (("addr", c_uint64), ("splice_off_in", c_uint64))


class _sqe_op_flags(Union):
    _fields_ = (
        ("rw_flags", c_uint32),
        ("msg_flags", c_uint32),
        ("poll32_events", c_uint32),
        ("timeout_flags", c_uint32),
        ("cancel_flags", c_uint32),
    )


class _sqe_buf(Union):
    _fields_ = (("buf_index", c_uint16), ("buf_group", c_uint16))


class _sqe_file(Union):
    _fields_ = (("splice_fd_in", c_int32), ("file_index", c_uint32), ("optlen", c_uint32))


class io_uring_sqe(Structure):
    """64 bytes; with IORING_SETUP_SQE128 the ring's stride is 128 and the second half is the command's."""

    opcode: int
    flags: int
    ioprio: int
    fd: int
    off: int
    addr2: int
    addr: int
    len: int
    rw_flags: int
    msg_flags: int
    poll32_events: int
    timeout_flags: int
    cancel_flags: int
    user_data: int
    buf_index: int
    buf_group: int
    personality: int
    splice_fd_in: int
    file_index: int
    optlen: int
    addr3: int
    __pad2: int
    _anonymous_ = ("_off", "_addr", "_op_flags", "_buf", "_file")
    _fields_ = (
        ("opcode", c_uint8),
        ("flags", c_uint8),
        ("ioprio", c_uint16),
        ("fd", c_int32),
        ("_off", _sqe_off),
        ("_addr", _sqe_addr),
        ("len", c_uint32),
        ("_op_flags", _sqe_op_flags),
        ("user_data", c_uint64),
        ("_buf", _sqe_buf),
        ("personality", c_uint16),
        ("_file", _sqe_file),
        ("addr3", c_uint64),
        ("__pad2", c_uint64),
    )


class io_uring_cqe(Structure):
    """16 bytes; with IORING_SETUP_CQE32 the stride is 32."""

    user_data: int
    res: int
    flags: int
    _fields_ = (("user_data", c_uint64), ("res", c_int32), ("flags", c_uint32))


class io_uring_buf(Structure):
    """16 bytes, one entry of a buffer ring; `resv` of entry 0 is the ring's tail."""

    addr: int
    len: int
    bid: int
    resv: int
    _fields_ = (("addr", c_uint64), ("len", c_uint32), ("bid", c_uint16), ("resv", c_uint16))


class rfc_io_uring_buf(Structure):
    """16 bytes, one entry of the RFC's buffer ring; entry 0 is an ordinary one."""

    addr: int
    len: int
    bid: int
    _fields_ = (("addr", c_uint64), ("len", c_uint32), ("bid", c_uint32))


class io_uring_buf_reg(Structure):
    """40 bytes, argument of IORING_(UN)REGISTER_PBUF_RING.

    Kernels without IOU_PBUF_RING_MMAP call `flags` `pad`; those without min_left begin resv there. In the RFC
    `flags` is the upper half of a u32 bgid.
    """

    ring_addr: int
    ring_entries: int
    bgid: int
    flags: int
    min_left: int
    resv: Array[c_uint32]
    _fields_ = (
        ("ring_addr", c_uint64),
        ("ring_entries", c_uint32),
        ("bgid", c_uint16),
        ("flags", c_uint16),
        ("min_left", c_uint32),
        ("resv", c_uint32 * 5),
    )


class io_uring_buf_status(Structure):
    """40 bytes, argument of IORING_REGISTER_PBUF_STATUS; `head` is written by the kernel."""

    buf_group: int
    head: int
    resv: Array[c_uint32]
    _fields_ = (("buf_group", c_uint32), ("head", c_uint32), ("resv", c_uint32 * 8))


class io_uring_restriction(Structure):
    """16 bytes; `register_op` is also sqe_op and sqe_flags (a union of single bytes)."""

    opcode: int
    register_op: int
    resv: int
    resv2: Array[c_uint32]
    _fields_ = (("opcode", c_uint16), ("register_op", c_uint8), ("resv", c_uint8), ("resv2", c_uint32 * 3))


class io_uring_task_restriction(Structure):
    """16 bytes, followed by `nr_res` io_uring_restriction; IORING_REGISTER_RESTRICTIONS on fd -1."""

    flags: int
    nr_res: int
    resv: Array[c_uint32]
    _fields_ = (("flags", c_uint16), ("nr_res", c_uint16), ("resv", c_uint32 * 3))


class io_uring_rsrc_update(Structure):
    """16 bytes, argument of IORING_(UN)REGISTER_RING_FDS, where offset -1 asks for any free slot, and of
    IORING_REGISTER_FILES_UPDATE, where `data` is the address of descriptors."""

    offset: int
    resv: int
    data: int
    _fields_ = (("offset", c_uint32), ("resv", c_uint32), ("data", c_uint64))


class io_uring_probe_op(Structure):
    op: int
    resv: int
    flags: int
    resv2: int
    _fields_ = (("op", c_uint8), ("resv", c_uint8), ("flags", c_uint16), ("resv2", c_uint32))


class io_uring_probe(Structure):
    """IORING_REGISTER_PROBE writes it; nr_args is the room in `ops`, at most 256."""

    last_op: int
    ops_len: int
    resv: int
    resv2: Array[c_uint32]
    ops: Array[io_uring_probe_op]
    _fields_ = (
        ("last_op", c_uint8),
        ("ops_len", c_uint8),
        ("resv", c_uint16),
        ("resv2", c_uint32 * 3),
        ("ops", io_uring_probe_op * 256),
    )


class kernel_timespec(Structure):
    """struct __kernel_timespec"""

    tv_sec: int
    tv_nsec: int
    _fields_ = (("tv_sec", c_int64), ("tv_nsec", c_int64))


class io_uring_sync_cancel_reg(Structure):
    """64 bytes, argument of IORING_REGISTER_SYNC_CANCEL; `timeout` -1, -1: none. `opcode` since 6.6."""

    addr: int
    fd: int
    flags: int
    timeout: kernel_timespec
    opcode: int
    _fields_ = (
        ("addr", c_uint64),
        ("fd", c_int32),
        ("flags", c_uint32),
        ("timeout", kernel_timespec),
        ("opcode", c_uint8),
        ("pad", c_uint8 * 7),
        ("pad2", c_uint64 * 3),
    )


class io_uring_getevents_arg(Structure):
    """Argument of io_uring_enter() with IORING_ENTER_EXT_ARG; `ts` points to a kernel_timespec."""

    sigmask: int
    sigmask_sz: int
    min_wait_usec: int
    ts: int
    _fields_ = (
        ("sigmask", c_uint64),
        ("sigmask_sz", c_uint32),
        ("min_wait_usec", c_uint32),
        ("ts", c_uint64),
    )
