"""`pytest --kernel host` from end to end, as a developer types it: outcomes, selection, workers, interruption."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from fakes.clone import ROOT, Clone

CASES = """
import json, os, pytest

@pytest.mark.parametrize("n", range(3))
def test_good(n):
    print("heard", n)

def test_bad():
    assert os.environ.get("MENDED") == "yes"

def test_skipped():
    pytest.skip("needs nothing: really")

@pytest.mark.xfail(reason="expected")
def test_expected():
    assert False

def test_dies():
    os.abort()
"""


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path / "clone", cache=tmp_path / "cache")


def test_a_run_its_results_and_the_next_run(clone):
    """Every outcome; --lf runs what failed, for node ids carry no kernel; -k and -x choose as ever."""
    clone.write(test_it=CASES)

    run = clone.pytest("-rA", "-l")

    assert run.returncode == 1, run.stdout
    assert clone.outcomes() == {
        "test_good[0]": "passed",
        "test_good[1]": "passed",
        "test_good[2]": "passed",
        "test_bad": "failed",
        "test_skipped": "skipped",
        "test_expected": "xfailed",
        "test_dies": "failed",
    }
    assert "heard 1" in run.stdout
    assert "killed by SIGABRT" in run.stdout
    assert "4 passed" not in run.stdout
    assert "3 passed, 2 failed, 1 xfailed, 1 skipped" in run.stdout
    assert "FAIL: host (" in (clone.latest / "summary.txt").read_text()
    assert clone.run_json()["ran"]["release"] == os.uname().release
    assert 'tests="7"' in (clone.latest / "junit.xml").read_text()
    assert "kernel" not in json.dumps(list(clone.results()))

    clone.environment["MENDED"] = "yes"
    run = clone.pytest("--lf", "-k", "not dies")

    assert run.returncode == 0, run.stdout
    assert clone.outcomes() == {"test_bad": "passed"}


def test_seeds_reach_the_cases(clone):
    """As they were given, with what else they are told."""
    clone.write(
        test_a="import json, os\ndef test_it():\n    facts = json.loads(os.environ['RINGRIG_FACTS'])\n"
        "    assert (facts['model_seed'], facts['race_seed'], facts['model_budget']) == (5, 'birch', 0)\n"
    )

    run = clone.pytest("--model-seed", "5", "--race-seed", "birch")

    assert run.returncode == 0, run.stdout


def test_the_first_failure_ends_a_run_with_x(clone):
    """And two workers share the cases, each with its own agent."""
    clone.write(test_a="def test_1(): pass\ndef test_2(): assert 0\ndef test_3(): pass\n")

    run = clone.pytest("-x")

    assert run.returncode == 1, run.stdout
    assert clone.outcomes() == {"test_1": "passed", "test_2": "failed"}


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["one", "two"])
@pytest.mark.parametrize(
    "name, nearest",
    [("suites/test_i.py", "suites/test_it.py"), ("suites/test_it.py::test_godo", "test_good")],
)
def test_a_case_that_is_not_there(clone, workers, name, nearest):
    """The nearest names are told, whichever process finds out; pytest's exit code says that the command line is wrong."""
    clone.write(test_it=CASES, test_other="def test_good(): pass\n")

    run = clone.pytest("suites/test_other.py", name, "-k", "good", *workers)

    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"There is no case '{name}'." in run.stdout
    assert nearest in run.stdout.split("the nearest are")[1]


def test_two_workers_share_the_cases(clone):
    """Each with its own agent; the results are as with one."""
    clone.write(
        test_a="import pytest\n@pytest.mark.parametrize('n', range(6))\ndef test_it(n): assert n != 3\n"
    )

    run = clone.pytest("-n2")

    assert run.returncode == 1, run.stdout
    assert "5 passed, 1 failed" in run.stdout
    found = clone.results()
    assert {line["guest"] for line in found.values()} == {"gw0-1", "gw1-1"}
    assert [name for name, line in found.items() if line["outcome"] == "failed"] == ["test_a.py::test_it[3]"]
    assert clone.run_json()["guests"] == 2


HANG = """
import os, pytest, time
from pathlib import Path

@pytest.mark.parametrize("n", range(72))
def test_quick(n): pass
def test_shares_its_child(): pass
def test_hangs():
    Path({note!r}).write_text(f"{{os.getpid()}} {{os.getppid()}}")
    time.sleep(1000)
"""


def hanging(clone, tmp_path, *options):
    """A run whose last case hangs, in its second child; that process and its agent."""
    clone.write(test_it=HANG.format(note=str(tmp_path / "note")))
    run = clone.start(*options)
    limit = time.monotonic() + 60
    while not (tmp_path / "note").exists() or not (tmp_path / "note").read_text():
        assert time.monotonic() < limit
        assert run.poll() is None, run.stdout.read()
        time.sleep(0.05)
    return run, list(map(int, (tmp_path / "note").read_text().split()))


QUICK = {f"test_quick[{n}]": "passed" for n in range(72)}
"""What had a verdict before the child that hangs."""


def gone(pids):
    limit = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < limit
        time.sleep(0.05)
    return True


def test_ctrl_c_keeps_what_there_is(clone, tmp_path):
    """pytest's exit code 2, no verdict, results so far, nobody left."""
    run, pids = hanging(clone, tmp_path)

    run.send_signal(signal.SIGINT)
    output = run.communicate(timeout=30)[0]

    assert run.returncode == 2, output
    assert "NO VERDICT: host" in output
    assert "INTERNALERROR" not in output
    assert clone.outcomes() == QUICK
    assert gone(pids)


@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["alone", "two-workers"])
def test_an_abrupt_end_leaves_whole_lines(clone, tmp_path, workers):
    """kill -9 of pytest: what had ended is in results.jsonl, and agent and case are gone."""
    run, pids = hanging(clone, tmp_path, *workers)

    run.kill()
    run.communicate(timeout=30)

    # Two workers take turns on one kernel: the case that hangs may have come first.
    assert clone.outcomes() == QUICK if not workers else clone.outcomes().items() <= QUICK.items()
    assert gone(pids)


def test_a_case_beyond_its_deadline(clone, tmp_path):
    """Killed, with its portrait; the run goes on to its end."""
    run, pids = hanging(clone, tmp_path, "--case-timeout", "0.5")

    output = run.communicate(timeout=60)[0]

    assert run.returncode == 1, output
    assert clone.outcomes() == {**QUICK, "test_shares_its_child": "passed", "test_hangs": "failed"}
    alone = (tmp_path / "note").read_text().split()[0]
    assert alone != str(pids[0])
    assert f"thread {alone} case-4 state S" in output


def test_a_worker_that_dies(clone):
    """Its case is an error, the others run on; FAIL, for it may have been the case's doing, or one's that ran with it."""
    clone.write(
        test_a="import os, pytest, time\n@pytest.mark.parametrize('n', range(4))\ndef test_it(n):\n    if n == 0:\n"
        "        agent = open(f'/proc/{os.getppid()}/stat').read().rsplit(')', 1)[1].split()\n"
        "        os.kill(int(agent[1]), 9)\n        time.sleep(9)\n"
    )

    run = clone.pytest("-n2")

    assert run.returncode == 1, run.stdout
    assert clone.outcomes() == {f"test_it[{n}]": "error" if n == 0 else "passed" for n in range(4)}
    assert "FAIL: host" in run.stdout
    assert "3 passed, 1 error" in run.stdout
    assert "test_it[0]', or one of those that shared its child" in run.stdout


PAPER = """
from fakes.machines import World
from ringrig.plugin import company, keeper
company.size = lambda *_, **__: 1
world = World()
world.does["suites/test_a.py::test_2"] = lambda _, n: world.done(n, log=world.log(comm="case-1"))
world.does["suites/test_b.py::test_2"] = lambda _, n: world.done(n, log=world.log(comm="kworker/0:1"))
keeper.machines.start = world.start
keeper.time = world
"""


def test_late_news_of_workers(clone):
    """A splat of a case that had ended, and one of nobody's: both reach the verdict from a worker, too."""
    clone.environment["PYTHONPATH"] += f":{ROOT / 'tests'}"
    with (clone.root / "conftest.py").open("a") as conftest:
        conftest.write(PAPER)
    cases = "def test_1(): pass\ndef test_2(): pass\ndef test_3(): pass\n"
    clone.write(test_a=cases, test_b=cases)

    run = clone.pytest("-n2", "--dist", "loadfile")

    assert run.returncode == 1, run.stdout
    assert "5 passed, 1 error" in run.stdout
    assert "it came after the case had ended" in run.stdout
    assert "UNCERTAIN: kernel splat" in run.stdout
    assert "one of: suites/test_b.py::test_1 or suites/test_b.py::test_2" in run.stdout
    assert clone.results()["test_a.py::test_1"]["outcome"] == "error"
    assert clone.results()["test_a.py::test_2"]["outcome"] == "passed"


def test_doubts_are_told_whatever_became_of_the_guest(clone):
    """What was seen of several cases together and not told yet, where no guest is left to be watched at the end."""
    with (clone.root / "conftest.py").open("a") as conftest:
        conftest.write(
            "from ringrig.plugin.company import Company\nfrom ringrig.plugin.judge import Trouble\n"
            "Company.open_doubts = lambda self: [(Trouble(kind='splat', what='WARNING: x'), ['a', 'b'])]\n"
        )
    clone.write(test_a="def test_1(): pass\n")

    run = clone.pytest()

    assert run.returncode == 1, run.stdout
    assert "UNCERTAIN: WARNING: x\n  one of: a or b" in run.stdout


@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["alone", "two-workers"])
def test_known_issues_that_cannot_be_read(clone, workers):
    """A usage error, before any worker starts."""
    clone.write(test_a="def test_1(): pass\n")
    (clone.root / "suites/known-issues.toml").write_text("[[issue]]\n")

    run = clone.pytest(*workers)

    assert run.returncode == 4, run.stdout
    assert "known-issues.toml" in run.stdout
    assert "Traceback" not in run.stdout


def test_a_machine_that_is_kept(clone):
    """--keep-guest: the first failure ends the run, and the machine waits for a person to be done with it."""
    clone.write(test_a="def test_1(): assert 0\ndef test_2(): pass\n")
    run = clone.start("--keep-guest", stdin=subprocess.PIPE)
    while "press Enter" not in (line := run.stdout.readline()):
        assert line

    with pytest.raises(subprocess.TimeoutExpired):
        run.wait(0.3)
    output = run.communicate("\n", timeout=30)[0]

    assert run.returncode == 1, output
    assert "FAIL: host" in output
    assert clone.outcomes() == {"test_1": "failed"}


LONG = """
import pytest
@pytest.mark.parametrize("n", range(20))
def test_it(n):
    assert not n % 2, "x" * 2000
"""


def within(clone, *, size, first="true"):
    """What goes before a command that finds a small file system in runs/, of which `first` may take some."""
    (clone.root / "runs").mkdir()
    if subprocess.run(["unshare", "-rm", "true"], check=False).returncode != 0:
        pytest.skip("no user namespaces here")
    steps = (
        f'mount -t tmpfs -o size={size} none runs && {first} && "$@"; code=$?; cp -a runs kept; exit $code'
    )
    return ["unshare", "-rm", "sh", "-c", steps, "sh"]


def test_a_disk_that_is_full(clone):
    """Code 18 and one message, before anything runs."""
    clone.write(test_it=LONG)

    run = clone.pytest("-q", before=within(clone, size="32k", first="head -c 32k /dev/zero > runs/full"))

    assert run.returncode == 18, run.stdout
    assert "No space left while writing the run folder" in run.stdout
    assert "Traceback" not in run.stdout


def test_a_disk_that_fills_up(clone):
    """Code 18 and one message; what is in results.jsonl is whole."""
    clone.write(test_it=LONG)

    run = clone.pytest("-q", "--tb=line", before=within(clone, size="32k"))

    assert run.returncode == 18, run.stdout
    assert "cannot be written: No space left on device" in run.stdout
    assert "NO VERDICT: host" in run.stdout
    assert "10 passed, 10 failed" in run.stdout
    assert "Traceback" not in run.stdout
    lines = (clone.root / "kept/latest/results.jsonl").read_text().splitlines()
    assert 5 < len(lines) < 20
    assert all(json.loads(line)["outcome"] for line in lines)
