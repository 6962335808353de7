"""Coverage of a real kernel, in User-Mode Linux: each case has its own lines, and what a dead guest took with it is named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.vm
ROOT = Path(__file__).parents[2]
PANICS = "tests/disasters/cases/test_uml.py::test_3_panics"
IDLE = "tests/disasters/cases/test_uml.py::test_1_is_well"


def rig(*arguments):
    argv = [sys.executable, "-m", "ringrig.cli", "coverage", *arguments]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def run():
    """A case that does nothing, one that takes the kernel down, and some that read the status of rings."""
    cases = "suites/status/test_head.py"
    done = rig(
        "--kernel", "source:6.12", "--guest", "uml", "-q", "-p", "no:cacheprovider", IDLE, PANICS, cases
    )
    words = [line.split(": ", 1) for line in done.stdout.splitlines() if line.startswith("run folder: ")]
    assert words, done.stdout + done.stderr
    return ROOT / words[0][1], done


def test_a_run_ends_with_the_figures(run):
    """Of the files that serve provided buffers; and nothing was reached that cannot be."""
    folder, done = run

    assert "kbuf.c " in done.stdout
    assert "reachable branches" in done.stdout
    assert "WRONG" not in done.stdout
    assert (folder / "coverage/cobertura.xml").is_file()
    assert (folder / "coverage/html/index.html").is_file()


def test_lines_belong_to_the_case_that_executed_them(run):
    """Selecting a buffer to those that read, and not even a ring's end to the one that makes none."""
    data = json.loads((run[0] / "coverage/coverage.json").read_text())
    lines = data["files"]["kbuf.c"].values()
    idle = data["cases"].index(IDLE)
    select = [line for line in lines if line["function"] == "io_ring_buffer_select"]

    assert not any(idle in line["cases"] for line in lines)
    assert any(0 < len(line["cases"]) < len(data["cases"]) for line in select)


def test_what_a_dead_guest_took_with_it_is_named(run):
    """The case's own counters; those of the cases before it were read already."""
    folder, done = run

    assert json.loads((folder / "coverage/coverage.json").read_text())["lost"] == [PANICS]
    assert f"lost with their guests: the counters of 1 cases\n  {PANICS}" in done.stdout
    assert done.returncode == 1


def test_who_reaches_a_line_of_the_kernel(run):
    """Asked of that run, without another."""
    data = json.loads((run[0] / "coverage/coverage.json").read_text())
    number, line = next(
        (n, line) for n, line in data["files"]["kbuf.c"].items() if 0 < len(line["cases"]) < 20
    )

    said = rig("--reach", f"kbuf.c:{number}", "--from", str(run[0])).stdout.splitlines()

    assert said[0].startswith(f"kbuf.c:{number}, {line['function']}(): executed {line['count']} times")
    assert [one.strip() for one in said[1:]] == [data["cases"][index] for index in line["cases"]]
