"""Agents on the running kernel, as `--kernel host` starts them, and a packed suite of cases that do all they can to them."""

import time
from pathlib import Path

import pytest
from fakes.clone import ROOT
from fakes.machines import plan

from ringrig.plugin.prepare import _ini
from ringrig.vm import machine as machines
from ringrig.vm import pack

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
