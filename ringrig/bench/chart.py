"""The table and its bars on a terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ringrig.bench.rows import ROWS, Measured, rfc_extra, rfc_ratio

if TYPE_CHECKING:
    from ringrig.bench.nops import Order, Result

_BAR = 46
_SCALE = 1.25
"""The ratio a bar of full width shows."""


def show(result: Result, order: Order, *, console: Console) -> None:
    """Prints one kernel's table and bars, or the check that it failed."""
    measured = result.measured
    _say(console, "")
    _say(
        console,
        f"{result.label} [{result.where}]: {measured.request}, 32 at a time, a ring of 128",
        style="bold",
    )
    if measured.fault:
        _say(console, f"  FAILED: {measured.fault}", style="bold red")
        return
    _say(console, f"  {measured.why}")
    _say(
        console,
        f"  buffer ring: {measured.layout} layout; CPU {measured.cpu}; {order.rounds} rounds of {1000 * order.seconds:g} ms a row; "
        f"load {os.getloadavg()[0]:.1f}",
    )
    if result.emulated:
        _say(console, "  emulated: the rates mean nothing, and the ratios little", style="yellow")
    _say(console, "")
    console.print(table(measured))
    _say(console, "")
    console.print(bars(measured))
    _say(console, f"  {verdict(measured)}")
    if result.kept:
        _say(console, f"  figures: {result.kept}")


def _say(console: Console, line: str, *, style: str = "") -> None:
    console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)


def table(measured: Measured) -> Table:
    """Medians and quartiles: millions of requests a second, ratios to the first row, nanoseconds beyond it."""
    out = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    out.add_column("replenish at a time", no_wrap=True)
    for name in ("M/s", "quartiles", "ratio", "quartiles", "+ns", "RFC", "ratio", "+ns"):
        out.add_column(name, justify="right", no_wrap=True)
    for number, row in enumerate(ROWS):
        rate, ratio = measured.rate(number), measured.ratio(number)
        out.add_row(
            row.name,
            f"{rate.median / 1e6:.2f}",
            f"{rate.low / 1e6:.2f}–{rate.high / 1e6:.2f}",
            f"{ratio.median:.2f}",
            f"{ratio.low:.2f}–{ratio.high:.2f}" if number else "",
            f"{measured.extra(number):.0f}" if number else "",
            f"~{row.rfc:g}",
            f"{rfc_ratio(number):.2f}",
            f"{rfc_extra(number):.0f}" if number else "",
        )
    return out


def bars(measured: Measured) -> Table:
    """The ratios, each above the RFC's."""
    out = Table(box=None, show_header=False, padding=(0, 1))
    out.add_column(no_wrap=True)
    out.add_column(no_wrap=True, justify="right")
    out.add_column(no_wrap=True)
    for number, row in enumerate(ROWS):
        here, theirs = measured.ratio(number).median, rfc_ratio(number)
        out.add_row(row.name, f"{here:.2f}", _bar(here, "green"))
        out.add_row(
            Text("the RFC", style="bright_black", justify="right"),
            f"{theirs:.2f}",
            _bar(theirs, "bright_black"),
        )
    return out


def _bar(ratio: float, colour: str) -> Bar:
    return Bar(size=_SCALE, begin=0, end=min(ratio, _SCALE), width=_BAR, color=colour)


def verdict(measured: Measured) -> str:
    """Whether the rows come in the RFC's order; equal rows there may come either way."""
    medians = [measured.ratio(number).median for number in range(len(ROWS))]
    wrong = [
        f"{lower.name!r} before {upper.name!r}"
        for upper, high in zip(ROWS, medians, strict=True)
        for lower, low in zip(ROWS, medians, strict=True)
        if upper.rfc > lower.rfc and low >= high
    ]
    return (
        f"order of the rows: not the RFC's: {', '.join(wrong)}" if wrong else "order of the rows: the RFC's"
    )
