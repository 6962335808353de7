"""Jobs of a campaign at a time: children end with their parent and at Ctrl-C, results come as they finish."""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes import orphans

from ringrig import children as children_module
from ringrig.campaign import crew
from ringrig.campaign.job import Job, Result
from ringrig.children import STOPPED, Children

SLEEP = ["sleep", "30"]
STUBBORN = [
    sys.executable,
    "-Sc",
    "import signal, time; signal.signal(2, signal.SIG_IGN); print(1, flush=True); time.sleep(30)",
]


def later(seconds, function):
    timer = threading.Timer(seconds, function)
    timer.daemon = True
    timer.start()


def await_(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture(autouse=True)
def nothing_is_left():
    """By no test."""
    before = orphans.children()
    yield
    assert not orphans.left_since(before)


@pytest.fixture
def children():
    made = Children()
    yield made
    made.end()


def test_a_child_gives_its_exit_code_and_its_output(children, tmp_path):
    """A signal that ended it is 128 and its number."""
    with (tmp_path / "out").open("wb") as output:
        assert children.wait_for(["sh", "-c", "pwd; echo x >&2; exit 7"], cwd=tmp_path, output=output) == 7

    assert (tmp_path / "out").read_text() == f"{tmp_path}\nx\n"
    assert children.wait_for(["sh", "-c", "kill -9 $$"]) == 137


def test_all_children_end_at_a_stop_and_none_begins(children):
    """Until it is said that others may."""
    later(0.3, children.stop)
    began = time.monotonic()

    assert children.wait_for(SLEEP) == STOPPED
    assert children.wait_for(SLEEP) == STOPPED
    assert time.monotonic() - began < 10

    children.again()
    assert children.wait_for(["true"]) == 0


def test_a_child_that_does_not_end_is_killed(children, monkeypatch, tmp_path):
    """After a time of grace, and with its process group."""
    monkeypatch.setattr(children_module, "GRACE", 0.2)
    with (tmp_path / "out").open("wb") as output:
        thread = threading.Thread(
            target=children.wait_for, args=[STUBBORN], kwargs={"output": output}, daemon=True
        )
        thread.start()
        await_((tmp_path / "out").read_text)

        children.end()

    thread.join(5)
    assert not thread.is_alive()


def test_children_end_when_their_parent_is_killed(tmp_path):
    """kill -9 of a campaign, begun by a shell in the background: there Ctrl-C is ignored, and inherited so."""
    script = (
        "import signal; signal.signal(2, signal.SIG_IGN)\n"
        "from ringrig.children import Children\n"
        "Children().wait_for(['sh', '-c', 'echo $$ > pid.new; mv pid.new pid; exec sleep 30'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(crew.__file__).parents[2])},
        stdin=subprocess.DEVNULL,
    ) as parent:
        try:
            await_((tmp_path / "pid").exists)
        finally:
            parent.kill()

    await_(lambda: gone(int((tmp_path / "pid").read_text())))


@pytest.fixture
def hired(monkeypatch, tmp_path):
    """hired(jobs=K): a crew whose jobs are shell commands, named so; what they say goes to `said`."""
    monkeypatch.setattr(crew.os, "sched_getaffinity", lambda _: range(4))
    said = []

    def do(job, folder, *, run, **_):
        return Result(
            job=job,
            folder=folder,
            exit_code=run(["sh", "-c", job.name], cwd=tmp_path, output=None),
            seconds=0,
            verdict="",
        )

    monkeypatch.setattr(crew, "do", do)

    def hire(jobs, workers=1):
        chosen = argparse.Namespace(jobs=jobs, workers=workers, cluster=None)
        return crew.crew(chosen, root=tmp_path, suite="1", say=said.append)

    return SimpleNamespace(crew=hire, said=said)


def tasks(folder, *commands):
    return [(Job(name=one, kernel="host"), folder / str(number)) for number, one in enumerate(commands)]


def test_results_come_as_they_finish(hired, tmp_path):
    """Not in the order of the jobs; a job that fails is a result."""
    mark = tmp_path / "mark"
    slow = f"until test -e {mark}; do sleep 0.02; done; exit 3"
    found = []
    with hired.crew(2) as hands:
        for one in hands.results(tasks(tmp_path, slow, "exit 4")):
            found.append(one.exit_code)
            mark.touch()

    assert found == [4, 3]
    # Both begin at once, so either may be told first.
    assert sorted(hired.said) == sorted([f"{slow}: begins", "exit 4: begins"])


def test_ctrl_c_ends_every_job(hired, tmp_path):
    """Those that run are ended before the interruption is told, those that wait do not begin."""
    begun = [tmp_path / str(number) for number in range(3)]
    commands = [f"touch {path}; exec sleep 30" for path in begun]

    def interrupt():
        await_(lambda: begun[0].exists() and begun[1].exists())
        os.kill(os.getpid(), signal.SIGTERM)

    later(0, interrupt)
    with pytest.raises(KeyboardInterrupt), hired.crew(2) as hands:
        list(hands.results(tasks(tmp_path, *commands)))

    assert not begun[2].exists()
    assert hands.children._running == set()


def test_who_leaves_the_loop_ends_the_others(hired, tmp_path):
    """And can go on with other jobs."""
    with hired.crew(2) as hands:
        for result in hands.results(tasks(tmp_path, "exec sleep 30", "exit 1")):
            assert result.exit_code == 1
            break

        assert hands.children._running == set()
        assert [one.exit_code for one in hands.results(tasks(tmp_path, "true"))] == [0]


def test_an_error_of_a_job_ends_the_others(hired, tmp_path, monkeypatch):
    """And is raised: a full disk, for example."""

    def do(job, folder, *, run, **_):
        if job.name == "bad":
            raise OSError("full")
        run(["sh", "-c", job.name], cwd=tmp_path, output=None)

    monkeypatch.setattr(crew, "do", do)
    with pytest.raises(OSError, match="full"), hired.crew(2) as hands:
        list(hands.results(tasks(tmp_path, "exec sleep 30", "bad")))

    assert hands.children._running == set()


def test_cores_bound_what_runs_at_a_time(hired):
    """One job always runs."""
    with hired.crew(8, workers=2) as hands:
        assert hands.executor._max_workers == 2
    with hired.crew(2, workers=9) as hands:
        assert hands.executor._max_workers == 1

    assert hired.said[0] == "2 of 8 jobs at a time: each has 2 guests, and this machine has 4 cores"


def test_memory_bounds_what_runs_at_a_time(hired, tmp_path, monkeypatch):
    """A job waits until there is enough, unless it is the only one."""
    monkeypatch.setattr(crew, "available_memory", lambda: 0)
    mark = tmp_path / "mark"
    alone = f"test -e {mark} && exit 9; touch {mark}; sleep 0.2; rm {mark}"
    with hired.crew(2) as hands:
        found = list(hands.results(tasks(tmp_path, alone, alone)))

    assert [one.exit_code for one in found] == [0, 0]


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", ""])
def test_a_count_is_at_least_1(text):
    """Of guests, and of jobs."""
    with pytest.raises(argparse.ArgumentTypeError, match="at least 1"):
        crew.count(text)
