"""Rows of a table in which every two values of two columns stand together at least once."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

Pair = frozenset[tuple[int, str]]


def pairwise(*columns: Iterable[str]) -> list[tuple[str, ...]]:
    """The same rows for the same columns, and far fewer than all: greedy, the pair that is missing first begins a row."""
    values = [tuple(column) for column in columns]
    missing: dict[Pair, None] = {
        frozenset({(left, one), (right, other)}): None
        for left, right in combinations(range(len(values)), 2)
        for one in values[left]
        for other in values[right]
    }
    rows = []
    while missing:
        row = dict(next(iter(missing)))
        for at, column in enumerate(values):
            if at not in row:
                row[at] = max(column, key=lambda value: _gain(row, at, value, missing))
        for pair in combinations(row.items(), 2):
            missing.pop(frozenset(pair), None)
        rows.append(tuple(row[at] for at in range(len(values))))
    return rows


def _gain(row: dict[int, str], at: int, value: str, missing: dict[Pair, None]) -> int:
    """Pairs that are missing and would come with `value` in column `at`."""
    return sum(frozenset({(at, value), known}) in missing for known in row.items())
