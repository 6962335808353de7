"""The rows of the RFC's table, and what was measured of them: plain data that travels as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table. `buffers` and `replenish` (how many are given back at a time) are for nops.h; `rfc` is what
    the cover letter gives, in millions of NOPs a second.
    """

    name: str
    buffers: str
    replenish: int
    rfc: float


ROWS = (
    Row(name="no provided buffers", buffers="NOPS_NONE", replenish=0, rfc=30),
    Row(name="provided buffers, 32", buffers="NOPS_PROVIDED", replenish=32, rfc=16),
    Row(name="provided buffers, 1", buffers="NOPS_PROVIDED", replenish=1, rfc=10),
    Row(name="ring buffers, 32", buffers="NOPS_RING", replenish=32, rfc=27),
    Row(name="ring buffers, 1", buffers="NOPS_RING", replenish=1, rfc=27),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A median and its quartiles."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(low=low, median=median, high=high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one kernel gave."""

    release: str
    request: str
    """NOP, or READ of /dev/null where NOP takes no provided buffer."""
    why: str
    """What the probe saw that decided `request`."""
    layout: str
    """merged or rfc."""
    cpu: int
    """The CPU the loop was pinned to."""
    rates: list[list[float]] = field(default_factory=list)
    """Requests a second: a list for each row of ROWS, a value for each round."""
    fault: str = ""
    """The check that failed, with its row; then `rates` is of no use."""

    def rate(self, row: int) -> Spread:
        """Requests a second."""
        return Spread.of(self.rates[row])

    def ratio(self, row: int) -> Spread:
        """To the row without buffers of the same round, so that a slow spell of the machine cancels out."""
        return Spread.of([mine / base for mine, base in zip(self.rates[row], self.rates[0], strict=True)])

    def extra(self, row: int) -> float:
        """Nanoseconds a request takes beyond one without buffers, whatever the system call around it costs."""
        return 1e9 / self.rate(row).median - 1e9 / self.rate(0).median

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        fields: dict[str, Any] = json.loads(text)
        return cls(**fields)


def rfc_ratio(row: int) -> float:
    """The cover letter's figure for the row, to its figure without buffers."""
    return ROWS[row].rfc / ROWS[0].rfc


def rfc_extra(row: int) -> float:
    """The cover letter's figures as Measured.extra(), in nanoseconds."""
    return 1e3 / ROWS[row].rfc - 1e3 / ROWS[0].rfc
