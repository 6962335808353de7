"""`rig bench --kernel A --kernel B`: do provided buffers cost more in one kernel than in the other?

Guests of the two are booted in turn, A B B A …, because one boot differs from the next of the same kernel by more than the
rounds within it do: a boot is one observation. Neighbours make a pair, so that a slow spell of the machine falls on both.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ringrig import runs
from ringrig.bench import native, nops
from ringrig.bench.nops import Order, Result
from ringrig.bench.rows import ROWS
from ringrig.cache import writing
from ringrig.errors import BadSpec, RigError

CONFIDENCE = 0.95
"""That no interval of the table misses: each of them is wider."""
COMPARED = range(1, len(ROWS))
"""The rows with buffers."""
_LEAST_BOOTS = 4
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two kernels: its spec and the options of `rig run` that are for it."""

    name: str
    kernel: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What B does in a row for one of A, less 1, with its confidence interval: -0.02 is two percent slower."""

    low: float
    middle: float
    high: float

    @property
    def told(self) -> bool:
        """Whether the interval leaves "no difference" out."""
        return not self.low <= 0 <= self.high


def main(arguments: Sequence[str]) -> int:
    """1 if a kernel failed a check of the loop, else 0 whatever the difference. RigError, BadSpec."""
    chosen, words = _parser().parse_known_args(arguments)
    common, sides = split(words)
    if len(sides) != 2 or any(side.kernel == "host" for side in sides):
        raise BadSpec(
            "Two kernels that guests can boot are compared, neither of them the running one.",
            next_step="rig bench --guest uml --kernel source:6.12 --kernel source:6.12 --patch FILE",
        )
    if chosen.boots < _LEAST_BOOTS or chosen.rounds < 2 or not 0 < chosen.seconds <= 10:
        raise BadSpec(
            f"--boots takes at least {_LEAST_BOOTS}, --rounds 2, --seconds more than 0 and at most 10.",
            next_step="rig bench --help",
        )
    built = native.build(say=_say)
    folder = runs.new_folder(_ROOT, "bench")
    found: dict[str, list[Result]] = {side.name: [] for side in sides}
    for number, side in enumerate(schedule(sides, chosen.boots), start=1):
        _say(f"{number} of {2 * chosen.boots}: {side.name}, {side.kernel}")
        place = folder / f"{side.name}{len(found[side.name]) + 1}"
        order = Order(
            native=str(built), rounds=chosen.rounds, seconds=chosen.seconds, answer=f"{place}/answer.json"
        )
        one = _measured(side, common, place, order)
        if one.measured.fault:
            print(f"{side.name}, {side.kernel}: FAILED: {one.measured.fault}")
            return 1
        found[side.name].append(one)
    first, second = found.values()
    _check_same(first[0], second[0])
    made = {row: change(row, first, second) for row in COMPARED}
    with writing("the figures", folder):
        changes = {ROWS[row].name: asdict(one) for row, one in made.items()}
        told = {"kernels": [asdict(side) for side in sides], "confidence": CONFIDENCE, "changes": changes}
        (folder / "compare.json").write_text(json.dumps(told, indent=1) + "\n")
    _show(sides, first, second, made, Console(highlight=False, soft_wrap=True))
    print(f"figures: {folder}/compare.json, and each boot's in its run folder beside it")
    return 0


def split(arguments: Sequence[str]) -> tuple[list[str], list[Side]]:
    """Options in front of the first --kernel are for both; those behind a --kernel for that one."""
    common: list[str] = []
    sides: list[tuple[str, list[str]]] = []
    rest = iter(arguments)
    for word in rest:
        if word == "--kernel" or word.startswith("--kernel="):
            kernel = word.partition("=")[2] or next(rest, "")
            if not kernel:
                raise BadSpec("--kernel needs a kernel.", next_step="rig bench --kernel A --kernel B")
            sides.append((kernel, []))
        else:
            (sides[-1][1] if sides else common).append(word)
    named = [
        Side(name=name, kernel=kernel, options=tuple(options))
        for name, (kernel, options) in zip("ABCDEFGH", sides, strict=False)
    ]
    return common, named


def schedule(sides: Sequence[Side], boots: int) -> Iterator[Side]:
    """A B, B A, A B, …"""
    for number in range(boots):
        yield from sides if number % 2 == 0 else reversed(sides)


def _measured(side: Side, common: Sequence[str], folder: Path, order: Order) -> Result:
    """One boot of one side; RigError: it gave no figures."""
    with writing("the run folder", folder):
        folder.mkdir()
        with (folder / "output.txt").open("w+") as output:
            options = [*common, *side.options, f"--run-folder={folder}"]
            found = nops.in_guest(side.kernel, options, order, output=output)
            output.seek(0)
            words = output.read().strip()
    if isinstance(found, Result):
        return found
    raise RigError(
        f"{side.name}, {side.kernel}: no figures (exit code {found}): {words[-800:]}",
        next_step=f"{folder} has all that is known; ./rig run --kernel {side.kernel} says more",
    )


def _check_same(first: Result, second: Result) -> None:
    """BadSpec: what was measured of the two is not the same thing."""
    for what, one, other in (
        ("the request is", first.measured.request, second.measured.request),
        ("it ran in", first.where, second.where),
    ):
        if one != other:
            raise BadSpec(
                f"The kernels cannot be compared: {what} {one} with {first.label}, {other} with {second.label}.",
                next_step="give both patches/nop-buffer-select (docs/bench.md), and the same --guest and --accel",
            )


def change(row: int, first: Sequence[Result], second: Sequence[Result]) -> Change:
    """Of the row's rate relative to that of the row without buffers, of the same boot."""
    pairs = zip(_logs(row, first), _logs(row, second), strict=True)
    differences = [theirs - mine for mine, theirs in pairs]
    doubt = (1 - CONFIDENCE) / len(COMPARED)
    reach = student(1 - doubt / 2, len(differences) - 1) * statistics.stdev(differences)
    reach /= math.sqrt(len(differences))
    middle = statistics.fmean(differences)
    return Change(low=math.expm1(middle - reach), middle=math.expm1(middle), high=math.expm1(middle + reach))


def _logs(row: int, boots: Sequence[Result]) -> list[float]:
    return [math.log(one.measured.ratio(row).median) for one in boots]


def student(probability: float, freedom: int) -> float:
    """A quantile of Student's distribution, from the normal one (Cornish and Fisher's expansion); for 3 degrees or more."""
    z = statistics.NormalDist().inv_cdf(probability)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(sum(term / freedom**power for power, term in enumerate(terms)))


def _show(
    sides: Sequence[Side],
    first: Sequence[Result],
    second: Sequence[Result],
    made: Mapping[int, Change],
    console: Console,
) -> None:
    console.print()
    for side, results in zip(sides, (first, second), strict=True):
        options = " ".join(side.options)
        console.print(
            f"{side.name}: {results[0].label} [{results[0].where}] {options}".rstrip(), markup=False
        )
    boots, one = len(first), first[0].measured
    console.print(
        f"{one.request}, 32 at a time; {boots} boots of each in turn, {len(one.rates[0])} rounds a boot"
    )
    paces = [statistics.median(one.measured.rate(0).median for one in side) / 1e6 for side in (first, second)]
    console.print(
        f"{ROWS[0].name}: A {paces[0]:.2f} M/s, B {paces[1]:.2f} M/s; what follows is relative to that\n"
    )
    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    table.add_column("replenish at a time", no_wrap=True)
    for name in ("A +ns", "B +ns", "B to A", "interval", ""):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for row, found in made.items():
        extras = [_extra(row, results) for results in (first, second)]
        interval = f"{100 * found.low:+.1f} to {100 * found.high:+.1f} %"
        table.add_row(ROWS[row].name, *extras, f"{100 * found.middle:+.1f} %", interval, _word(found))
    console.print(table)
    told = [ROWS[row].name for row, found in made.items() if found.told]
    console.print(
        f"\nB differs from A: {'; '.join(told)}" if told else "\nno difference told between A and B",
        style="bold",
    )
    console.print(f"B to A: rates; all {len(made)} intervals hold with {100 * CONFIDENCE:.0f} % confidence")
    if first[0].emulated:
        console.print("emulated: the rates mean nothing, and the ratios little", style="yellow")


def _extra(row: int, boots: Sequence[Result]) -> str:
    return f"{statistics.median(one.measured.extra(row) for one in boots):.1f}"


def _word(found: Change) -> str:
    if not found.told:
        return ""
    return "faster" if found.low > 0 else "slower"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rig bench",
        allow_abbrev=False,
        usage="rig bench [OPTION]… --kernel A [OPTION]… --kernel B [OPTION]…",
        description="Whether provided buffers cost more in kernel B than in A. Options of `rig run` (--guest, --config, "
        "--patch, …) in front of the first --kernel are for both, others for the kernel they stand behind.",
    )
    add = parser.add_argument
    add("--boots", type=int, default=8, metavar="N", help="guests of each kernel (default: 8)")
    add("--rounds", type=int, default=100, metavar="N", help="rounds of all rows in a guest (default: 100)")
    add(
        "--seconds",
        type=float,
        default=0.002,
        metavar="S",
        help="length of a row's part of a round (default: 0.002)",
    )
    return parser


def options() -> str:
    """The help of this measurement, which `rig bench --help` ends with."""
    return _parser().format_help()


def _say(line: str) -> None:
    print(f"rig: {line}", file=sys.stderr, flush=True)
