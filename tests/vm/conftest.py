"""How these tests are dealt to two workers: a file's together, as they share guests and builds; but each disaster by itself."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups for --dist loadgroup."""
    for item in items:
        if item.path.parent.name == "vm" and item.path.name != "test_disasters.py":
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
