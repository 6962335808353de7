"""A pytest session that keeps what the kernel executed during all of its cases together; campaigns start it with `-p`.

It leaves coverage/totals-WORKER.json in the run folder, {object file without .o: counters as ringrig.guest.gcov gives them},
and with them the compiler's notes and the sources. Cases whose guest was lost count for nothing there.
"""

from __future__ import annotations

import base64
import json
import shutil
import zlib
from collections.abc import Generator
from pathlib import Path

import pytest

# Nothing of the rig's pytest side: pytest imports this module before it can rewrite that one's assertions.
from ringrig.cache import writing
from ringrig.campaign import gcda

FOLDER, NOTES = "coverage", "sources"
_KEPT = 64
"""So many files of counters are added up at a time."""


class _Totals:
    def __init__(self) -> None:
        self._files: dict[str, list[bytes]] = {}

    def take(self, gcov: dict[str, str]) -> None:
        for unit, packed in gcov.items():
            files = self._files.setdefault(unit, [])
            files.append(zlib.decompress(base64.b64decode(packed)))
            if len(files) > _KEPT:
                files[:] = [gcda.add(files)]

    def packed(self) -> dict[str, str]:
        return {
            unit: base64.b64encode(zlib.compress(gcda.add(files))).decode()
            for unit, files in self._files.items()
        }


_TOTALS = pytest.StashKey[_Totals]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    from ringrig.plugin.dispatch import OUTCOME

    result = yield
    outcome = item.stash.get(OUTCOME, None)
    if outcome is not None and outcome.gcov:
        item.config.stash.setdefault(_TOTALS, _Totals()).take(outcome.gcov)
    return result


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """On the controller: what gives the counters a meaning goes into the run folder."""
    workers = config.pluginmanager.get_plugin("ringrig-workers")
    if workers is None or config.option.collectonly:
        return
    folder = workers.context.folder / FOLDER
    with writing("the run folder", folder):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(Path(workers.context.plan.path).parents[1] / "gcov", folder / NOTES)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    dispatch = config.pluginmanager.get_plugin("ringrig-dispatch")
    totals = config.stash.get(_TOTALS, None)
    if dispatch is None or totals is None:
        return
    worker = getattr(config, "workerinput", {}).get("workerid", "guest")
    folder = Path(dispatch.keeper.plan.folder, FOLDER)
    with writing("the kernel's counters", folder):
        (folder / f"totals-{worker}.json").write_text(json.dumps(totals.packed()))
