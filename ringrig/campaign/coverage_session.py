"""A pytest session that keeps what the kernel counted during each case; `rig coverage` starts it with `-p`."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from ringrig.cache import writing
from ringrig.plugin.dispatch import OUTCOME


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    result = yield
    dispatch = item.config.pluginmanager.get_plugin("ringrig-dispatch")
    outcome = item.stash.get(OUTCOME, None)
    if dispatch is not None and outcome is not None:
        folder = Path(dispatch.keeper.plan.folder, "coverage")
        worker = getattr(item.config, "workerinput", {}).get("workerid", "guest")
        line = {"nodeid": item.nodeid, "guest": outcome.guest, "gcov": outcome.gcov}
        with writing("the kernel's counters"):
            folder.mkdir(exist_ok=True)
            with (folder / f"counters-{worker}.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
    return result
