"""A fault that only KASAN sees: the cases pass without it, and fail with its report when it is built in."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.vm
ROOT = Path(__file__).parents[2]
FAULT = ROOT / "tests/data/patches/use-after-free.patch"


def run(*arguments):
    """The results of the legacy suite on 6.12 with the fault, one by one, and what was printed."""
    argv = [
        sys.executable, "-m", "ringrig.cli", "run", "-p", "no:cacheprovider", "-q", "--kernel", "source:6.12",
        "--guest", "uml", "--patch", str(FAULT), *arguments, "suites/legacy/test_groups.py",
    ]  # fmt: skip
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    folder = next(
        line.split(": ", 1)[1] for line in done.stdout.splitlines() if line.startswith("run folder: ")
    )
    lines = (ROOT / folder / "results.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], done.stdout


def test_without_kasan_nothing_shows():
    """Freed memory still holds what is read from it."""
    results, out = run()

    assert {line["outcome"] for line in results} <= {"passed", "skipped"}, out


def test_with_kasan_it_is_named_with_its_line():
    """The report goes to the case that did it, with the function and the line of the source."""
    results, out = run("--config", "kasan,debug")
    failed = [line for line in results if line["outcome"] == "failed"]

    assert failed, out
    for line in failed:
        assert any("KASAN" in text and "io_kbuf_drop_legacy" in text for text in line["troubles"]), out
        assert "io_uring/kbuf.c:105" in line["detail"]
