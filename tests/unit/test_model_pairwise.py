"""ringrig.model.pairwise: all pairs, few rows, the same each time."""

from __future__ import annotations

from itertools import combinations, product

from ringrig.model.pairwise import pairwise

COLUMNS = ("abcdefgh", "ABCDEFG", "stuvwx", "12345", "xyz")


def test_every_two_values_stand_together() -> None:
    """Each pair of values of each pair of columns is in a row, and a row has a value of each column."""
    rows = pairwise(*COLUMNS)

    for left, right in combinations(range(len(COLUMNS)), 2):
        assert {(row[left], row[right]) for row in rows} == set(product(COLUMNS[left], COLUMNS[right]))


def test_few_rows() -> None:
    """Not many more than the two longest columns want, of 5040 in all."""
    assert 56 <= len(pairwise(*COLUMNS)) <= 70


def test_the_rows_are_the_same_each_time() -> None:
    """Ids of cases are made of them."""
    assert pairwise(*COLUMNS) == pairwise(*COLUMNS)
