"""Calls back to back, what the kernel says of a fault, and counts that grow."""

import errno
import os
import resource
import signal
import time
from pathlib import Path

import pytest

from ringrig.uring import consts as c
from ringrig.uring import leaks, loops
from ringrig.uring.faults import Fault, Hit, Injector, Kind, stack_of
from ringrig.uring.floods import flood_ring, pour, request
from ringrig.uring.leaks import Oracle, growth, lost_objects
from ringrig.uring.memory import Unavailable
from ringrig.uring.request_loops import LOOPS
from ringrig.uring.syscalls import NR_CLOSE, run, table

LOGS = Path(__file__).parents[1] / "data/splats"
_NR_GETPID, _NR_WRITE, _NR_GETPPID = 39, 1, 110


def test_each_row_keeps_its_last_result_and_counts_its_errors():
    """Three rounds of a good call and a bad one."""
    rows = table((_NR_GETPID,), (NR_CLOSE, -1))

    run(rows, 3)

    assert [(row.result, row.failures) for row in rows] == [(os.getpid(), 0), (-errno.EBADF, 3)]


def test_rows_are_called_in_their_order_with_all_their_arguments():
    """What two writes leave in a pipe; the six registers as pread's and mmap's users need them."""
    reader, writer = os.pipe()
    texts = [bytearray(text) for text in (b"ab", b"c")]
    from ctypes import addressof, c_char

    at = [addressof((c_char * len(text)).from_buffer(text)) for text in texts]

    run(table((_NR_WRITE, writer, at[0], 2), (_NR_WRITE, writer, at[1], 1)), 2)

    assert os.read(reader, 10) == b"abcabc"
    os.close(reader)
    os.close(writer)


def test_no_rounds_make_no_call():
    """The table is as it was."""
    rows = table((NR_CLOSE, -1))

    run(rows, 0)

    assert (rows[0].result, rows[0].failures) == (0, 0)


def test_a_signal_between_calls_does_no_harm():
    """Registers are the caller's again afterwards."""
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    rows = table((_NR_GETPPID,))

    run(rows, 100_000)

    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    assert (rows[0].result, rows[0].failures) == (os.getppid(), 0)


def test_another_machine_is_told_so(monkeypatch):
    """There is machine code for x86-64 only."""
    from ringrig.uring import syscalls

    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    syscalls._walker.cache_clear()
    try:
        with pytest.raises(Unavailable, match="x86-64 machine code, and this is aarch64"):
            run(table((_NR_GETPID,)))
    finally:
        monkeypatch.undo()
        syscalls._walker.cache_clear()


def logged(name):
    """The lines of a console log as /dev/kmsg has them."""
    return [
        line.rstrip("\r").split("] ", 1)[1] for line in (LOGS / name).read_text().splitlines() if "] " in line
    ]


@pytest.mark.parametrize(
    "name, stack",
    [
        (
            "clean-6.12-faults.log",
            ("io_provide_buffers", "io_issue_sqe", "io_submit_sqes", "__x64_sys_io_uring_enter"),
        ),
        (
            "clean-6.12-uml-faults.log",
            ("io_alloc_async_data", "io_prep_rw", "io_prep_read", "io_submit_sqes"),
        ),
    ],
)
def test_the_stack_is_the_first_faults_without_the_allocator(name, stack):
    """Real logs with several; guessed frames are left out where there are sure ones."""
    assert stack_of(logged(name)) == stack


def test_a_fault_that_is_not_logged_has_no_stack():
    """Other lines of the log are not its."""
    assert stack_of(["Call Trace:", "  foo+0x1/0x2"]) == ()


def test_a_hit_names_all_and_excuses_its_kinds_errnos():
    """-ENOMEM for memory, -EFAULT for a copy."""
    hit = Hit(fault=Fault(nth=3, lasting=True), kinds=frozenset({Kind.SLAB, Kind.USERCOPY}), stack=("f", "g"))

    assert str(hit) == "fault 3 and all after it: fail_usercopy, failslab (f < g)"
    assert hit.errnos == {-errno.ENOMEM, -errno.EFAULT}


@pytest.mark.skipif(Path("/proc/thread-self/fail-nth").exists(), reason="this kernel has fault injection")
def test_a_kernel_without_faults_says_how_to_get_one():
    """The text of the skip."""
    with pytest.raises(Unavailable, match=r"fail-nth: No such file.*--config faults"):
        Injector()


def test_a_leak_of_one_a_round_is_seen(monkeypatch):
    """And noise below half of that is not; names of more than one oracle are told apart."""
    kept, noise = [], []
    oracles = [Oracle(counts=lambda: {"kept": len(kept)}), Oracle(counts=lambda: {"noise": len(noise)})]

    def loop():
        kept.extend(range(100))
        noise.extend(range(49))

    assert growth(oracles, loop, rounds=100, patience=0) == {"kept": 100}


def test_what_comes_back_late_is_no_leak():
    """Frees wait for a grace period."""
    ready = time.monotonic() + 0.05
    oracle = Oracle(counts=lambda: {"late": 100 * (0 < time.monotonic() - ready + 0.05 < 0.05)})

    assert growth([oracle], lambda: None, rounds=10, patience=2) == {}


def test_a_loop_whose_calls_fail_says_so(monkeypatch):
    """Rather than that nothing leaks."""
    monkeypatch.setattr(loops.c, "IORING_UNREGISTER_PBUF_RING", 0x7FFF)

    with pytest.raises(loops.LoopFailed, match="failed; the last says -EEXIST"):
        LOOPS["register"].run(3)


def test_a_flood_says_which_request_went_wrong():
    """Its place in the round, what it says and what it should."""
    right = request(c.IORING_OP_NOP)
    wrong = request(c.IORING_OP_REMOVE_BUFFERS, 1, buf_group=7, want=(0, 1))

    with flood_ring() as ring, pytest.raises(loops.LoopFailed, match=r"request 1 .* -ENOENT .*, not 0 or 1$"):
        pour(ring, [right, wrong], 1)


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_takes_and_gives_back(name):
    """On the running kernel; the 256 rings of one io_uring are the least that end with it."""
    LOOPS[name].run(256)


def test_a_count_that_is_too_high_is_made_exact():
    """Only that of what seems to grow."""
    counts = {"grows": 0, "seems to": 0, "does not": 0}
    asked = []

    def settle(name):
        asked.append(name)
        counts["seems to"] = 0

    def loop():
        counts.update({"grows": 10, "seems to": 10, "does not": 4})

    oracle = Oracle(counts=lambda: dict(counts), settle=settle)

    assert growth([oracle], loop, rounds=10, patience=0) == {"grows": 10}
    assert sorted(set(asked)) == ["grows", "seems to"]


def test_lost_objects_are_read():
    """As 6.12 lists them: size, task, stack without what every allocation has on top."""
    text = """unreferenced object 0x63acbc60 (size 32):
  comm "case-11", pid 48, jiffies 4294937516
  hex dump (first 32 bytes):
    00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  ................
  backtrace (crc 12):
    [<60063b9e>] stack_trace_save+0x4e/0x60
    [<6011b1f5>] __create_object+0x45/0x80
    [<60280a51>] io_provide_buffers+0x171/0x240
    [<6027d86c>] io_issue_sqe+0x6c/0x5d0
unreferenced object 0xffff888100 (size 8):
  comm "swapper/0 x", pid 1, jiffies 1
"""

    found = lost_objects(text)

    assert [(one.size, one.comm, one.stack) for one in found] == [
        (32, "case-11", ("io_provide_buffers", "io_issue_sqe")),
        (8, "swapper/0 x", ()),
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="/proc/slabinfo is root's")
def test_slab_objects_are_counted():
    """Files that are opened are objects; what others close meanwhile, and what each CPU has in hand, is less than half."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = min(hard, 5000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (room, hard))
    before = leaks.slab_objects()
    files = []
    try:
        files += [os.open("/dev/null", os.O_RDONLY) for _ in range(room - 200)]
        after = leaks.slab_objects()
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert any(after[name] - before[name] >= room // 2 for name in after if "filp" in name)
