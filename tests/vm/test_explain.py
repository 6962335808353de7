"""`rig explain` on a real kernel, in User-Mode Linux: a case that fails on any, against its parametrization that passes."""

import subprocess
import sys
from pathlib import Path

import pytest

from ringrig.errors import BadSpec, CasePasses

pytestmark = pytest.mark.vm
ROOT = Path(__file__).parents[2]
CASE = "tests/disasters/cases/test_wrong.py::test_any_address_will_do"


def explain(case):
    argv = [sys.executable, "-m", "ringrig.cli", "explain", case, "--kernel", "source:6.12", "--guest", "uml"]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


def test_it_names_the_check_that_refused():
    """kbuf.c, io_register_pbuf_ring(): the one of its eight -EINVAL that looks at the address."""
    done = explain(f"{CASE}[within_a_page]")

    assert done.returncode == 0, done.stdout + done.stderr
    marked = [line.split(maxsplit=2)[2] for line in done.stdout.splitlines() if line.startswith("    > ")]
    assert marked == ["if (reg.ring_addr & ~PAGE_MASK)"]
    assert "io_register_pbuf_ring(): this run went into `return -EINVAL;`" in done.stdout
    assert "io_uring_register(REGISTER_PBUF_RING) = -EINVAL" in done.stdout
    folder = Path(done.stdout.splitlines()[-1].removeprefix("run folder: "))
    assert (folder / "explain.txt").read_text() in done.stdout
    assert (folder / "runs.json").is_file()


def test_a_case_that_passes_is_no_failure_to_explain():
    done = explain(f"{CASE}[at_a_page]")

    assert done.returncode == CasePasses.exit_code
    assert "passes on source:6.12" in done.stderr


def test_several_cases_are_one_too_many():
    """Their names are listed; nothing boots."""
    done = explain(CASE)

    assert done.returncode == BadSpec.exit_code
    assert f"{CASE}[at_a_page]" in done.stderr
