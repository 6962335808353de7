"""The end of a run in words a person acts on, and its exit code (docs/exit-codes.md)."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ringrig.errors import NothingRan, RigError
from ringrig.model.profiles import profile_for
from ringrig.plugin import history, left_out
from ringrig.plugin.known_issues import KnownIssues
from ringrig.plugin.prepare import Context
from ringrig.plugin.record import OUTCOMES, Record, unwritten


class Verdict:
    """On the controller: gathers what the workers learnt, prints the verdict, sets the exit code."""

    def __init__(self, config: pytest.Config, context: Context, known: KnownIssues) -> None:
        self._config, self._context, self._known = config, context, known
        self._news: dict[str, Any] = {"uncertain": [], "fatal": None, "blind": {}, "ready": {}, "guests": 0}
        self._selected = 0

    @pytest.hookimpl
    def pytest_report_header(self) -> list[str]:
        plan = self._context.plan
        profile = profile_for(plan.profile or plan.spec, plan.release)
        pinned = (
            "" if profile.pinned else f" (UNPINNED: the nearest to {plan.release}; its traits are no promise)"
        )
        return [
            f"kernel: {plan.label}",
            f"judged by: {profile.name}{pinned}",
            *(f"note: {note}" for note in self._context.notes),
            f"run folder: {self._shown()}",
        ]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        self._merge(getattr(node, "workeroutput", {}).get("ringrig", {}))

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, report: pytest.TestReport) -> None:
        report.longrepr = f"{report.longrepr}, or one of those that shared its child"

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._selected = max(self._selected, len(session.items))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Any:
        result = None
        try:
            result = yield
        except OSError as error:  # of pytest's own junit.xml, for one
            if error.errno is None:
                raise
            self._fatal(unwritten(self._context.folder, error))
        if self._config.option.collectonly or self._config.pluginmanager.hasplugin("ringrig.plugin.shell"):
            return result
        if (dispatch := self._config.pluginmanager.get_plugin("ringrig-dispatch")) is not None:
            self._merge(dispatch.news)
        record: Record = self._config.pluginmanager.get_plugin("ringrig-record")  # type: ignore[assignment]
        if record.unwritten is not None:
            self._fatal(record.unwritten)
        counts, status = record.counts, int(session.exitstatus)
        if self._news["fatal"]:
            session.exitstatus = status = self._news["fatal"][0]
        elif status == 0 and self._news["uncertain"]:
            session.exitstatus = status = 1
        elif status == 0 and counts and set(counts) == {"skipped"}:
            session.exitstatus = status = NothingRan.exit_code
        lines = self._lines(record, counts, status)
        try:
            record.finish(lines[0], lines, {**self._news, "exit_code": status, "known": self._known})
        except OSError as error:
            self._fatal(unwritten(self._context.folder, error))
            session.exitstatus = status = self._news["fatal"][0]
            lines = self._lines(record, counts, status)
        if note := history.keep(self._context.folder, root=self._config.rootpath):
            lines.append(note)
        self._print(lines, status)
        return result

    def _fatal(self, error: RigError) -> None:
        self._news["fatal"] = self._news["fatal"] or [error.exit_code, str(error)]

    def _merge(self, news: dict[str, Any]) -> None:
        mine = self._news
        mine["uncertain"] += news.get("uncertain", [])
        mine["fatal"] = mine["fatal"] or news.get("fatal")
        mine["blind"] |= news.get("blind", {})
        mine["ready"] = news.get("ready") or mine["ready"]
        mine["guests"] += news.get("guests", 0)

    def _lines(self, record: Record, counts: Counter[str], status: int) -> list[str]:
        skipped = {
            nodeid: record.messages[nodeid].removeprefix("Skipped: ")
            for nodeid, outcome in record.outcomes.items()
            if outcome == "skipped"
        }
        plan = self._context.plan
        bad = counts["failed"] + counts["error"]
        if self._news["fatal"]:
            word = "NO VERDICT"
        elif bad or self._news["uncertain"]:
            word = "FAIL"
        elif status != 0:
            word = "NO VERDICT"
        else:
            word = "PARTIAL PASS" if skipped or plan.lacks else "PASS"
        parts = [f"{counts[name]} {name}" for name in OUTCOMES if counts[name]]
        out = [f"{word}: {plan.label}: {', '.join(parts) or 'no case ran'}"]
        if self._news["fatal"]:
            said = self._news["fatal"][1]
            out[0] += f": {_first_sentence(said).removeprefix(f'{plan.label}: ')}"
            out += ["", said]
        if status == NothingRan.exit_code and not self._news["fatal"]:
            out.append("Every case was skipped: that is no pass.")
        for entry in self._news["uncertain"]:
            names = entry["suspects"]
            more = [f"{len(names) - 6} more"] if len(names) > 6 else []
            suspects = " or ".join([*names[:6], *more]) or "nobody: no case ran near it"
            out += ["", f"UNCERTAIN: {entry['what']}", f"  one of: {suspects}", *_indent(entry["detail"])]
        known = [n for n, o in record.outcomes.items() if o == "xfailed"]
        out += [
            f"  {reason}: {n} case{'s'[: n != 1]}"
            for reason, n in Counter(record.messages[n] for n in known).items()
        ]
        out += [
            f"  expired on {one.expires}: known issue {one.id} ({one.title}) counts no longer; look at it again: "
            f"suites/known-issues.toml, {one.link}"
            for one in self._known.expired(record.outcomes)
        ]
        out += left_out.lines(plan, skipped, [str(word) for word in self._config.invocation_params.args])
        if self._news["blind"]:
            out.append(
                "not watched on this kernel: "
                + "; ".join(f"{k} ({v})" for k, v in self._news["blind"].items())
            )
        return out

    def _print(self, lines: list[str], status: int) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is None:
            return
        terminal.ensure_newline()
        colour = (
            {"red": True}
            if status
            else ({"yellow": True} if lines[0].startswith("PARTIAL") else {"green": True})
        )
        terminal.section("verdict", sep="=", bold=True)
        terminal.write_line(lines[0], bold=True, **colour)
        for line in [*lines[1:], f"run folder: {self._shown()}"]:
            terminal.write_line(line)

    def _shown(self) -> str:
        return os.path.relpath(self._context.folder, Path.cwd())


def _first_sentence(text: str) -> str:
    return text.splitlines()[0].partition(". ")[0].rstrip(".:")


def _indent(text: str) -> list[str]:
    return [f"  | {line}" for line in text.splitlines()[:30]]
