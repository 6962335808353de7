"""A WARNING that comes 200 ms after its case has ended, while innocent cases run."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.crashes


def test_before() -> None:
    """Ends long before."""


def test_guilty(disaster: Callable[[str], None]) -> None:
    """Asks for a WARNING in 200 ms and is gone."""
    disaster("warn-after 200")


@pytest.mark.parametrize("number", range(6))
def test_innocent(number: int) -> None:
    time.sleep(0.05)
