"""Two things wrong at once: which check the kernel makes first."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.model.calls import registration
from ringrig.model.spec import Model
from ringrig.model.spoil import REGISTER_SPOILS, Spoil, by_name, pairs
from ringrig.model.subject import Subject


@pytest.mark.parametrize("first, second", pairs(REGISTER_SPOILS), ids=by_name)
def test_two_errors_at_once_report_the_earlier_check(
    stage: Callable[..., Subject], model: Model, first: Spoil, second: Spoil
) -> None:
    """REGISTER_PBUF_RING with two faults: the errno of the check made first, and nothing changed.

    io_register_pbuf_ring(); ef62de3c4ad5 (6.14) moved the address behind entries, min_left and the group.
    """
    ring = stage([first, second])
    call = second.apply(first.apply(registration()))

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    if not (first.restricted or second.restricted):
        assert ring.survey(7) == model.survey(7)


@pytest.mark.parametrize("spoil", REGISTER_SPOILS, ids=by_name)
def test_one_error_changes_nothing(stage: Callable[..., Subject], model: Model, spoil: Spoil) -> None:
    """REGISTER_PBUF_RING with one fault: its errno, and the group is what it was before.

    io_register_pbuf_ring()
    """
    ring = stage([spoil])
    call = spoil.apply(registration())

    assert ring.register_pbuf_ring(call) == model.register_pbuf_ring(call)
    if not spoil.restricted:
        assert ring.survey(7) == model.survey(7)
