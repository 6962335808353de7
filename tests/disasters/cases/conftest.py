"""Disasters on demand, through the module that tests/vm/test_disasters.py puts beside these cases."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

_FILE = Path("/proc/ringrig_disaster")
_MODULE = Path(__file__).parent / "build" / f"{platform.release()}.ko"


@pytest.fixture
def disaster() -> Callable[[str], None]:
    """disaster("warn"): make the kernel do that. Never on a kernel that somebody else needs."""
    if json.loads(os.environ.get("RINGRIG_FACTS", '{"shared": true}'))["shared"]:
        pytest.fail("this kernel is shared: it must not be harmed")
    if not _FILE.exists():
        subprocess.run(["insmod", str(_MODULE)], check=True)

    def cause(words: str) -> None:
        _FILE.write_text(words)

    return cause
