"""Two things wrong at once: which check the kernel makes first."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.model.calls import unregistration
from ringrig.model.spec import Model
from ringrig.model.spoil import RING, UNREGISTER_SPOILS, Spoil, by_name, pairs
from ringrig.model.subject import Subject


@pytest.mark.parametrize("first, second", pairs(UNREGISTER_SPOILS), ids=by_name)
def test_two_errors_at_once_report_the_earlier_check(
    stage: Callable[..., Subject], model: Model, first: Spoil, second: Spoil
) -> None:
    """UNREGISTER_PBUF_RING with two faults: the errno of the check made first, and nothing changed.

    io_unregister_pbuf_ring()
    """
    ring = stage([first, second], RING)
    call = second.apply(first.apply(unregistration()))

    assert ring.unregister_pbuf_ring(call) == model.unregister_pbuf_ring(call)
    if not (first.restricted or second.restricted):
        assert ring.survey(7) == model.survey(7)


@pytest.mark.parametrize("spoil", UNREGISTER_SPOILS, ids=by_name)
def test_one_error_changes_nothing(stage: Callable[..., Subject], model: Model, spoil: Spoil) -> None:
    """UNREGISTER_PBUF_RING with one fault: its errno, and the group is what it was before.

    io_unregister_pbuf_ring()
    """
    ring = stage([spoil], RING)
    call = spoil.apply(unregistration())

    assert ring.unregister_pbuf_ring(call) == model.unregister_pbuf_ring(call)
    if not spoil.restricted:
        assert ring.survey(7) == model.survey(7)
