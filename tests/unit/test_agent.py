"""The agent, for real and on the running kernel: each case in its own child, and the agent outlives them
all.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes.clone import ROOT
from fakes.machines import plan

from ringrig.guest import children as children_of_agent
from ringrig.guest.wire import Closed
from ringrig.plugin.prepare import _ini
from ringrig.vm import machine as machines
from ringrig.vm import pack

PTRACE_SEIZE = 0x4206
OUTCOMES = """
import os, resource, signal, sys, time, pytest

def test_passes():
    print("a word on stdout")
    os.write(1, b"bytes on descriptor 1\\n")

def test_fails():
    have, want = 1, 2
    assert have == want

def test_differs():
    assert {1} == {2}

def test_skips():
    pytest.skip("needs nothing")

@pytest.mark.skip("not here")
def test_is_left_out():
    pass

@pytest.fixture
def broken():
    raise RuntimeError("no set-up")

def test_has_no_set_up(broken):
    pass

@pytest.fixture
def untidy():
    yield
    raise RuntimeError("no tear-down")

def test_has_no_tear_down(untidy):
    pass

@pytest.mark.parametrize("text", ["a b", "x::y", "[z]", "\\u00e9"])
def test_parameters(text):
    pass

def test_segfaults():
    os.kill(os.getpid(), signal.SIGSEGV)

def test_leaves_at_once():
    os._exit(3)

def test_hangs():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("before the hang")
    while True:
        signal.pause()

def test_leaks():
    for _ in range(200):
        os.pipe()
    os.chdir("/")
    os.environ["LEAKED"] = "yes"
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    sys.modules["leaked"] = sys

def test_finds_nothing_leaked():
    assert len(os.listdir("/proc/self/fd")) < 64
    assert "LEAKED" not in os.environ and "leaked" not in sys.modules
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] != 64
    assert os.path.exists("suites")

def test_closes_every_descriptor():
    os.closerange(0, 3)

def test_says_much():
    print("x" * 3_000_000)

def test_forks_and_both_return():
    os.fork()

def test_facts():
    import json
    assert json.loads(os.environ["RINGRIG_FACTS"])["shared"] is True

def test_is_named():
    print(open("/proc/self/comm").read())

@pytest.mark.parametrize("turn", range(3))
def test_takes_its_time(turn):
    time.sleep(0.6)

@pytest.mark.parametrize("turn", range(3))
def test_counts_on(turn):
    pytest.turns = getattr(pytest, "turns", 0) + 1
    assert pytest.turns == turn + 1
"""
ORPHANS = """
import os, time
from pathlib import Path

def test_leaves_orphans():
    note = Path({note!r})
    for generation in range(2):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.setsid()
            with note.open("a") as out:
                out.write(f"{{os.getpid()}}\\n")
            time.sleep(1000)
    while not note.exists() or len(note.read_text().split()) < 4:
        time.sleep(0.01)

def test_hangs_with_orphans():
    test_leaves_orphans()
    time.sleep(1000)
"""
FIXTURES = {
    "conftest.py": "import pytest\n@pytest.fixture\ndef outer():\n    return 'outer'\n",
    "test_top.py": "def test_a(outer):\n    assert outer == 'outer'\n",
    "deep/conftest.py": "import pytest\n@pytest.fixture\ndef inner(outer):\n    return outer + ' inner'\n",
    "deep/test_one.py": "def test_a(inner):\n    assert inner == 'outer inner'\n",
    "deep/test_two.py": "def test_a(inner, outer):\n    assert inner == outer + ' inner'\n",
    "deep/er/conftest.py": "import pytest\n@pytest.fixture\ndef outer():\n    return 'other'\n",
    "deep/er/test_three.py": "class TestIt:\n    def test_a(self, inner):\n        assert inner == 'other inner'\n",
    "test_broken.py": "import no_such_module\n\ndef test_a():\n    pass\n",
    "test_syntax.py": "def test_a(:\n",
}
NUMBERED = [f"suites/test_outcomes.py::test_{name}" for name in ("passes", "skips")]


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """A packed suite; the folder with its `suite.tar` and the file where orphans write their ids."""
    root = tmp_path_factory.mktemp("agent")
    (root / "clone").mkdir()
    (root / "clone" / "ringrig").symlink_to(ROOT / "ringrig")
    files = {
        **FIXTURES,
        "test_outcomes.py": OUTCOMES,
        "test_orphans.py": ORPHANS.format(note=str(root / "orphans")),
    }
    for name, text in files.items():
        path = root / "clone" / "suites" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "files").mkdir()
    (root / "files/tool.sh").write_text("#!/bin/sh\necho tool; exit 7\n")
    (root / "files/tool.sh").chmod(0o755)
    pack.suite(root / "clone", ["suites"], _ini(), root / "suite.tar", cases=NUMBERED, files=root / "files")
    return root


def started(suite, name):
    here = plan(
        kind="host",
        spec="host",
        label="host",
        release="",
        scratch=str(suite),
        folder=str(suite),
        suite=str(suite / "suite.tar"),
    )
    machine = machines.start(here, name=name, say=lambda _: None)
    machine.agent(facts={"kernel": "host"}, options=["--tb=short"])
    return machine


@pytest.fixture(scope="module")
def machine(suite):
    machine = started(suite, "shared")
    yield machine
    machine.end()


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


@pytest.fixture
def ask(machine):
    """ask(nodeids=…) or ask(command=…): how often the agent said that it goes on, and its answer."""
    count = iter(range(1001, 2000))

    def ask(*, abort_after=None, **what):
        number, news = next(count), 0
        machine.link.send({"op": "run", "id": number, **what})
        assert machine.link.receive(20) == {"op": "begun", "id": number}
        if abort_after is not None:
            assert machine.link.receive(abort_after) is None
            machine.link.send({"op": "abort", "id": number})
        while (message := machine.link.receive(20))["op"] == "goes on":
            news += 1
        assert (message["op"], message["id"]) == ("done", number)
        return news, message

    return ask


def cases(*names):
    return [f"suites/test_outcomes.py::test_{name}" for name in names]


def outcome(done):
    return [report["outcome"] for report in done["reports"]]


def alive(pid):
    """Running, or dead and not collected by its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def gone(pids, *, seconds=5):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if not any(map(alive, pids)):
            return True
        time.sleep(0.02)
    return False


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
from unit.test_agent import started
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


def test_several_cases_run_in_one_process(ask):
    """In their order; the reports are the last one's."""
    _, done = ask(nodeids=cases("counts_on[0]", "counts_on[1]", "counts_on[2]"))

    assert (done["passed"], outcome(done), done["status"]) == (2, ["passed"] * 3, 0)
    assert done["reports"][0]["nodeid"].endswith("test_counts_on[2]")


@pytest.mark.parametrize(
    ("names", "passed", "outcomes"),
    [
        (["passes", "fails", "facts"], 1, ["passed", "failed", "passed"]),
        (["passes", "facts", "skips", "is_named"], 2, ["passed", "skipped", "passed"]),
        (["has_no_set_up", "passes"], 0, ["failed", "passed"]),
        (["passes", "has_no_tear_down", "facts"], 1, ["passed", "passed", "failed"]),
    ],
)
def test_the_first_that_does_not_pass_is_the_last_to_run(ask, names, passed, outcomes):
    """A dot for each before it, and its reports."""
    _, done = ask(nodeids=cases(*names))

    assert (done["passed"], outcome(done)) == (passed, outcomes)


def test_the_reports_of_each_may_be_wanted(ask):
    """With the time since when it ran; none is an end then, whatever becomes of it. Of a pass durations are enough."""
    _, done = ask(nodeids=cases("passes", "is_left_out", "fails", "skips", "is_named"), each=True)

    left_out, failed, skipped = (
        ["skipped", "passed"],
        ["passed", "failed", "passed"],
        ["passed", "skipped", "passed"],
    )
    passed, *others = done["each"]
    assert len(passed["seconds"]) == 3
    assert [outcome(one) for one in others] == [left_out, failed, skipped]
    assert outcome(done) == ["passed"] * 3
    since = [*(one["since"] for one in done["each"]), done["since"]]
    assert sorted([done["began"], *since, done["ended"]]) == [done["began"], *since, done["ended"]]


@pytest.mark.parametrize("name", ["segfaults", "leaves_at_once"])
def test_of_several_the_one_that_dies_is_known(ask, name):
    """By the dots before it."""
    _, done = ask(nodeids=cases("passes", "facts", name, "is_named"))

    assert (done["passed"], done["reports"]) == (2, None)


def test_of_several_the_one_that_hangs_is_known(ask):
    """It is portrayed and killed, and the agent goes on."""
    _, done = ask(nodeids=cases("passes", "hangs", "facts"), abort_after=0.5)

    assert (done["passed"], done["reports"], done["status"]) == (1, None, signal.SIGKILL)
    assert f"case-{done['id']} state S" in done["stacks"]
    assert ask(nodeids=cases("passes"))[1]["passed"] == 0


def test_the_host_hears_that_several_go_on(ask):
    """Its deadline is for one case, not for all; quick ones are not worth a word each."""
    slow, _ = ask(nodeids=cases(*(f"takes_its_time[{turn}]" for turn in range(3))))
    quick, _ = ask(nodeids=cases("passes", "facts", "is_named", "closes_every_descriptor"))

    assert slow >= 2
    assert quick <= 1


def test_a_case_that_forks_and_comes_back_runs_the_others_once(ask):
    """The second process goes no further."""
    _, done = ask(nodeids=cases("counts_on[0]", "forks_and_both_return", "counts_on[1]"))

    assert (done["passed"], outcome(done)) == (2, ["passed"] * 3)


def test_cases_may_be_named_by_number(ask):
    """As in the list that travelled with the suite: hundreds of node ids a request would be slow."""
    _, done = ask(cases=[0, 1], name="two of them")

    assert (done["passed"], outcome(done)) == (1, ["passed", "skipped", "passed"])


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("true", 0, ""),
        ("echo out; echo err >&2; exit 3", 3 << 8, "out\nerr\n"),
        ("kill -SEGV $$", signal.SIGSEGV, ""),
        ("./tool.sh", 7 << 8, "tool\n"),
        ("no-such-program", 127 << 8, "no-such-program"),
        ("printf '...\\n...'", 0, "...\n..."),
    ],
)
def test_a_command_is_judged_by_its_status_and_heard(ask, words, status, said):
    """Run by the shell, in the folder that travelled along; both streams."""
    _, done = ask(command=words)

    assert done["status"] & ~0x80 == status
    assert said in done["said"] if "such" in words else done["said"] == said
    assert "reports" not in done


def test_of_much_output_the_end_travels(ask):
    """That is where programs say what was wrong; the agent keeps no more of it."""
    _, done = ask(command="head -c 50000000 /dev/zero | tr '\\0' x; echo; echo the end")

    assert done["said"].endswith("x\nthe end\n")
    assert len(done["said"]) <= 1 << 14


def test_a_command_leaves_no_orphans(ask, suite):
    """Nor is one waited for, though it holds the output open."""
    note = suite / "orphan"
    began = time.monotonic()

    _, done = ask(command=f"setsid sleep 1000 & echo $! > {note}; echo started")

    assert (done["status"], done["said"], done["reaped"]) == (0, "started\n", True)
    assert gone([int(note.read_text())])
    assert time.monotonic() - began < 5


def test_a_command_that_hangs_is_killed(ask):
    """With its portrait; a dot now and then is no case that passed."""
    news, done = ask(command="sleep 0.3; printf .; sleep 0.5; printf .; sleep 1000", abort_after=1.5)

    assert (news, done["said"], done["reaped"]) == (0, "..", True)
    assert done["status"] in (signal.SIGKILL, signal.SIGUSR2)  # it does not know the agent's question
    assert "state S" in done["stacks"]


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


def test_two_agents_on_one_kernel_take_turns(suite, machine, run):
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
