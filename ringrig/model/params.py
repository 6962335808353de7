"""What many cases are parametrized by: each value with its id, and the capabilities that it needs."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from _pytest.mark import ParameterSet

from ringrig.model.transfer import NEEDS, Op
from ringrig.model.waiting import RINGS


def ops(which: Iterable[Op] = Op) -> list[ParameterSet]:
    """Operations."""
    return [
        pytest.param(op, id=op.value, marks=[pytest.mark.needs(NEEDS[op])] if op in NEEDS else [])
        for op in which
    ]


def receives(*without: Op) -> list[ParameterSet]:
    """Those of them that receive, but for some."""
    return ops(op for op in Op if op is not Op.SEND and op not in without)


def rings(*names: str) -> list[ParameterSet]:
    """Set-up flags of rings that differ in who runs what was woken: RINGS, all by default."""
    return [
        pytest.param(flags, id=name, marks=pytest.mark.needs(*needs))
        for name, (flags, needs) in RINGS.items()
        if not names or name in names
    ]
