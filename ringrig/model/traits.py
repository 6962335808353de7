"""Traits: independent, named facts about what a kernel's provided buffers do, and where each came from.

A version number is no trait: stable kernels and distributions mix them. Which kernel must have which is
pinned by the profiles (profiles/*.toml); experiments.py finds out which a kernel has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait:
    """`since`: first versions that have it; `until`: first versions that no longer do."""

    name: str
    says: str
    where: str
    commit: str = ""
    since: tuple[str, ...] = ()
    until: tuple[str, ...] = ()


_KBUF = "io_uring/kbuf.c"
_RFC = "the RFC of April 2022"

TRAITS: dict[str, Trait] = {
    trait.name: trait
    for trait in (
        Trait(
            name="pbuf_mmap",
            says="IOU_PBUF_RING_MMAP: the kernel allocates the ring and the application maps it",
            where=f"{_KBUF} io_register_pbuf_ring()",
            commit="c56e022c0a27",
            since=("6.4",),
        ),
        Trait(
            name="pbuf_inc",
            says="IOU_PBUF_RING_INC: buffers are consumed incrementally",
            where=f"{_KBUF} io_register_pbuf_ring(), io_kbuf_inc_commit()",
            commit="ae98dbf43d75",
            since=("6.12",),
        ),
        Trait(
            name="pbuf_min_left",
            says="io_uring_buf_reg.min_left exists; UNREGISTER_PBUF_RING ignores it (it was a reserved word)",
            where=f"{_KBUF} io_register_pbuf_ring()",
            commit="7deba791ad49",
            since=("7.1", "6.12.90"),
        ),
        Trait(
            name="pbuf_status",
            says="IORING_REGISTER_PBUF_STATUS returns the head of a buffer ring",
            where=f"{_KBUF} io_register_pbuf_status()",
            commit="d293b1a89694",
            since=("6.8",),
        ),
        Trait(
            name="registered_ring_fd",
            says="IORING_REGISTER_USE_REGISTERED_RING: io_uring_register() takes a registered ring's index",
            where="io_uring/register.c io_uring_register()",
            commit="7d3fd88d61a4",
            since=("6.3",),
        ),
        Trait(
            name="addr_checked_last",
            says="ring_addr is looked at after the entries, min_left and the existing group",
            where="io_uring/memmap.c io_create_region()",
            commit="ef62de3c4ad5",
            since=("6.14",),
        ),
        Trait(
            name="mmap_addr_ignored",
            says="IOU_PBUF_RING_MMAP with a ring_addr is accepted and the address ignored (before: -EINVAL)",
            where=f"{_KBUF} io_register_pbuf_ring()",
            commit="ef62de3c4ad5",
            since=("6.14",),
        ),
        Trait(
            name="low_bgids_stay",
            says="groups 0..63 sit in an array: once it is there each exists for good, as an empty list",
            where=f"{_KBUF} io_init_bl_list(), io_buffer_get_list()",
            commit="9cfc7e94e42b",
            since=("5.19",),
            until=("6.10 by 09ab7eff3820",),
        ),
        Trait(
            name="stale_head",
            says="a ring registered again under an id below 64 begins where the old ring's head was (a bug)",
            where=f"{_KBUF} io_register_pbuf_ring(), io_unregister_pbuf_ring()",
            until=("6.10 by 09ab7eff3820",),
        ),
        Trait(
            name="failed_upgrade_drops_group",
            says="registering over an emptied legacy group destroys it before the memory is looked at",
            where=f"{_KBUF} io_register_pbuf_ring()",
            commit="8802766324e1",
            since=("6.14", "6.12.16"),
        ),
        Trait(
            name="file_memory_refused",
            says="ring memory of a file that is not shmem or hugetlbfs is -EOPNOTSUPP, of two files -EINVAL",
            where="io_uring/rsrc.c io_pin_pages()",
            since=("5.1",),
            until=("6.5 by 34ed8d0dcd69",),
        ),
        Trait(
            name="range_checked",
            says="a ring whose last page ends at 2^64 is -EOVERFLOW (without: -ENOMEM, for more pages than can be)",
            where="io_uring/rsrc.c, later memmap.c, io_pin_pages()",
            since=("6.1 after 6.1.176",),
        ),
        Trait(
            name="dirty_tracked_memory_refused",
            says="a shared mapping of a file whose dirt is tracked cannot be pinned for long: -EFAULT",
            where="mm/gup.c writable_file_mapping_allowed()",
            commit="8ac268436e6d",
            since=("6.5",),
        ),
        Trait(
            name="queue_memory_pinnable",
            says="the mapping of an io_uring's own queues can be pinned, so a buffer ring may lie in it",
            where="io_uring/memmap.c io_uring_mmap_pages()",
            commit="3ab1db3c6039",
            since=("6.10",),
        ),
        Trait(
            name="blind_fd",
            says="fd -1 means no ring: -EINVAL for the buffer ring operations (before: -EBADF)",
            where="io_uring/register.c io_uring_register_blind()",
            commit="a377132154ab",
            since=("6.13",),
        ),
        Trait(
            name="mmap_refusal_is_einval",
            says="mmap() at the offset of a group that has nothing to map is -EINVAL (before: -ENOMEM)",
            where="io_uring/memmap.c io_uring_get_unmapped_area()",
        ),
        Trait(
            name="task_restrictions",
            says="IORING_REGISTER_RESTRICTIONS on fd -1 restricts the task, its later rings included",
            where="io_uring/register.c io_register_restrictions_task()",
            commit="ed82f35b926b",
            since=("7.0",),
        ),
        Trait(
            name="blind_calls_restricted",
            says="a call on fd -1 that the task's restrictions do not list is -EACCES (before: -EINVAL)",
            where="io_uring/register.c io_uring_register_blind()",
            since=("7.3",),
        ),
        Trait(
            name="register_restrictions_apart",
            says="restrictions that name SQE operations only leave the register operations free",
            where="io_uring/register.c io_parse_restrictions()",
            since=("7.0",),
        ),
        Trait(
            name="rfc_layout",
            says="the producer's index is a u32 in a 16-byte header, entries begin at 16, 16 + 16 * n bytes are pinned",
            where=f"{_RFC}: include/uapi/linux/io_uring.h struct io_uring_buf_ring",
            until=("5.19",),
        ),
        Trait(
            name="producer_cleared",
            says="registering sets the producer's index to 0: what was published before is gone",
            where=f"{_RFC}: io_register_pbuf_ring()",
            until=("5.19",),
        ),
        Trait(
            name="entries_unbounded",
            says="any power of two of entries is taken, 65536 and more too",
            where=f"{_RFC}: io_register_pbuf_ring()",
            until=("5.19",),
        ),
        Trait(
            name="upgrade_refused",
            says="a group that exists in any form is -EEXIST, a legacy group without buffers too",
            where=f"{_RFC}: io_register_pbuf_ring()",
            until=("5.19",),
        ),
        Trait(
            name="bgid_32_bits",
            says="io_uring_buf_reg.bgid is a u32: what became `flags` is its upper half",
            where=f"{_RFC}: include/uapi/linux/io_uring.h struct io_uring_buf_reg",
            until=("5.19",),
        ),
        Trait(
            name="send_select",
            says="SEND takes IOSQE_BUFFER_SELECT",
            where="io_uring/opdef.c io_issue_defs[]",
            commit="ac5f71a3d9d7",
            since=("6.10",),
        ),
        Trait(
            name="read_multishot",
            says="IORING_OP_READ_MULTISHOT exists",
            where="io_uring/rw.c io_read_mshot()",
            commit="fc68fcda0491",
            since=("6.7",),
        ),
        Trait(
            name="recv_multishot",
            says="IORING_RECV_MULTISHOT: RECV and RECVMSG go on, with a buffer for each completion",
            where="io_uring/net.c io_recv_finish()",
            commit="b3fdea6ecb55",
            since=("6.0",),
        ),
        Trait(
            name="zero_length_stays",
            says="a length of 0 in the SQE selects 0 bytes of the ring's buffer (merged: the whole buffer)",
            where=f"{_RFC}: io_ring_buffer_select()",
            until=("5.19",),
        ),
        Trait(
            name="null_addr_tried",
            says="a buffer at address 0 is tried: -EFAULT (merged: it is no buffer, -ENOBUFS)",
            where=f"{_RFC}: io_buffer_select()",
            until=("5.19",),
        ),
        Trait(
            name="bad_addr_refused",
            says="an entry of a ring that lies in the kernel's half is -EFAULT at its selection, and stays",
            where=f"{_RFC}, reviewed: io_ring_buffer_select()",
        ),
        Trait(
            name="null_addr_recycled",
            says="RECV puts a buffer at address 0 back, as after any failure",
            where="io_uring/net.c io_recv()",
        ),
        Trait(
            name="bad_addr_is_enobufs",
            says="an entry of a ring that fails access_ok() is no buffer: -ENOBUFS, and stays (SEND: -EFAULT)",
            where=f"{_KBUF} io_ring_buffer_select(), io_ring_buffers_peek()",
            since=("7.2 or before",),
        ),
        Trait(
            name="read_error_keeps_ring_buffer",
            says="a READ that fails on a file that can be polled gives its ring's buffer back",
            where="io_uring/rw.c io_read()",
            since=("6.18", "6.12.117 or before"),
        ),
        Trait(
            name="dontwait_keeps_buffer",
            says="RECV with MSG_DONTWAIT and nothing to receive gives its buffer back",
            where="io_uring/net.c io_recv()",
            since=("6.18", "6.12.117 or before"),
        ),
        Trait(
            name="poll_arm_returns_legacy_buffer",
            says="a READ gives its legacy buffer back while it waits for poll (later: keeps it)",
            where="io_uring/poll.c io_arm_poll_handler()",
            until=("6.18", "6.12.117 or before"),
        ),
        Trait(
            name="waiting_readv_keeps_buffer",
            says="a READV holds its buffer while it waits for poll, and a ring's is gone at once",
            where="io_uring/rw.c io_read(): REQ_F_PARTIAL_IO, as only READ is left to poll",
        ),
        Trait(
            name="async_readv_selects_early",
            says="an IOSQE_ASYNC READV tries a selection as it is submitted, and gives the buffer back",
            where="io_uring/rw.c io_readv_prep_async(), io_uring/io_uring.c io_req_prep_async()",
        ),
        Trait(
            name="pipe_nowait_refused",
            says="a READ of a pipe with RWF_NOWAIT is -EOPNOTSUPP",
            where="fs/pipe.c: no FMODE_NOWAIT",
            until=("6.12.117 or before",),
        ),
        Trait(
            name="linked_async_inline",
            says="IOSQE_ASYNC of a request that is linked behind another is not heeded",
            where="io_uring/io_uring.c io_req_task_submit()",
            until=("6.12.117 or before",),
        ),
        Trait(
            name="woken_run_backwards",
            says="of requests that were woken before anybody ran them, the last one woken runs first",
            where="io_uring/io_uring.c __io_run_local_work(), tctx_task_work()",
            until=("6.12.117 or before",),
        ),
        Trait(
            name="multishot_unlimited",
            says="a multishot receive goes on while there is data (later: gives way to others after 33 rounds)",
            where="io_uring/net.c io_recv_finish()",
            until=("6.12.117 or before",),
        ),
        Trait(
            name="multishot_in_io_wq",
            says="io-wq runs multishot receives itself, and its last, empty attempt takes a buffer of a ring",
            where="io_uring/io_uring.c io_wq_submit_work()",
        ),
        Trait(
            name="multishot_length",
            says="a multishot RECV takes a length, of which each completion has no more (before: -EINVAL)",
            where="io_uring/net.c io_recvmsg_prep(), io_mshot_prep_retry()",
            since=("6.17",),
        ),
        Trait(
            name="waiting_length_sticks",
            says="a READ or RECV that waited takes no more than the buffer would have held that was first as it began to (a bug)",
            where="io_uring/rw.c __io_import_iovec(): rw->len, io_uring/net.c io_recv_buf_select(): sr->len",
        ),
        Trait(
            name="receive_length_sticks",
            says="a RECV that tries again, or goes on, gets no more than its earlier, shorter buffer would have held",
            where="io_uring/net.c io_recv(): sr->len = len",
            since=("6.0",),
            until=("6.12 or before",),
        ),
        Trait(
            name="send_bundle_alone",
            says="IORING_RECVSEND_BUNDLE makes a SEND go on that selects nothing: again, of length 0 (before: -EINVAL)",
            where="io_uring/net.c io_sendmsg_prep(), io_send_finish()",
            since=("6.18 or before",),
        ),
        Trait(
            name="unix_inq",
            says="AF_UNIX streams count what is queued, so IORING_CQE_F_SOCK_NONEMPTY tells",
            where="net/unix/af_unix.c unix_stream_read_generic()",
            commit="df30285b3670",
            since=("6.17",),
        ),
        Trait(
            name="rings_are_locked_memory",
            says="a buffer ring counts as locked memory of the user (RLIMIT_MEMLOCK)",
            where="io_uring/memmap.c io_create_region(): ctx->user",
        ),
        Trait(
            name="compat_length_unsigned",
            says="a 32-bit program's iov_len may have its sign bit set where a buffer is selected (others: -EINVAL)",
            where="io_uring/rw.c io_iov_compat_buffer_select_prep(), io_uring/net.c io_compat_msg_copy_hdr()",
            since=("6.15",),
        ),
    )
}


def unknown(names: Iterable[str]) -> list[str]:
    """Names that no trait has."""
    return sorted(set(names) - TRAITS.keys())
