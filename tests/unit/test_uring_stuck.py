"""The report of a hang: what lockdep's table says of the locks that threads wait for."""

import os
import threading

import pytest

from ringrig.uring.stuck import Thread, Watched, diagnosis, name_holders, parse_held

# sysrq d on 6.1.192 with PROVE_LOCKING, while a case hung on the RFC's ring.
TABLE = """
Showing all locks held in the system:
1 lock held by python/33:
 #0: 0000000060675760 (rcu_read_lock){....}-{1:2}, at: debug_show_all_locks+0x5d/0x19a
1 lock held by case-7/36:
 #0: 000000007a3e4888 (&ctx->uring_lock){+.+.}-{3:3}, at: io_req_task_cancel+0x49/0x50
1 lock held by iou-wrk-36/37:
 #0: 000000007a3e4888 (&ctx->uring_lock){+.+.}-{3:3}, at: io_buffer_select+0x1ea/0x370

=============================================
"""
WAITING = "[<0>] __switch_to+0x50/0x80\n[<0>] schedule+0x69/0x140\n[<0>] __mutex_lock+0x32e/0x910\n[<0>] io_req_task_cancel+0x49/0x50\n"
IDLE = "[<0>] schedule_timeout+0xe7/0x1c0\n[<0>] io_wqe_worker+0x509/0x660\n"


def thread(tid, name, state, stack):
    return Thread(tid=tid, name=name, state=state, syscall="", stack=stack)


def test_the_table_is_read():
    """Task, lock, and the function that took it."""
    found = parse_held(TABLE)

    assert [(one.tid, one.lock, one.place) for one in found] == [
        (33, "rcu_read_lock", "debug_show_all_locks+0x5d/0x19a"),
        (36, "&ctx->uring_lock", "io_req_task_cancel+0x49/0x50"),
        (37, "&ctx->uring_lock", "io_buffer_select+0x1ea/0x370"),
    ]


def test_the_holder_is_named():
    """lockdep lists who waits like who holds; the stacks tell them apart. Other locks are left out."""
    seen = [
        thread(36, "case-7", "D (disk sleep)", WAITING),
        thread(37, "iou-wrk-36", "S (sleeping)", IDLE),
    ]

    assert name_holders(seen, parse_held(TABLE)) == [
        "case-7/36 waits for &ctx->uring_lock, at io_req_task_cancel+0x49/0x50",
        "iou-wrk-36/37 holds &ctx->uring_lock, at io_buffer_select+0x1ea/0x370; "
        "it is now in io_wqe_worker+0x509/0x660, state S (sleeping)",
    ]


def test_a_holder_that_is_gone_is_said():
    """The waiter alone is listed."""
    only = [one for one in parse_held(TABLE) if one.tid != 37]
    seen = [thread(36, "case-7", "D (disk sleep)", "")]

    assert name_holders(seen, only) == ["who holds it: no living task, says lockdep"]


def test_work_that_ends_is_not_watched_longer():
    """And what it raises is raised here."""
    assert Watched(lambda: None).ended_within(5)
    with pytest.raises(ValueError, match="of the work"):
        Watched(lambda: int("of the work")).ended_within(5)


def test_work_that_waits_is_told_from_a_hang():
    """It can be killed: nothing is stuck in the kernel."""
    release = threading.Event()
    assert not Watched(release.wait).ended_within(0.05)

    said = diagnosis(os.getpid(), own_kernel=False)
    release.set()

    assert said.startswith("no thread is stuck in the kernel")
    assert f"thread {os.getpid()} " in said
