"""`rig bench nops`: what a provided buffer costs, beside the table in the RFC's cover letter."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Self

from rich.console import Console

from ringrig import runs
from ringrig.bench import chart, native, plot
from ringrig.bench.rows import Measured
from ringrig.cache import writing
from ringrig.errors import BadSpec, RigError

_ROOT = Path(__file__).resolve().parents[2]
_PLUGINS = ("-p", "ringrig.plugin.shell", "-p", "ringrig.bench.session", "-qq", "--disable-warnings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be measured, and where the answer goes: a file's name, for a Result as JSON."""

    native: str
    rounds: int
    seconds: float
    answer: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One kernel's figures. `where` is the kind of machine: "host", "qemu, tcg", "uml", …"""

    label: str
    where: str
    measured: Measured
    kept: str = ""
    """The file in the run folder that has all this, if there is a run folder."""

    @property
    def emulated(self) -> bool:
        return "tcg" in self.where

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        fields: dict[str, Any] = json.loads(text)
        return cls(**{**fields, "measured": Measured(**fields["measured"])})


def main(arguments: Sequence[str]) -> int:
    """`rig bench nops [--kernel K]…`; 1 if a kernel failed a check of the loop. RigError, BadSpec."""
    kernels, others = runs.split(arguments)
    chosen, rest = _parser().parse_known_args(others)
    kernels = kernels or ["host"]
    if rest and kernels == ["host"]:
        raise BadSpec(f"The running kernel takes no {' '.join(rest)}.", next_step="rig bench nops -h")
    if chosen.rounds < 2 or not 0 < chosen.seconds <= 10:
        raise BadSpec(
            "--rounds takes at least 2, --seconds more than 0 and at most 10.", next_step="rig bench nops -h"
        )
    if chosen.plot and (chosen.plot.suffix != ".svg" or not chosen.plot.parent.is_dir()):
        raise BadSpec(
            f"The plot cannot become {chosen.plot}.", next_step="name an .svg file in a folder that exists"
        )
    folder = native.build(say=_say)
    results: list[Result] = []
    codes: list[int] = []
    for kernel in kernels:
        with tempfile.TemporaryDirectory() as scratch:
            order = Order(
                native=str(folder), rounds=chosen.rounds, seconds=chosen.seconds, answer=f"{scratch}/answer"
            )
            found = _on_host(order) if kernel == "host" else in_guest(kernel, rest, order)
        if isinstance(found, int):
            codes.append(found)
            continue
        results.append(found)
        codes.append(1 if found.measured.fault else 0)
        chart.show(found, order, console=Console())
    if chosen.plot and (sound := [result for result in results if not result.measured.fault]):
        with writing("the plot", chosen.plot.parent):
            chosen.plot.write_text(plot.svg(sound))
        print(f"plot: {chosen.plot}")
    return next((code for code in codes if code), 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rig bench nops",
        allow_abbrev=False,
        description="What a provided buffer costs, beside the table in the RFC's cover letter. Other options "
        "(--guest, --config, --patch, --accel, …) are those of `rig run`.",
    )
    parser.add_argument("--kernel", metavar="K", help="as for `rig run`, repeatable (default: host)")
    parser.add_argument(
        "--rounds", type=int, default=500, metavar="N", help="rounds of all rows (default: 500)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.002,
        metavar="S",
        help="length of a row's part of a round (default: 0.002)",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the ratios of all kernels")
    return parser


def inside(folder: str, order: Order) -> list[str]:
    """The interpreter's arguments that measure on the kernel they run on."""
    return ["-sBP", "-m", "ringrig.bench.inside", folder, str(order.rounds), str(order.seconds)]


def parse(said: str) -> Measured:
    """The figures in what the benchmark printed. ValueError: there are none."""
    lines = [line for line in said.splitlines() if line.startswith("{")]
    if not lines:
        raise ValueError("no figures")
    return Measured.from_json(lines[-1])


def prefer() -> None:
    """Go before other processes, where that is allowed (root): else builds beside it are in the figures.

    Not as a real-time process: such a one waited in the kernel, for ever, for a folder's lock whose holder it kept from its CPU.
    """
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)


def _on_host(order: Order) -> Result:
    done = subprocess.run(
        [sys.executable, *inside(order.native, order)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=prefer,
    )
    try:
        measured = parse(done.stdout)
    except ValueError as error:
        raise RigError(
            f"The benchmark ended with {done.returncode} and no figures:\n{done.stderr.strip()[-1500:]}",
            next_step="rig doctor says whether this kernel lets anybody use io_uring",
        ) from error
    return Result(label=f"host ({platform.release()})", where="host", measured=measured)


def in_guest(
    kernel: str, others: Sequence[str], order: Order, *, output: IO[Any] | None = None
) -> Result | int:
    """The figures, or the exit code of a session that gave none and has said why, on `output` (default: standard error)."""
    command = [*runs.command(kernel, others), *_PLUGINS, f"--nops-order={order.to_json()}"]
    code = subprocess.run(
        command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=output or sys.stderr, stderr=output, check=False
    ).returncode
    answer = Path(order.answer)
    if answer.exists():
        return Result.from_json(answer.read_text())
    return code or RigError.exit_code


def _say(line: str) -> None:
    print(f"rig: {line}", file=sys.stderr, flush=True)
