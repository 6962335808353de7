"""The session of a bisection runs its case until enough is known, and says of each try in which way it failed."""

import json
from types import SimpleNamespace

import pytest

from ringrig.campaign.commit_verdict import Quota
from ringrig.campaign.tries_session import pytest_runtest_protocol, pytest_sessionstart
from ringrig.plugin.dispatch import OUTCOME, Dispatch
from ringrig.plugin.judge import Trouble
from ringrig.plugin.keeper import Outcome

CASE = "suites/x/test_a.py::test_1"
SPLAT = Trouble(kind="splat", what="kernel splat: WARNING", fingerprint="abc")
CRASH = SimpleNamespace(reprcrash=SimpleNamespace(message="assert 1 == 2\nmore"))


def outcome(*, failed=False, **more):
    report = {"outcome": "failed" if failed else "passed", "longrepr": CRASH, "duration": 0.1}
    return Outcome(ran=None, guest="guest-1", reports=[report], **more)


class Fake(Dispatch):
    """Each protocol leaves the next outcome; none where there is no guest any more."""

    def __init__(self, folder, outcomes):
        self.keeper = SimpleNamespace(plan=SimpleNamespace(folder=str(folder)))
        self.outcomes = list(outcomes)

    def pytest_runtest_protocol(self, item, nextitem):
        if self.outcomes:
            item.stash[OUTCOME] = self.outcomes.pop(0)
        return True


@pytest.fixture
def tries(tmp_path):
    """What tries.jsonl says after a session with these outcomes and quota, in a folder that had one before."""

    def ran(outcomes, quota, cases=1):
        dispatch = Fake(tmp_path, outcomes)
        config = SimpleNamespace(
            getoption=lambda _: quota, pluginmanager=SimpleNamespace(get_plugin=lambda _: dispatch)
        )
        item = SimpleNamespace(
            nodeid=CASE, config=config, stash=pytest.Stash(), session=SimpleNamespace(items=[1] * cases)
        )
        (tmp_path / "tries.jsonl").write_text("of a session that was interrupted")
        pytest_sessionstart(SimpleNamespace(config=config))
        around = pytest_runtest_protocol(item, None)
        next(around)
        dispatch.pytest_runtest_protocol(item, None)
        with pytest.raises(StopIteration):
            around.send(True)
        return [json.loads(line) for line in (tmp_path / "tries.jsonl").read_text().splitlines()]

    return ran


def test_it_goes_on_until_enough_have_passed(tries):
    """And no further; of several cases each has its share of the passes."""
    assert len(tries([outcome()] * 9, Quota(passes=5))) == 5
    assert len(tries([outcome()] * 9, Quota(passes=12), cases=3)) == 4


def test_a_failure_in_the_cases_own_words(tries):
    """The first line of the assertion."""
    found = tries([outcome(failed=True)] * 9, Quota(passes=5))

    assert [(one["outcome"], one["marks"], one["why"]) for one in found] == [
        ("failed", ["failed"], "assert 1 == 2")
    ] * 2


@pytest.mark.parametrize(
    "how", [{"troubles": [SPLAT, SPLAT]}, {"late": [(CASE, SPLAT)]}, {"uncertain": [(SPLAT, [CASE])]}]
)
def test_a_splat_has_its_fingerprint(tries, how):
    """Found at once, late, or with nobody to blame but the case."""
    found = tries([outcome(**how)] * 9, Quota(passes=5, marks=("failed",)))

    assert [(one["marks"], one["why"]) for one in found] == [(["abc"], SPLAT.what)] * 3


def test_what_is_left_out_is_tried_once(tries):
    """With the reason."""
    out = Outcome(
        ran=None, guest="g", reports=[{"outcome": "skipped", "longrepr": ["f", 1, "Skipped: needs inc"], "duration": 0}]
    )  # fmt: skip

    assert [(one["outcome"], one["why"]) for one in tries([out] * 9, Quota(passes=5))] == [
        ("skipped", "Skipped: needs inc")
    ]


def test_without_a_guest_it_ends(tries):
    """What is known by then is kept."""
    assert len(tries([outcome(), outcome()], Quota(passes=5))) == 2
