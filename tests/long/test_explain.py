"""`rig explain` by what functions returned: kretprobes on a Debian kernel, function_graph on one that is built for QEMU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_CASE = "tests/disasters/cases/test_wrong.py::test_any_address_will_do[within_a_page]"


@pytest.mark.parametrize(
    ("options", "means"),
    [
        pytest.param(["--kernel", "debian:6.12"], "kretprobes", id="debian"),
        pytest.param(["--kernel", "source:6.12", "--guest", "qemu"], "function_graph", id="built"),
    ],
)
def test_the_function_that_refused_is_named(options: list[str], means: str) -> None:
    argv = [sys.executable, "-m", "ringrig.cli", "explain", _CASE, *options]
    done = subprocess.run(argv, cwd=_ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "io_register_pbuf_ring()" in done.stdout.split("where\n")[1].splitlines()[0]
    assert f"traced by {means}" in done.stdout
