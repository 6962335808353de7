"""A plugin of the agent's pytest (`-p ringrig.guest.tape`): each case is recorded, and its last report brings the recording.

What a failed comparison compared goes along: a recording alone does not say what the case wanted.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Generator
from typing import Any

import pytest

from ringrig.uring.record import Recorder

PROPERTY = "recording"
_recorder: list[Recorder] = []
_compared: list[dict[str, Any]] = []


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    _recorder.append(Recorder(watched=item.get_closest_marker("ends_within") is not None))
    _recorder[-1].start()


@pytest.hookimpl(tryfirst=True)
def pytest_assertrepr_compare(op: str, left: object, right: object) -> None:
    _compared.append({"op": op, "left": plain(left), "right": plain(right)})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _recorder and (report.when == "teardown" or not report.passed):
        told = {"events": _recorder[-1].events, "compared": _compared[-1:]}
        report.user_properties.append((PROPERTY, json.dumps(told)))
    return report


def plain(value: Any) -> Any:
    """What a case compared, for JSON: objects as dictionaries with their type's name, errors and ids as they are."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value) if one.compare
        }
        return {"type": type(value).__name__, **fields}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {"type": type(value).__name__} | dict(zip(value._fields, map(plain, value), strict=True))
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, bytes):
        return {"type": "bytes", "hex": value.hex()}
    return value if isinstance(value, int | str | None) else str(value)
