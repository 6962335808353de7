"""The search for lost memory comes after the other cases, so that it finds what they have lost."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name == "test_kmemleak.py")
