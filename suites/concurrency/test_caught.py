"""A task that is interrupted inside a system call, and kept there while what it uses is taken away, or used by another.

Where the kernel itself is preempted, a task that an urgent one interrupts stays where it was, and /proc/PID/stack says
where that is. So a look-up of ten instructions need not be met by chance: who interrupts it looks first.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from ctypes import c_uint32, c_uint64
from pathlib import Path
from typing import Self

import pytest

from ringrig.model.subject import Subject
from ringrig.uring import bufring, libc
from ringrig.uring import consts as c
from ringrig.uring.group import Group
from ringrig.uring.memory import Arena
from ringrig.uring.structs import io_uring_buf_reg
from ringrig.uring.syscalls import run, table
from ringrig.uring.walks import (
    INSTANTS,
    NOWHERE,
    Walks,
    enter,
    give_up,
    mapping,
    on_one_processor,
    take,
)

pytestmark = [pytest.mark.slow, pytest.mark.needs("caught"), pytest.mark.ends_within(20)]

BGID = 700
GRACE, MOST = 0.15, 0.5
"""Seconds: some grace periods, and less than urgent tasks may have at a time (/proc/sys/kernel/sched_rt_runtime_us).

From 6.13 on who unregisters waits for who is kept, which then goes on after MOST.
"""
CATCHES = 6
"""At each instruction that tasks are interrupted at."""
LOOKING_UP = re.compile(rb"asm_sysvec_.*\n\S+ (io_(?:pbuf|mmap)_get_\S+)")
SELECTING = re.compile(rb"asm_sysvec_.*\n\S+ (io_(?:ring_)?buffer_select\S+)")
"""Function and instruction that are interrupted, of /proc/PID/stack."""
COUNT, URGENT, ROUNDS = 1024, 32, 4
"""Buffers, and how many of them urgent READs have, of each round."""
MANY = 520
"""kfree_rcu() waits for 5 seconds, or for a page of pointers (KVFREE_BULK_MAX_ENTR of kernel/rcu/tree.c).

Of rings in kernel memory: pinning other memory can wait for every processor, and one is kept (lru_add_drain_all()).
"""


@contextlib.contextmanager
def urgent_here() -> Iterator[None]:
    """This task is urgent."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


class Keeper:
    """Another urgent task, which keeps this processor from everybody but this one while kept() is entered."""

    def __init__(self, arena: Arena) -> None:
        self._asked = arena.own(os.eventfd(0))
        self._busy = c_uint32.from_address(arena.anon(4, shared=True))

    def __enter__(self) -> Self:
        self._pid = os.fork()
        if self._pid == 0:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        while self._pid == 0:
            os.eventfd_read(self._asked)
            until = time.monotonic() + MOST
            while self._busy.value and time.monotonic() < until:
                pass
        return self

    @contextlib.contextmanager
    def kept(self, elsewhere: int) -> Iterator[None]:
        """This task is on the processor `elsewhere`, and the other in its place."""
        here = os.sched_getaffinity(0)
        self._busy.value = 1
        os.eventfd_write(self._asked, 1)
        os.sched_setaffinity(0, {elsewhere})
        yield
        os.sched_setaffinity(0, here)
        self._busy.value = 0

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


@pytest.fixture
def sampled() -> Iterator[None]:
    """KFENCE, where the kernel has it, samples an allocation a millisecond: sampled for long, its pool is full of what stays."""
    interval = Path("/sys/module/kfence/parameters/sample_interval")
    if not interval.exists():
        yield
        return
    before = interval.read_text()
    interval.write_text("1")
    yield
    interval.write_text(before)


@pytest.mark.needs("mmap")
@pytest.mark.usefixtures("sampled")
def test_what_mmap_has_found_stays(make_ring: Callable[..., Subject], dice: random.Random) -> None:
    """A ring in kernel memory goes, and its list is given back, while an mmap() without room is kept inside its look-up.

    io_pbuf_get_bl() takes a reference under RCU, which io_put_bl() waits for; since 6.13 who unregisters waits for mmap_lock.
    Fixed by 5cf4f52e6d8a.
    """
    subject = make_ring()
    ring, fd = subject.ring, subject.ring.fd
    other = io_uring_buf_reg(ring_entries=8, bgid=BGID + 1, flags=c.IOU_PBUF_RING_MMAP)
    gone = io_uring_buf_reg(bgid=BGID + 1)
    many = table(take(fd, other), give_up(fd, gone))
    maps = [mapping(fd, BGID, NOWHERE)] * (40 * INSTANTS)
    there = max(os.sched_getaffinity(0))
    caught: Counter[bytes] = Counter()

    with (
        on_one_processor(),
        Walks(maps, processes=True) as walks,
        urgent_here(),
        Keeper(subject.arena) as keeper,
    ):
        stack = subject.arena.own(os.open(f"/proc/{walks.tids[0]}/stack", os.O_RDONLY))
        assert bufring.register(ring, bgid=BGID, entries=8, flags=c.IOU_PBUF_RING_MMAP) == 0
        walks.go()
        for _ in range(4 * INSTANTS):
            time.sleep(dice.uniform(1e-6, 1e-5))
            place = LOOKING_UP.search(os.pread(stack, libc.PAGE_SIZE, 0))
            if not place or caught[place[1]] == CATCHES:
                continue
            caught[place[1]] += 1
            with keeper.kept(there):
                assert bufring.unregister(ring, BGID) == 0
                run(many, MANY)
                time.sleep(GRACE)
            assert [row.failures for row in many] == [0, 0]
            time.sleep(0.003)  # KFENCE samples the next allocation
            assert bufring.register(ring, bgid=BGID, entries=8, flags=c.IOU_PBUF_RING_MMAP) == 0

    assert caught, "mmap() was never interrupted in its look-up"
    assert bufring.unregister(ring, BGID) == 0


def test_a_selection_has_its_group_for_itself(make_ring: Callable[..., Subject], dice: random.Random) -> None:
    """io-wq's worker is interrupted inside io_buffer_select(), and an urgent READ wants a buffer of the same group: each has its own.

    Who is not under uring_lock as it is issued takes it for the whole of a selection.
    """
    ring = (subject := make_ring(entries=COUNT)).ring
    group = Group(ring, subject.arena, bgid=BGID, entries=COUNT, size=1)
    assert group.register() == 0
    subject.owns(BGID)
    submit, one = table(enter(ring.fd, COUNT - URGENT)), table(enter(ring.fd))
    caught = 0

    with on_one_processor():
        assert ring.register(c.IORING_REGISTER_IOWQ_AFF, c_uint64(1 << min(os.sched_getaffinity(0))), 8) == 0
        assert ring.register(c.IORING_REGISTER_IOWQ_MAX_WORKERS, (c_uint32 * 2)(1, 1), 2) == 0
        group.publish(0)
        assert group.read(length=1, flags=c.IOSQE_ASYNC).res == 1  # its worker is not urgent
        stack = subject.arena.own(os.open(f"/proc/self/task/{_worker()}/stack", os.O_RDONLY))
        with urgent_here():
            for _ in range(ROUNDS):
                group.publish(*range(COUNT))
                for number in range(COUNT):
                    group.queue_read(length=1, flags=c.IOSQE_ASYNC if number < COUNT - URGENT else 0)
                assert ring.show() == COUNT
                run(submit)
                left = URGENT
                while left and ring.cq_tail.value - ring.cq_head.value & 0xFFFFFFFF < COUNT - left:
                    time.sleep(dice.uniform(1e-6, 1e-5))
                    if SELECTING.search(os.pread(stack, libc.PAGE_SIZE, 0)):
                        run(one)
                        left, caught = left - 1, caught + 1
                found = ring.complete(COUNT)
                assert {cqe.res for cqe in found} == {1}
                assert sorted(cqe.bid for cqe in found if cqe.bid is not None) == list(range(COUNT))

    assert caught, "io-wq's worker was never interrupted in a selection"


def _worker() -> str:
    """The task of this process's only worker of io-wq."""
    [worker] = [
        task.name
        for task in Path("/proc/self/task").iterdir()
        if (task / "comm").read_text().startswith("iou-wrk-")
    ]
    return worker
