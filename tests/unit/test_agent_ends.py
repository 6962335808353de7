"""Agents end with their host, and cases with their agent; what cannot be started, switched or reaped is said; two agents take turns."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes import agents
from fakes.agents import cases, gone, outcome, started
from fakes.clone import ROOT

from ringrig.guest import children as children_of_agent
from ringrig.guest.wire import Closed
from ringrig.vm import machine as machines

PTRACE_SEIZE = 0x4206
suite, machine = agents.suite, agents.machine


def test_a_host_that_hangs_up_ends_agent_and_case(suite):
    """Promptly, and with all that the case has started."""
    (suite / "orphans").unlink(missing_ok=True)
    machine = started(suite, "hang-up")
    agent = machine.ready["pid"]
    machine.link.send({"op": "run", "id": 1, "nodeids": ["suites/test_orphans.py::test_hangs_with_orphans"]})
    orphans = written(suite / "orphans", 4)
    case = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
    began = time.monotonic()

    machine.end()

    assert time.monotonic() - began < 3
    assert gone([agent, *case, *orphans], seconds=2)


def test_an_agent_that_dies_takes_its_case_along(suite):
    """And the host is told."""
    machine = started(suite, "killed")
    agent = machine.ready["pid"]
    machine.link.send({"op": "run", "id": 1, "nodeids": ["suites/test_outcomes.py::test_hangs"]})
    case = children(agent)

    os.kill(agent, signal.SIGKILL)

    with pytest.raises(Closed):
        while machine.link.receive(5):
            pass
    assert gone(case)
    machine.end()


HOST = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from fakes.agents import started
machine = started(Path(sys.argv[1]), "orphaned")
machine.link.send({{"op": "run", "id": 1, "nodeids": ["suites/test_orphans.py::test_hangs_with_orphans"]}})
print(machine.ready["pid"], flush=True)
while machine.link.receive(1000):
    pass
"""


def test_a_host_that_is_killed_outright_leaves_nothing_behind(suite):
    """kill -9 of the rig: agent, case and its orphans end."""
    (suite / "orphans").unlink(missing_ok=True)
    script = HOST.format(root=str(ROOT), tests=str(ROOT / "tests"))
    with subprocess.Popen(
        [sys.executable, "-c", script, str(suite)], stdout=subprocess.PIPE, text=True
    ) as host:
        agent = int(host.stdout.readline())
        orphans = written(suite / "orphans", 4)
        case = children(agent)

        host.kill()

        assert gone([agent, *case, *orphans])


def test_an_agent_that_cannot_start_says_why(suite, monkeypatch):
    """In one error, with what it wrote on its standard error."""
    from ringrig.errors import GuestLost

    monkeypatch.setattr(machines, "_PYTHON_FLAGS", ("-P", "-m", "no_such_module"))

    with pytest.raises(GuestLost, match="No module named no_such_module"):
        started(suite, "none")


def test_a_case_that_cannot_be_reaped_does_not_tell_against_the_next(suite):
    """Like one stuck in the kernel: a tracer (this process) keeps it from its parent after its death."""
    libc = ctypes.CDLL(None, use_errno=True)
    machine = started(suite, "stuck")
    machine.link.send({"op": "run", "id": 1, "nodeids": ["suites/test_outcomes.py::test_hangs"]})
    (case,) = map(int, children(machine.ready["pid"]))
    if libc.ptrace(PTRACE_SEIZE, case, None, None) != 0:
        pytest.skip(f"no ptrace here: {os.strerror(ctypes.get_errno())}")
    machine.link.send({"op": "abort", "id": 1})

    try:
        assert answer(machine)["reaped"] is False
        machine.link.send({"op": "run", "id": 2, "nodeids": ["suites/test_outcomes.py::test_passes"]})
        assert answer(machine)["reaped"] is True
    finally:
        os.waitpid(case, 0x40000000)
        machine.end()


def test_children_are_found_without_the_kernels_own_list(monkeypatch):
    """CONFIG_PROC_CHILDREN is not in every configuration."""
    with subprocess.Popen(["sleep", "1000"]) as child:
        with_list = children_of_agent.children()
        monkeypatch.setattr(children_of_agent, "_CHILDREN", "/proc/self/task/{0}/none")
        without = children_of_agent.children()
        child.kill()

    assert child.pid in with_list
    assert with_list == without


def test_a_kernel_without_mutants_is_said_as_such(suite):
    """Not taken for one whose mutants nobody notices."""
    machine = started(suite, "unswitched")
    machine.link.send({"op": "run", "id": 1, "nodeids": cases("passes"), "mutant": 1})

    message = machine.link.receive(20)

    machine.end()
    assert message["op"] == "failed"
    assert "the kernel's mutants cannot be switched" in message["why"]


def answer(machine):
    """The next answer, whatever announces it."""
    message = machine.link.receive(20)
    return message if message["op"] == "done" else machine.link.receive(20)


def test_two_agents_on_one_kernel_take_turns(suite, machine):
    """Oracles that watch the whole kernel need it to themselves, case by case."""
    other = started(suite, "other")
    other.link.send({"op": "run", "id": 1, "nodeids": ["suites/test_outcomes.py::test_hangs"]})
    assert len(children(other.ready["pid"])) == 1
    machine.link.send({"op": "run", "id": 900, "nodeids": ["suites/test_outcomes.py::test_passes"]})

    assert machine.link.receive(0.3) is None

    other.end()
    assert machine.link.receive(10) == {"op": "begun", "id": 900}
    assert outcome(machine.link.receive(10)) == ["passed"] * 3


def written(path, lines):
    limit = time.monotonic() + 15
    while time.monotonic() < limit:
        if path.exists() and len(found := path.read_text().split()) == lines:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{path} was not written")


def children(pid):
    limit = time.monotonic() + 15
    while time.monotonic() < limit:
        if found := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            return found
        time.sleep(0.02)
    raise AssertionError(f"process {pid} has no child")
