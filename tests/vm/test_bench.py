"""`rig bench nops` on a kernel of its own: how the loop gets there, and its figures back."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ringrig.bench.rows import ROWS

ROOT = Path(__file__).parents[2]


@pytest.mark.vm
def test_the_benchmark_runs_in_a_guest(tmp_path):
    """In User-Mode Linux, whose root is this machine's and read-only; the figures are kept in the run folder, too."""
    plot = tmp_path / "plot.svg"

    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ringrig.cli",
            *("bench", "nops", "--kernel", "debian-uml:6.1", "--rounds", "3", "--plot", str(plot)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr + done.stdout
    assert "[uml" in done.stdout
    kept = json.loads(Path(done.stdout.split("figures: ")[1].split("\n")[0]).read_text())
    assert [len(rates) for rates in kept["measured"]["rates"]] == [3] * len(ROWS)
    assert kept["label"] in plot.read_text()
