"""Two things wrong at once: which check the kernel makes first."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.model.calls import status
from ringrig.model.spec import Model
from ringrig.model.spoil import RING, STATUS_SPOILS, Spoil, by_name, pairs
from ringrig.model.subject import Subject

pytestmark = pytest.mark.needs("status")


@pytest.mark.parametrize("first, second", pairs(STATUS_SPOILS), ids=by_name)
def test_two_errors_at_once_report_the_earlier_check(
    stage: Callable[..., Subject], model: Model, first: Spoil, second: Spoil
) -> None:
    """REGISTER_PBUF_STATUS with two faults: the errno of the check made first, and nothing changed.

    io_register_pbuf_status()
    """
    ring = stage([first, second], RING)
    call = second.apply(first.apply(status()))

    assert ring.pbuf_status(call) == model.pbuf_status(call)
    if not (first.restricted or second.restricted):
        assert ring.survey(7) == model.survey(7)


@pytest.mark.parametrize("spoil", STATUS_SPOILS, ids=by_name)
def test_one_error_changes_nothing(stage: Callable[..., Subject], model: Model, spoil: Spoil) -> None:
    """REGISTER_PBUF_STATUS with one fault: its errno, and the group is what it was before.

    io_register_pbuf_status()
    """
    ring = stage([spoil], RING)
    call = spoil.apply(status())

    assert ring.pbuf_status(call) == model.pbuf_status(call)
    if not spoil.restricted:
        assert ring.survey(7) == model.survey(7)
