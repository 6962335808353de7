"""Which worker runs what: pytest-xdist's `load`, but no handful of quick cases, which would have a child to themselves."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScheduling  # type: ignore[import-untyped]

_QUICK = 0.05
"""Seconds of a case, where more of them cost less than another child."""
_LEAST = 24


class InGroups(LoadScheduling):  # type: ignore[misc]  # xdist says nothing of its types
    """Hands out _LEAST cases at a time at least, to who has just run a quick one."""

    _least = 0

    def check_schedule(self, node: Any, duration: float = 0) -> None:
        """Called for each case that has ended, with its duration in seconds."""
        self._least = _LEAST if duration < _QUICK else 0
        super().check_schedule(node, duration)

    def _send_tests(self, node: Any, num: int) -> None:
        super()._send_tests(node, max(num, self._least))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> InGroups | None:
    """In place of `load` alone, which -n takes by itself; and not where --maxschedchunk says how many."""
    plain = config.getvalue("dist") == "load" and config.getoption("maxschedchunk") is None
    return InGroups(config, log) if plain else None
