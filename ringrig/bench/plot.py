"""The ratios of all kernels as an SVG: a group of bars a row, the RFC's first."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from ringrig.bench.rows import ROWS, Spread, rfc_ratio

if TYPE_CHECKING:
    from ringrig.bench.nops import Result

_WIDTH, _LEFT, _RIGHT, _TOP = 960, 240, 120, 56
_BAR, _GAP, _LINE = 18, 16, 20
_RFC = "#9aa0a6"
_COLOURS = ("#1b6ca8", "#d9822b", "#3f8f4f", "#8e4fa8", "#b23a48", "#5b7083")


def svg(results: Sequence[Result]) -> str:
    """A whole SVG document; whiskers are quartiles."""
    group = _BAR * (len(results) + 1) + _GAP
    bottom = _TOP + group * len(ROWS)
    height = bottom + 44 + _LINE * (len(results) + 1)
    ratios = [[result.measured.ratio(number) for number in range(len(ROWS))] for result in results]
    most = max([1.0, *(spread.high for spreads in ratios for spread in spreads)])
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        _text(16, 28, "io_uring requests a second, relative to the same without provided buffers", size=17),
        *_axis(bottom, scale, most),
    ]
    for number, row in enumerate(ROWS):
        top = _TOP + group * number + _GAP / 2
        out.append(_text(_LEFT - 10, top + (group - _GAP) / 2 + 4, row.name, anchor="end"))
        theirs = rfc_ratio(number)
        out += _bar(top, theirs, scale, _RFC, f"{theirs:.2f}  (~{row.rfc:g} M/s)")
        for index, (result, spreads) in enumerate(zip(results, ratios, strict=True)):
            y, spread = top + _BAR * (index + 1), spreads[number]
            label = f"{spread.median:.2f}  ({result.measured.rate(number).median / 1e6:.2g} M/s)"
            out += _bar(y, spread.median, scale, _colour(index), label, spread=spread if number else None)
    for index, legend in enumerate(
        [(_RFC, "the RFC's cover letter: NOP"), *((_colour(i), _legend(r)) for i, r in enumerate(results))]
    ):
        y = bottom + 40 + _LINE * index
        out.append(f'<rect x="16" y="{y}" width="12" height="12" fill="{legend[0]}"/>')
        out.append(_text(36, y + 11, legend[1]))
    return "\n".join([*out, "</svg>", ""])


def _legend(result: Result) -> str:
    measured = result.measured
    caution = " (emulated: rates mean nothing, ratios little)" if result.emulated else ""
    return f"{result.label} [{result.where}]: {measured.request}, {measured.layout} ring{caution}"


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


def _axis(bottom: int, scale: float, most: float) -> list[str]:
    out = []
    for tick in range(int(most * 4 + 1e-9) + 1):
        x = _LEFT + tick / 4 * scale
        out.append(f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#dddddd"/>')
        out.append(_text(x, bottom + 18, f"{tick / 4:g}", anchor="middle"))
    return out


def _bar(
    y: float, ratio: float, scale: float, colour: str, label: str, *, spread: Spread | None = None
) -> list[str]:
    end = _LEFT + ratio * scale
    out = [f'<rect x="{_LEFT}" y="{y:.1f}" width="{ratio * scale:.1f}" height="{_BAR - 3}" fill="{colour}"/>']
    if spread is not None:
        low, high, middle = _LEFT + spread.low * scale, _LEFT + spread.high * scale, y + (_BAR - 3) / 2
        path = f"M{low:.1f} {middle - 4}v8 M{low:.1f} {middle}H{high:.1f} M{high:.1f} {middle - 4}v8"
        out.append(f'<path d="{path}" stroke="#222222" fill="none"/>')
        end = max(end, high)
    return [*out, _text(end + 6, y + 12, label, size=11)]


def _text(x: float, y: float, text: str, *, size: int = 13, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
