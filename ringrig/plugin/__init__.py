"""The pytest side of the rig: with `--kernel`, cases run on that kernel instead of in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.guest.markers import register
from ringrig.plugin import dispatch, options, prepare, record, schedule, verdict
from ringrig.plugin.known_issues import KnownIssues
from ringrig.plugin.progress import Progress

pytest_addoption = options.pytest_addoption


def pytest_configure(config: pytest.Config) -> None:
    register(config)
    if not config.getoption("kernel"):
        return
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(
            dispatch.Dispatch(config, prepare.of_worker(config)), "ringrig-dispatch"
        )
        return
    options.check(config)
    progress = Progress()
    context = prepare.prepare(config, progress)
    # Workers load it for themselves; a fault in it is to be told once, and before they start.
    known = KnownIssues.load(config.rootpath / "suites" / "known-issues.toml", context.plan)
    config.pluginmanager.register(record.begin(config, context), "ringrig-record")
    config.pluginmanager.register(verdict.Verdict(config, context, known), "ringrig-verdict")
    config.pluginmanager.register(prepare.ForWorkers(context), "ringrig-workers")
    config.pluginmanager.register(schedule, "ringrig-schedule")
    if not config.getoption("numprocesses", None):
        config.pluginmanager.register(dispatch.Dispatch(config, context), "ringrig-dispatch")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a kernel a case has nothing to run on; with a shared one those that may crash it are left
    out, and with any those that take minutes.
    """
    named = [argument.partition("::")[2] for argument in config.args if "::" in argument]
    if "exhaustive" not in config.option.markexpr:
        _leave_out(
            config,
            items,
            lambda item: (
                item.get_closest_marker("exhaustive") is not None
                and not any(item.nodeid.partition("::")[2].startswith(one) for one in named)
            ),
        )
    kernel = config.getoption("kernel")
    if not kernel and config.option.collectonly:
        return
    if not kernel:
        if any(item.nodeid.startswith("suites/") or item.get_closest_marker("crashes") for item in items):
            raise pytest.UsageError(
                "cases need a kernel to run on: --kernel host, --kernel debian:6.12, … (or: rig run)"
            )
        return
    if (kernel == "host" or kernel.startswith("ssh:")) and not config.getoption("crashing"):
        _leave_out(config, items, lambda item: item.get_closest_marker("crashes") is not None)


def _leave_out(config: pytest.Config, items: list[pytest.Item], which: Callable[[pytest.Item], bool]) -> None:
    if left_out := [item for item in items if which(item)]:
        items[:] = [item for item in items if not which(item)]
        config.hook.pytest_deselected(items=left_out)
