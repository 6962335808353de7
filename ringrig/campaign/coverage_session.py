"""A pytest session that keeps what the kernel counted during each case, and reports on it; `rig coverage` starts it with `-p`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

# Nothing of the rig's pytest side: pytest imports this module before it can rewrite that one's assertions.
from ringrig.cache import writing
from ringrig.report.coverage import SOURCES


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    from ringrig.plugin.dispatch import OUTCOME

    result = yield
    dispatch = item.config.pluginmanager.get_plugin("ringrig-dispatch")
    outcome = item.stash.get(OUTCOME, None)
    if dispatch is not None and outcome is not None:
        folder = Path(dispatch.keeper.plan.folder, "coverage")
        worker = getattr(item.config, "workerinput", {}).get("workerid", "guest")
        line = {"nodeid": item.nodeid, "guest": outcome.guest, "gcov": outcome.gcov}
        with (
            writing("the kernel's counters", folder),
            (folder / f"counters-{worker}.jsonl").open("a") as file,
        ):
            file.write(json.dumps(line) + "\n")
    return result


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """On the controller, after the verdict: its sessionfinish goes around that one's."""
    workers = config.pluginmanager.get_plugin("ringrig-workers")
    if workers is None or config.option.collectonly:
        return
    folder = workers.context.folder
    with writing("the run folder", folder):
        shutil.copytree(Path(workers.context.plan.path).parents[1] / "gcov", folder / "coverage" / SOURCES)
    config.pluginmanager.register(_Reporter(folder), "ringrig-coverage")


class _Reporter:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        from ringrig.campaign import coverage
        from ringrig.errors import RigError

        result = yield
        terminal = session.config.pluginmanager.get_plugin("terminalreporter")
        try:
            lines, wrong = coverage.report(self._folder)
        except RigError as error:
            lines, status = [str(error)], error.exit_code
        else:
            status = int(wrong)
        session.exitstatus = session.exitstatus or status
        if terminal is not None:
            terminal.section("coverage", sep="=", bold=True)
            for line in lines:
                terminal.write_line(line)
        return result
