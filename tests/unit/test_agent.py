"""The agent, for real and on the running kernel: each case in its own child, and the agent outlives them all."""

import json
import signal
import time
from pathlib import Path

import pytest
from fakes import agents
from fakes.agents import gone, outcome

suite, machine = agents.suite, agents.machine


@pytest.fixture
def run(machine):
    """run("file.py::case"): the agent's answer; every test uses the same agent, whatever the case before
    did.
    """
    count = iter(range(1, 1000))

    def run(nodeid, *, folder="suites", abort_after=None):
        number = next(count)
        machine.link.send({"op": "run", "id": number, "nodeids": [f"{folder}/{nodeid}"]})
        begun = machine.link.receive(20)
        if begun["op"] == "done":
            return begun
        assert (begun["op"], begun["id"]) == ("begun", number)
        if abort_after is not None:
            assert machine.link.receive(abort_after) is None
            machine.link.send({"op": "abort", "id": number})
        done = machine.link.receive(20)
        assert done is not None, "no answer"
        assert (done["op"], done["id"]) == ("done", number)
        return done

    return run


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("passes", ["passed", "passed", "passed"]),
        ("fails", ["passed", "failed", "passed"]),
        ("skips", ["passed", "skipped", "passed"]),
        ("has_no_set_up", ["failed", "passed"]),
        ("has_no_tear_down", ["passed", "passed", "failed"]),
        ("facts", ["passed", "passed", "passed"]),
        ("closes_every_descriptor", ["passed", "passed", "passed"]),
    ],
)
def test_every_report_comes_back(run, case, expected):
    """Set-up, call, tear-down, as pytest made them."""
    done = run(f"test_outcomes.py::test_{case}")

    assert outcome(done) == expected
    assert (done["status"], done["reaped"], done["stacks"]) == (0, True, "")


def test_a_failure_comes_with_its_rewritten_assertion(run):
    """As if it had failed here."""
    done = run("test_outcomes.py::test_fails")

    assert "assert 1 == 2" in json.dumps(done["reports"][1])


def test_a_comparison_is_explained(run):
    """By pytest_assertrepr_compare, the suites' own among them."""
    done = run("test_outcomes.py::test_differs")

    assert "Extra items in the left set" in json.dumps(done["reports"][1])


def test_output_comes_back_with_the_report(run):
    """From print and from the descriptor; none of it reaches the wire."""
    sections = dict(run("test_outcomes.py::test_passes")["reports"][2]["sections"])

    assert sections["Captured stdout call"] == "a word on stdout\nbytes on descriptor 1\n"


def test_a_report_may_be_long(run):
    """Longer than any pipe."""
    assert len(json.dumps(run("test_outcomes.py::test_says_much")["reports"])) > 3_000_000


@pytest.mark.parametrize("text", ["a b", "x::y", "[z]", "\\xe9"])
def test_parameters_may_hold_anything(run, text):
    """Colons and brackets in a node id are part of it."""
    assert outcome(run(f"test_outcomes.py::test_parameters[{text}]")) == ["passed"] * 3


def test_a_case_bears_its_number_as_its_name(run):
    """That is how the kernel's log names it."""
    done = run("test_outcomes.py::test_is_named")

    assert f"case-{done['id']}" in json.dumps(done["reports"])


@pytest.mark.parametrize(("case", "status"), [("segfaults", signal.SIGSEGV), ("leaves_at_once", 3 << 8)])
def test_a_case_that_dies_leaves_its_status(run, case, status):
    """No reports, and the agent goes on."""
    done = run(f"test_outcomes.py::test_{case}")

    assert done["reports"] is None
    assert done["status"] & ~0x80 == status
    assert outcome(run("test_outcomes.py::test_passes")) == ["passed"] * 3


def test_a_case_that_forks_and_returns_twice_reports_once(run):
    """The second process is not the case."""
    assert outcome(run("test_outcomes.py::test_forks_and_both_return")) == ["passed"] * 3


def test_a_case_that_hangs_is_portrayed_and_killed(run):
    """SIGTERM ignored or not; the agent is usable afterwards."""
    done = run("test_outcomes.py::test_hangs", abort_after=0.3)

    assert (done["reports"], done["status"], done["reaped"]) == (None, signal.SIGKILL, True)
    assert f"case-{done['id']} state S" in done["stacks"]
    assert "pause" in done["stacks"] or "syscall 34 " in done["stacks"]
    assert gone([done["pid"]])
    assert outcome(run("test_outcomes.py::test_passes")) == ["passed"] * 3


def test_an_abort_that_comes_too_late_hits_nobody(run, machine):
    """The case has ended, and the next one is another."""
    first = run("test_outcomes.py::test_passes")
    machine.link.send({"op": "abort", "id": first["id"]})

    assert outcome(run("test_outcomes.py::test_fails")) == ["passed", "failed", "passed"]


def test_what_a_case_leaks_dies_with_it(run, machine):
    """Descriptors, directory, environment, limits, modules: neither the agent nor the next case has them."""
    run("test_outcomes.py::test_passes")
    before = len(list(Path(f"/proc/{machine.ready['pid']}/fd").iterdir()))

    assert outcome(run("test_outcomes.py::test_leaks")) == ["passed"] * 3
    assert outcome(run("test_outcomes.py::test_finds_nothing_leaked")) == ["passed"] * 3
    assert len(list(Path(f"/proc/{machine.ready['pid']}/fd").iterdir())) == before


def test_orphans_die_with_their_case(run, suite):
    """Also those in sessions of their own, and their children."""
    (suite / "orphans").unlink(missing_ok=True)

    done = run("test_orphans.py::test_leaves_orphans")

    pids = (suite / "orphans").read_text().split()
    assert outcome(done) == ["passed"] * 3
    assert done["reaped"]
    assert len(pids) == 4
    assert gone(pids, seconds=1)


def test_a_file_that_cannot_be_imported_leaves_the_others_usable(run):
    """Its cases are lost, with the reason; again and again."""
    for _ in range(2):
        assert "no_such_module" in run("test_broken.py::test_a")["lost"]
    assert "SyntaxError" in run("test_syntax.py::test_a")["lost"]
    assert outcome(run("test_top.py::test_a")) == ["passed"] * 3


@pytest.mark.parametrize("nodeid", ["test_top.py::test_b", "test_none.py::test_a", "none/test_a.py::test_a"])
def test_a_case_that_is_not_there_is_lost(run, nodeid):
    """The host's clone has changed, or the file did not travel."""
    assert "not collected" in run(nodeid)["lost"]


def test_fixtures_are_those_of_the_folder_and_its_parents(run):
    """In whatever order the files come."""
    for name in (
        "deep/test_two.py::test_a",
        "test_top.py::test_a",
        "deep/er/test_three.py::TestIt::test_a",
        "deep/test_one.py::test_a",
        "deep/test_two.py::test_a",
        "deep/er/test_three.py::TestIt::test_a",
    ):
        done = run(name)
        assert outcome(done) == ["passed"] * 3, done


def test_times_are_the_kernels(run):
    """So that they compare with the log's stamps."""
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    done = run("test_outcomes.py::test_passes")

    assert before <= done["began"] <= done["ended"] <= time.clock_gettime(time.CLOCK_MONOTONIC)
