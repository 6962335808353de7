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
    """`rig bench boot [--kernel K]… [--guest G]… [--rounds N]`. RigError: a boot failed."""
    parser = argparse.ArgumentParser(prog="rig bench boot", description="What a boot and a case cost.")
    parser.add_argument("--kernel", action="append", metavar="K", help="(default: debian)")
    parser.add_argument("--guest", action="append", choices=["auto", "qemu", "uml"], help="(default: auto)")
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
    kinds = [(kernel, guest) for kernel in chosen.kernel or ["debian"] for guest in chosen.guest or ["auto"]]
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {kind: [] for kind in kinds}
    for number in range(1, chosen.rounds + 1):
        for kind in kinds:
            run = _rig(*kind, chosen.accel, chosen.cases)
            if run["guest"] == "qemu":
                run["bare"] = _virtme(run)
                if number == 1 and run["bare"] < _virtme(run, verbose=True) / 2:
                    raise RigError(
                        "vng --exec true ended too early to have booted.", next_step="run it by hand"
                    )
            runs[kind].append(run)
            print(f"round {number}: {_told(run)}", flush=True)
    print(f"medians of {chosen.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    best = [_medians(found) for found in runs.values()]
    for one in best:
        print(f"  {_told(one)}")
    if len(best) > 1:
        slowest = max(best, key=lambda one: one["mean"])
        for one in best:
            ratio = slowest["mean"] / one["mean"]
            print(f"  {ratio:5.1f} times the cases a second of the slowest: {one['label']}, {one['accel']}")
    return 0


def _told(run: dict[str, Any]) -> str:
    bare = (
        f", vng --exec true {run['bare']:.2f} s (ratio {run['first'] / run['bare']:.2f})"
        if "bare" in run
        else ""
    )
    return (
        f"{run['label']}, {run['accel']}, {run['cpus']} CPUs, {run['memory']}: first verdict {run['first']:.2f} s after "
        f"the command, {run['exec']:.2f} s after exec; a further case {1000 * run['mean']:.1f} ms, {run['cases']} cases "
        f"{run['wall']:.1f} s{bare}"
    )


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    timed = ("first", "exec", "mean", "wall", *(["bare"] if "bare" in runs[0] else []))
    return {**runs[0], **{name: statistics.median(run[name] for run in runs) for name in timed}}


def _rig(kernel: str, guest: str, accel: str, cases: str) -> dict[str, Any]:
    """One run, seen from outside: seconds from start to the first verdict, and the mean of those that follow."""
    began = time.time()
    argv = [
        sys.executable,
        "-m",
        "pytest",
        f"--kernel={kernel}",
        "--guest",
        guest,
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
    # Written as the guest's process starts.
    about = next((_ROOT / folder / "guests").glob("*/guest.json"))
    return {
        **json.loads(about.read_text()),
        "first": times[0] - began,
        "exec": times[0] - about.stat().st_mtime,
        "mean": (times[-1] - times[0]) / (len(times) - 1),
        "cases": len(times),
        "wall": time.time() - began,
    }


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
