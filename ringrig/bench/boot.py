"""`rig bench boot`: what a boot and a case cost, beside a bare virtme-ng boot of the same image, in one run."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ringrig.errors import RigError

_ROOT = Path(__file__).resolve().parents[2]
_CASES = "suites/register/test_entries.py"


def main(arguments: Sequence[str]) -> int:
    """`rig bench boot [--kernel K] [--rounds N]`. RigError: a boot failed."""
    parser = argparse.ArgumentParser(prog="rig bench boot", description="What a boot and a case cost.")
    parser.add_argument("--kernel", default="debian", metavar="K")
    parser.add_argument("--accel", choices=["auto", "kvm", "tcg"], default="auto")
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        metavar="N",
        help="interleaved rounds; medians are shown (default: 3)",
    )
    parser.add_argument(
        "cases", nargs="?", default=_CASES, help=f"the cases whose mean cost is shown (default: {_CASES})"
    )
    chosen = parser.parse_args(arguments)
    bare, first, means = [], [], []
    for number in range(1, chosen.rounds + 1):
        run = _rig(chosen.kernel, chosen.accel, chosen.cases)
        first.append(run["first"])
        means.append(run["mean"])
        bare.append(_virtme(run))
        if number == 1 and bare[0] < _virtme(run, verbose=True) / 2:
            raise RigError("vng --exec true ended too early to have booted.", next_step="run it by hand")
        print(
            f"round {number}: first verdict {first[-1]:.2f} s, vng --exec true {bare[-1]:.2f} s, "
            f"further case {1000 * means[-1]:.1f} ms (of {run['cases']})",
            flush=True,
        )
    ratio = statistics.median(first) / statistics.median(bare)
    print(
        f"kernel {run['label']}, {run['accel']}, {run['cpus']} CPUs, {run['memory']}, load {os.getloadavg()[0]:.1f}"
    )
    print(f"start to first verdict   {statistics.median(first):6.2f} s")
    print(f"vng --exec true          {statistics.median(bare):6.2f} s   ratio {ratio:.2f}")
    print(f"mean of a further case   {1000 * statistics.median(means):6.1f} ms")
    return 0


def _rig(kernel: str, accel: str, cases: str) -> dict[str, Any]:
    """One run, seen from outside: seconds from start to the first verdict, and the mean of those that follow."""
    began = time.time()
    argv = [
        sys.executable,
        "-m",
        "pytest",
        f"--kernel={kernel}",
        "--accel",
        accel,
        "-q",
        "-p",
        "no:cacheprovider",
        cases,
    ]
    run = subprocess.run(argv, cwd=_ROOT, capture_output=True, text=True, check=False)
    folder = next(
        (line.split(": ", 1)[1] for line in run.stdout.splitlines()[::-1] if line.startswith("run folder: ")),
        "",
    )
    times = (
        [json.loads(line)["at"] for line in (_ROOT / folder / "results.jsonl").read_text().splitlines()]
        if folder
        else []
    )
    if len(times) < 2:
        raise RigError(
            f"The run gave no verdicts:\n{run.stdout[-2000:]}{run.stderr[-2000:]}", next_step="run it by hand"
        )
    facts = json.loads(next((_ROOT / folder / "guests").glob("*/guest.json")).read_text())
    mean = (times[-1] - times[0]) / (len(times) - 1)
    return {**facts, "first": times[0] - began, "mean": mean, "cases": len(times)}


def _virtme(facts: dict[str, Any], *, verbose: bool = False) -> float:
    """Seconds of a bare `vng --exec true` on the same image with the same CPUs, memory, accelerator.

    Without udev virtme-ng finds no port for the exit status and answers 255 whatever happened, so only the
    console of a verbose boot says whether the script ran (its status is on the last lines).
    """
    bin_dir = Path(sys.prefix, "bin")
    tcg = ["--disable-kvm", "--qemu-opts=-accel tcg,thread=single"] if facts["accel"] == "tcg" else []
    sizes = [
        "--cpus",
        str(facts["cpus"]),
        "--memory",
        str(facts["memory"]),
        *(["--verbose"] if verbose else []),
    ]
    argv = [
        str(bin_dir / "vng"),
        "--run",
        str(facts["path"]),
        "--force-9p",
        "--disable-microvm",
        *tcg,
        *sizes,
    ]
    began = time.time()
    run = subprocess.run(
        [*argv, "--exec", "true"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        cwd=_ROOT,
        env={**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}"},
    )
    if verbose and b"script exited with code 0" not in run.stderr:
        raise RigError(
            f"vng --exec true did not run its script: {run.stderr.decode(errors='replace')[-800:]}",
            next_step="boot it by hand: vng --verbose --run IMAGE --exec true",
        )
    return time.time() - began
