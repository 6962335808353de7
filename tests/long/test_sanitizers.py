"""Faults that only a sanitizer sees: the cases pass without it, and fail with its report when it is built in."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.vm
ROOT = Path(__file__).parents[2]
PATCHES = ROOT / "tests/data/patches"


def run(patch, *arguments):
    """The results on 6.12 with the fault, one by one, and what was printed."""
    argv = [
        sys.executable, "-m", "ringrig.cli", "run", "-p", "no:cacheprovider", "-q", "--kernel", "source:6.12",
        "--guest", "uml", "--patch", str(PATCHES / patch), *arguments,
    ]  # fmt: skip
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    folder = next(
        line.split(": ", 1)[1] for line in done.stdout.splitlines() if line.startswith("run folder: ")
    )
    lines = (ROOT / folder / "results.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], done.stdout


def test_without_kasan_nothing_shows():
    """Freed memory still holds what is read from it."""
    results, out = run("use-after-free.patch", "suites/legacy/test_groups.py")

    assert {line["outcome"] for line in results} <= {"passed", "skipped"}, out


def test_with_kasan_it_is_named_with_its_line():
    """The report goes to the case that did it, with the function and the line of the source."""
    results, out = run("use-after-free.patch", "--config", "kasan,debug", "suites/legacy/test_groups.py")
    failed = [line for line in results if line["outcome"] == "failed"]

    assert failed, out
    for line in failed:
        assert any("KASAN" in text and "io_kbuf_drop_legacy" in text for text in line["troubles"]), out
        assert "io_uring/kbuf.c:105" in line["detail"]


def test_without_kmemleak_a_used_buffer_is_lost_unseen():
    """Ten thousand rounds of providing and removing use none, so their counts stay flat."""
    results, out = run("leak.patch", "suites/legacy/test_groups.py", "suites/leaks")

    assert {line["outcome"] for line in results} <= {"passed", "skipped", "xfailed"}, out


def test_with_kmemleak_it_is_named_with_who_wanted_it():
    """The case that scans fails: with the function that made the objects, and the cases that lost them."""
    results, out = run(
        "leak.patch", "--config", "kmemleak", "suites/legacy/test_groups.py", "suites/leaks/test_kmemleak.py"
    )
    failed = [line for line in results if line["outcome"] == "failed"]

    assert [line["nodeid"].rsplit("::")[1] for line in failed] == ["test_nothing_is_lost"], out
    assert "32 bytes, io_provide_buffers < " in failed[0]["why"] and "by case-" in failed[0]["why"]
