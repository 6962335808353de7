"""A pytest session that runs its cases again and again, in guests that are replaced when spoilt; `rig bisect` starts it with `-p`.

tries.jsonl in the run folder has a line for each try (commit_verdict.Try). results.jsonl counts the worst of a case.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

# Nothing of the rig's pytest side: pytest imports this module before it can rewrite that one's assertions.
from ringrig.cache import writing
from ringrig.campaign.commit_verdict import FAILED, Quota, Tally, Try

if TYPE_CHECKING:
    from ringrig.plugin.dispatch import Dispatch

FILE = "tries.jsonl"
_LEAST = 3
"""Several cases share the passes of a quota, but each is tried so often."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tries", type=Quota.of, required=True, metavar="PASSES,FAILURES[,MARK]…")


def pytest_sessionstart(session: pytest.Session) -> None:
    """What a session that was interrupted has left in the folder does not count."""
    _file(session.config).unlink(missing_ok=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    from ringrig.plugin.dispatch import OUTCOME

    quota: Quota = item.config.getoption("tries")
    several = len(item.session.items)
    passes = quota.passes if several == 1 else max(_LEAST, quota.passes // several)
    quota = Quota(passes=passes, failures=quota.failures, marks=quota.marks)
    dispatch = _dispatch(item.config)
    tally = Tally()
    result = yield
    while (outcome := item.stash.get(OUTCOME, None)) is not None:
        one = _try(item.nodeid, outcome)
        tally.add(one, quota.marks)
        path = _file(item.config)
        with writing("the tries", path.parent), path.open("a") as file:
            file.write(json.dumps(asdict(one)) + "\n")
        if tally.enough(quota):
            break
        del item.stash[OUTCOME]  # it is missing where the next try finds no guest to run in
        dispatch.pytest_runtest_protocol(item, None)
    return result


def _dispatch(config: pytest.Config) -> Dispatch:
    found = config.pluginmanager.get_plugin("ringrig-dispatch")
    assert found is not None, "a session of tries runs its cases itself: -n0"
    return cast("Dispatch", found)


def _file(config: pytest.Config) -> Path:
    return Path(_dispatch(config).keeper.plan.folder, FILE)


def _try(nodeid: str, outcome: Any) -> Try:
    """What an Outcome says, known issues or not."""
    reports = outcome.reports or []
    # What an earlier try has caused counts for this one: it is the same case.
    late = [trouble for name, trouble in outcome.late if name == nodeid]
    troubles = [*outcome.troubles, *late, *(trouble for trouble, _ in outcome.uncertain)]
    failed = next((report for report in reports if report["outcome"] == "failed"), None)
    marks: dict[str, str] = {FAILED: _first_line(failed["longrepr"])} if failed else {}
    for trouble in troubles:
        marks.setdefault(trouble.fingerprint or trouble.kind, trouble.what)
    said = list(marks.values())
    word = "failed" if failed or troubles else "passed"
    if word == "passed" and (left_out := next((r for r in reports if r["outcome"] == "skipped"), None)):
        word, said = "skipped", [str(left_out["longrepr"][-1])]
    return Try(
        nodeid=nodeid,
        outcome=word,
        marks=tuple(marks),
        why="; ".join(said),
        seconds=round(sum(report["duration"] for report in reports), 4),
    )


def _first_line(longrepr: Any) -> str:
    """The failure's message; pytest's own form of it has been read from JSON by now, where there was any."""
    crash = getattr(longrepr, "reprcrash", None)
    text = str(crash.message if crash is not None else longrepr).strip()
    return text.split("\n", 1)[0][:200]
