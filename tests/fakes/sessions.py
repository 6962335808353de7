"""Sessions over the cases a, b and c of one file. Machines are made of paper, each case has a child of its own."""

import json

import pytest
from fakes.machines import World

from ringrig.plugin import company
from ringrig.plugin import keeper as keepers
from ringrig.vm import machine as machines


@pytest.fixture
def run(pytester, monkeypatch, tmp_path):
    """run("abc", world): a session over the cases a, b and c on a machine of that world."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RINGRIG_FACTS", raising=False)
    pytester.makeconftest('pytest_plugins = ["ringrig.plugin"]')
    pytester.makeini(
        "[pytest]\naddopts = --import-mode=importlib -p no:xdist -p no:hypothesispytest\ntestpaths = suites\n"
    )
    pytester.mkdir("suites")

    def run(cases, world, *options):
        monkeypatch.setattr(machines, "start", world.start)
        monkeypatch.setattr(keepers, "time", world)
        monkeypatch.setattr(company, "size", lambda *_, **__: 1)
        text = "import pytest\n" + "".join(f"def test_{name}(): pass\n" for name in cases)
        (pytester.path / "suites/test_it.py").write_text(text)
        return pytester.runpytest_inprocess("--kernel", "host", *options)

    return run


def node(name):
    return f"suites/test_it.py::test_{name}"


def answers(world, name, *, call="passed", why=None, setup="passed", teardown="passed", **facts):
    """What the agent is to say of case `name`."""
    when = {"setup": setup, "call": call, "teardown": teardown}
    if setup != "passed":
        del when["call"]
    reports = [
        pytest.TestReport(
            node(name),
            ("suites/test_it.py", 1, name),
            {},
            outcome,
            None if outcome == "passed" else why,
            when,
        )
        for when, outcome in when.items()
    ]
    data = json.loads(json.dumps([{**report._to_json(), "$report_type": "TestReport"} for report in reports]))
    world.does[node(name)] = lambda _, n: world.done(n, reports=data, **facts)


@pytest.fixture
def world():
    world = World()
    for name in "abc":
        answers(world, name)
    return world


def folder(pytester):
    return (pytester.path / "runs" / "latest").resolve()


def results(pytester):
    lines = (folder(pytester) / "results.jsonl").read_text().splitlines()
    return [(line["nodeid"].rsplit("_", 1)[1], line["outcome"]) for line in map(json.loads, lines)]
