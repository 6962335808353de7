"""Patched kernels, end to end: the RFC as posted fails where it is wrong and nowhere else, and says why; reviewed it passes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.vm
ROOT = Path(__file__).parents[2]
RFC = ROOT / "patches/rfc"
SELECT = "suites/select/test_opcodes.py::test_an_operation_takes_the_first_buffer_or_says_there_is_none"
REVIEW = "suites/commit/test_review.py::test_1"
WAITING = "suites/commit/test_when.py::test_what_a_waiting_request_has_is_not_handed_out"
HANGS = {
    f"{SELECT}[{operation}-io_wq-ring_empty]"
    for operation in ("read", "recv", "recvmsg", "recv_multishot", "recvmsg_multishot")
}
SHARED = {
    f"{REVIEW}_two_requests_that_wait_do_not_share_a_buffer[readv-locked-ring]",
    f"{REVIEW}_receives_that_wait_for_the_rest_do_not_share_a_buffer[recv-ring]",
    f"{REVIEW}_receives_that_wait_for_the_rest_do_not_share_a_buffer[recvmsg-ring]",
    f"{REVIEW}_short_reads_of_files_do_not_share_a_buffer[ring]",
    f"{WAITING}[readv-locked-ring]",
}


def run(*arguments):
    """The results of a run by node id, its exit code and what it printed."""
    argv = [sys.executable, "-m", "ringrig.cli", "run", "-p", "no:cacheprovider", "-q", *map(str, arguments)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    folder = next(
        line.split(": ", 1)[1] for line in done.stdout.splitlines() if line.startswith("run folder: ")
    )
    lines = (ROOT / folder / "results.jsonl").read_text().splitlines()
    results = {line["nodeid"]: line for line in map(json.loads, lines)}
    return results, done.returncode, done.stdout


@pytest.fixture(scope="module")
def posted():
    return run(
        "--kernel", "source:6.1", "--guest", "uml", "--patch", RFC / "as-posted", "-n", "2",
        "suites/select/test_opcodes.py", "suites/commit/test_review.py", "suites/commit/test_when.py",
    )  # fmt: skip


def test_the_rfc_as_posted_fails_where_it_is_wrong_and_nowhere_else(posted):
    """The lock that io-wq keeps, which the review did not see; and buffers that two requests get."""
    results, code, out = posted

    assert {
        nodeid for nodeid, line in results.items() if line["outcome"] in ("failed", "error")
    } == HANGS | SHARED, out
    assert sum(line["outcome"] == "passed" for line in results.values()) > 100
    assert code == 1


def test_a_hang_is_reported_as_a_maintainer_would_want_it(posted):
    """What hangs, in which function and line, what the worker does that let it happen, and who may hold the lock."""
    # A 6.1 for um wakes not every case's own watch in time (why is not known): the host ends those, in other words.
    words = "hangs in the kernel, uninterruptible: waits for a mutex in io_"
    own = [detail for one in HANGS if words in (detail := posted[0][one]["detail"])]

    assert own
    [detail, *_] = own
    assert "is an idle io-wq worker: it will not let go of anything" in detail
    assert "--config base,debug" in detail
    assert "io_uring/io_uring.c:" in detail


def test_the_rfc_reviewed_passes():
    """All suites that make sense on that ABI; three known bugs are 6.1's own, one the RFC's."""
    results, code, out = run(
        "--kernel", "source:6.1", "--guest", "uml", "--patch", RFC / "reviewed", "-n", "2"
    )

    assert {line["outcome"] for line in results.values()} == {"passed", "skipped", "xfailed"}, out
    known = {"multishot-overtakes", "cancel-op-polled", "message-length-beyond-int", "rfc-worker-selects"}
    assert {line.get("known", "") for line in results.values()} == {"", *known}
    assert code == 0
