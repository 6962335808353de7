"""The host is safe from its guests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.vm
_ROOT = Path(__file__).parents[2]


def test_a_guest_cannot_harm_the_host() -> None:
    """Cases that try to write to the host, read its keys or reach a network all find that they cannot."""
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "tests/disasters/cases/test_escape.py",
        "--kernel",
        "debian",
    ]

    run = subprocess.run(argv, cwd=_ROOT, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stdout
    assert not list(_ROOT.rglob("escaped"))
