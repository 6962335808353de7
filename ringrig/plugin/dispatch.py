"""Sends each case to its guest and brings its reports back, in whichever process runs cases (a worker, or
the only one).
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringrig.errors import RigError
from ringrig.plugin import company, nearest
from ringrig.plugin.company import Company
from ringrig.plugin.judge import Trouble
from ringrig.plugin.keeper import Keeper, Manner, Outcome
from ringrig.plugin.known_issues import KnownIssues
from ringrig.plugin.prepare import Context
from ringrig.vm import shell
from ringrig.vm.lines import Lines

_NEEDS = re.compile(r"Skipped: needs ([^:]+):")
_REFILL_SECONDS = 0.05
"""How long the controller may take to hand out more cases, having heard of those that ended: a child for a few costs more."""
OUTCOME = pytest.StashKey[Outcome]()
"""What became of an item, for plugins that want more of it than its reports."""


class Dispatch:
    """The process's keeper, and what it has to tell the controller at the end (`news`)."""

    def __init__(self, config: pytest.Config, context: Context) -> None:
        self._config = config
        self._worker = getattr(config, "workerinput", {}).get("workerid", "guest")
        get = config.getoption
        options = (
            f"--tb={get('tbstyle')}",
            *(["-l"] if get("showlocals") else []),
            *([f"-r{get('reportchars')}"] if get("reportchars") else []),
            "-vv" if get("verbose") > 1 else "-qq",  # the agent's own terminal is a log of complaints
        )
        manner = Manner(
            timeout=get("case_timeout") + get("model_budget"),
            fresh=get("fresh_vm"),
            options=options,
            keep=get("keep_guest"),
            told={name: get(name) for name in ("model_budget", "model_seed", "race_seed")},
        )
        self.keeper = Keeper(context.plan, worker=self._worker, manner=manner, say=self._say)
        self._known = KnownIssues.load(config.rootpath / "suites" / "known-issues.toml", context.plan)

        def most() -> int:
            slowness = self.keeper.ready_machine().slowness
            return company.size(context.plan, slowness=slowness, fresh=manner.fresh, keep=manner.keep)

        def known(reports: Sequence[dict[str, Any]]) -> bool:
            return self._known.expect([self._deserialized(deepcopy(data)) for data in reports])

        self._company = Company(self.keeper, most=most, alone=self._known.alone, known=known)
        vmlinux = context.plan.vmlinux
        self._lines = Lines(Path(vmlinux) if vmlinux else None)
        self._failed = False
        self.news: dict[str, Any] = {"uncertain": [], "fatal": None, "blind": {}, "ready": {}, "guests": 0}

    def _say(self, text: str) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None and not hasattr(self._config, "workerinput"):
            terminal.ensure_newline()
        print(f"rig: {text}", file=sys.stderr, flush=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        if not self._config.option.collectonly:
            self.keeper.begin()

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self, session: pytest.Session) -> Generator[None, object, object]:
        try:
            return (yield)
        except pytest.UsageError:
            if (why := nearest.refusal(session)) is not None:
                self.news["fatal"] = [int(pytest.ExitCode.USAGE_ERROR), str(why)]
            raise

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        try:
            outcome = self._company.run(item, self._coming(item, nextitem))
        except RigError as error:
            self.news["fatal"] = self.news["fatal"] or [error.exit_code, str(error)]
            item.session.shouldstop = error.what.splitlines()[0]
            reports = [_report(item.nodeid, item.location, "setup", "failed", error.what.splitlines()[0])]
        else:
            item.stash[OUTCOME] = outcome
            self._tell(outcome)
            reports = self._reports(item, outcome)
        for report in reports:
            self._failed |= report.failed
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        try:
            if self._config.getoption("keep_guest") and self._failed and self.keeper.machine is not None:
                capture = self._config.pluginmanager.get_plugin("capturemanager")
                if capture is not None:  # pytest keeps the terminal's input from its tests
                    capture.suspend_global_capture(in_=True)
                shell.keep(self.keeper.machine)
            elif not self.news["fatal"] and (outcome := self.keeper.finish()) is not None:
                self._tell(outcome)
        except RigError as error:
            self.news["fatal"] = [error.exit_code, str(error)]
        finally:
            self._tell(Outcome(ran=None, guest="", uncertain=self._company.open_doubts()))
            self.keeper.end()
            self.news |= {"blind": self.keeper.blind, "guests": self.keeper.boots, "ready": self.keeper.ready}
            if hasattr(self._config, "workeroutput"):
                self._config.workeroutput["ringrig"] = self.news

    def _place(self, outcome: Outcome) -> None:
        """Put file:line beside the functions in the evidence, and in what the case itself says."""

        def everywhere(data: Any) -> Any:
            if isinstance(data, dict):
                return {key: everywhere(value) for key, value in data.items()}
            if isinstance(data, list):
                return [everywhere(value) for value in data]
            return self._lines.annotate(data) if isinstance(data, str) else data

        def placed(trouble: Trouble) -> Trouble:
            return replace(trouble, detail=self._lines.annotate(trouble.detail))

        outcome.reports = [
            everywhere(data) if data["outcome"] == "failed" else data for data in outcome.reports or []
        ]
        outcome.troubles = [placed(trouble) for trouble in outcome.troubles]
        outcome.late = [(nodeid, placed(trouble)) for nodeid, trouble in outcome.late]
        outcome.uncertain = [(placed(trouble), suspects) for trouble, suspects in outcome.uncertain]

    def _deserialized(self, data: dict[str, Any]) -> pytest.TestReport:
        """Pytest's own, which takes `data` apart."""
        report = self._config.hook.pytest_report_from_serializable(config=self._config, data=data)
        assert isinstance(report, pytest.TestReport)
        return report

    def _reports(self, item: pytest.Item, outcome: Outcome) -> list[pytest.TestReport]:
        reports = [self._deserialized(data) for data in outcome.reports or []]
        for report in reports:
            report.location = item.location
            # JSON has no tuples, and pytest insists on (path, line, reason).
            if isinstance(report.longrepr, list):
                report.longrepr = tuple(report.longrepr)
        if not reports:
            reports = [
                _report(item.nodeid, item.location, when, "passed") for when in ("setup", "call", "teardown")
            ]
        for trouble in outcome.troubles:
            _fail(reports, trouble)
        self._known.apply(reports)
        _require(reports, self._config.getoption("require"))
        for report in reports:
            report.user_properties.append(("guest", outcome.guest))
        return reports

    def _tell(self, outcome: Outcome) -> None:
        """Report what earlier cases turned out to have done, and what nobody can be blamed for; all of it with file:line."""
        self._place(outcome)
        for nodeid, trouble in outcome.late:
            report = _report(
                nodeid, (nodeid.split("::")[0], 0, nodeid), "teardown", "failed", _text(trouble, late=True)
            )
            report.user_properties.append(("guest", outcome.guest))
            self._log_late(report)
        for trouble, suspects in outcome.uncertain:
            self.news["uncertain"].append(
                {
                    "kind": trouble.kind,
                    "what": trouble.what,
                    "detail": trouble.detail,
                    "suspects": suspects,
                }
            )

    def _log_late(self, report: pytest.TestReport) -> None:
        interactor = self._interactor()
        if interactor is None:
            self._config.hook.pytest_runtest_logreport(report=report)
            return
        # xdist's own path insists that a report is of the case that runs now.
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        interactor.sendevent("testreport", data=data)

    def _interactor(self) -> Any:
        """In a worker, xdist's end of the line to the controller, which it registers without a name; else None."""
        plugins = self._config.pluginmanager.get_plugins()
        return next((one for one in plugins if type(one).__name__ == "WorkerInteractor"), None)

    def _coming(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[pytest.Item]:
        """The cases that this process runs next, as far as it knows; who asks for more than those waits for them a little."""
        items, interactor = item.session.items, self._interactor()
        if nextitem is None:
            return
        yield nextitem
        if interactor is None:
            yield from items[items.index(nextitem) + 1 :]
            return
        seen, limit = 0, time.monotonic() + _REFILL_SECONDS
        while time.monotonic() < limit:
            with interactor.torun.lock() as queue:
                new = list(queue)[seen:]
            for number in new:
                if not isinstance(number, int):  # its end
                    return
                yield items[number]
            seen += len(new)
            time.sleep(0 if new else 0.002)


def _fail(reports: list[pytest.TestReport], trouble: Trouble) -> None:
    """The trouble fails the case's call (its set-up, if it got no further); a failure that is there keeps
    the first word.
    """
    report = next((r for r in reports if r.when == "call"), reports[0])
    report.user_properties.append(("trouble", f"{trouble.kind}: {trouble.what}"))
    if report.failed:
        report.sections.append((trouble.what, trouble.detail))
        return
    report.outcome = "failed"
    report.longrepr = _text(trouble)


def _require(reports: list[pytest.TestReport], required: Sequence[str]) -> None:
    """A case left out for want of a required capability fails."""
    for report in reports:
        found = (
            _NEEDS.search(str(report.longrepr))
            if report.skipped and not hasattr(report, "wasxfail")
            else None
        )
        wanted = set(found[1].split(", ")) & set(required) if found else set()
        if wanted:
            report.longrepr = f"--require {', '.join(sorted(wanted))}: {report.longrepr[2]}"  # type: ignore[index]
            report.outcome = "failed"


def _text(trouble: Trouble, *, late: bool = False) -> str:
    first = f"{trouble.what}{' (it came after the case had ended)' if late else ''}"
    return f"{first}\n\n{trouble.detail}" if trouble.detail else first


def _report(
    nodeid: str, location: tuple[str, int | None, str], when: Any, outcome: Any, longrepr: str | None = None
) -> pytest.TestReport:
    return pytest.TestReport(nodeid, location, {}, outcome, longrepr, when)
