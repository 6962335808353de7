"""rig bisect on real kernels: 27 commits to 6.12's io_uring, built and booted in User-Mode Linux; what it took is printed.

Three do not build, one panics at boot, two warn in the code of every case. bisect_history.py makes the repository.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ringrig.kernel.repo import git

pytestmark = pytest.mark.vm
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parent))

import bisect_history  # noqa: E402
from cluster import scheduler, worker  # noqa: E402


def rig(*words, code=0):
    """What the command says; it must end with the code."""
    done = subprocess.run(
        [sys.executable, "-m", "ringrig.cli", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=5400,
    )
    print(done.stdout, done.stderr, sep="\n")
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def history():
    """The repository, and the culprit of each kind of history. Always the same place: the cache knows a tree by it."""
    folder = ROOT / "runs/bisect-history"
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(exist_ok=True)
    yield folder, bisect_history.make(folder)
    shutil.rmtree(folder)


def bisected(history, kind, *options, code=0):
    """(bisect.json, the culprit that is to be found, the folder)."""
    tree, culprits = history
    ends = [f"--tree={tree}", "--good=good", f"--bad=bad-{kind}", "--guest=uml", bisect_history.CASE]
    page = Path(rig("bisect", *ends, *options, code=code).splitlines()[-1].partition(";")[0])
    folder = page.parent
    return json.loads((folder / "bisect.json").read_text()), culprits[kind], folder


@pytest.mark.parametrize("kind", ["sure", "flaky"])
def test_the_mutant_is_found(history, kind):
    """Failing each time, and 1 time in 3 on a branch that was merged; with the confidence that was asked for."""
    told, culprit, folder = bisected(history, kind)

    assert told["culprit"]["id"] == culprit
    assert told["confidence"] >= 0.99
    assert f"#regzbot introduced: {culprit}" in (folder / "mail.txt").read_text()


def test_with_three_at_a_time(history):
    """The same commit, in fewer rounds."""
    told, culprit, _ = bisected(history, "sure", "--jobs=3")

    assert told["culprit"]["id"] == culprit
    assert told["rounds"] <= 4


def test_on_two_workers(history, tmp_path):
    """The same commit, of kernels that are built here, two a round, and tried there: every one that is built."""
    with (
        scheduler(tmp_path) as address,
        worker(address, "one", tmp_path, suite=ROOT) as (_, one),
        worker(address, "two", tmp_path, suite=ROOT) as (_, two),
    ):
        told, culprit, _ = bisected(history, "sure", "--jobs=2", f"--cluster={address}")

    assert told["culprit"]["id"] == culprit
    assert told["confidence"] >= 0.99
    begun = sum(log.read_text().count("begins") for log in (one, two))
    assert begun == sum(each["build_id"] is not None for each in told["examined"])


def test_in_qemu(history):
    """The commit that breaks the case each time; a kernel boots in some seconds there."""
    told, culprit, _ = bisected(history, "sure", "--guest=qemu")

    assert told["culprit"]["id"] == culprit


def test_among_commits_that_cannot_be_tried_all_are_named(history):
    """The culprit does not build, nor do its neighbours."""
    told, culprit, _ = bisected(history, "within", code=1)

    assert told["result"] == "one of"
    assert culprit in {one["id"] for one in told["left"]}
    assert len(told["left"]) <= 5


@pytest.mark.parametrize(
    ("subject", "code", "says"),
    [
        ("io_uring: look at what starts", 125, "does not boot"),
        ("io_uring/kbuf: a helper for later", 125, "does not build"),
        ("io_uring/kbuf: count registrations", 1, "WARNING"),
        ("io_uring: note 19", 1, "head 1, want 0 head 0"),
        ("Linux 6.12", 0, "passes 10 of 10"),
    ],
)
def test_a_step_says_what_a_commit_is(history, subject, code, says):
    """As git bisect run wants it: a splat is a failure there, for a step knows no bad end."""
    tree, _ = history
    log = git(["log", "--format=%H %s", "bad-sure"], where=tree)
    commit = next(line.split()[0] for line in log.splitlines() if line.endswith(f" {subject}"))
    git(["checkout", "-q", commit], where=tree)

    assert says in rig("bisect", "--step", f"--tree={tree}", "--guest=uml", bisect_history.CASE, code=code)
