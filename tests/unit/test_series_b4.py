"""b4 calls `rig series` for each mail: with b4's own runner of checks, and with its command `b4 prep --check`, offline."""

import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import b4
import pytest
from b4.review import checks as b4_checks
from fakes import series_machine, threads
from fakes.kernel_tree import git
from fakes.series_machine import GOOD

from ringrig.campaign import b4_mail, series, tester
from ringrig.errors import BadSpec, NoSpace
from ringrig.report import b4 as reports

ROOT = Path(__file__).parents[2]
once = series_machine.once


@pytest.fixture
def machine(monkeypatch):
    made = series_machine.install(monkeypatch)
    made.outcomes["2-of-3"] = {**GOOD, "a": "failed"}
    return made


@pytest.fixture
def tree(once, tmp_path, monkeypatch):
    """A copy of it; the clone is tmp_path / clone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = shutil.copytree(once, tmp_path / "linux", symlinks=True)
    monkeypatch.delenv("B4_TRACKING_FILE", raising=False)
    monkeypatch.chdir(made)
    return made


def asked(tree, monkeypatch, mail, *words):
    """What `rig series` prints for a mail on standard input."""
    said = io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(mail.encode())))
    monkeypatch.setattr(sys, "stdout", said)
    code = reports.report(
        [*words, "--tree", str(tree), "--no-lines"], root=tree.parent / "clone", say=lambda _: None
    )
    return code, said.getvalue()


@pytest.fixture
def review(tree, monkeypatch):
    """A series under review: b4's tracking data names the blob of its thread; its mails, the cover letter first."""
    (tree.parent / "clone").mkdir()
    mails = threads.mails(tree, "v6.12..topic", "--cover-letter", "--base=v6.12")
    thread = tree.parent / "thread"
    thread.write_text("".join(mails))
    tracking = tree.parent / "tracking.json"
    tracking.write_text(json.dumps({"series": {"thread-blob": git(tree, "hash-object", "-w", str(thread))}}))
    monkeypatch.setenv("B4_TRACKING_FILE", str(tracking))
    return mails


def test_each_mail_has_its_check_and_the_series_runs_once(machine, tree, review, monkeypatch):
    """What breaks is a failure, what is only still broken or mended is none; the cover letter has the whole."""
    found = {}
    for number in (1, 2, 3, 0):
        found[number] = asked(tree, monkeypatch, review[number], "--b4-check")

    assert machine.names == ["base", "1-of-3", "2-of-3", "2-of-3-again-1", "3-of-3"]
    assert [found[number][0] for number in (1, 2, 3, 0)] == [0, 1, 0, 1]
    [first], [second], [third] = (json.loads(found[number][1]) for number in (1, 2, 3))
    assert [one["status"] for one in (first, second, third)] == ["pass", "fail", "pass"]
    assert second["summary"] == "BREAKS 1; 1 1F 1k 1-"
    assert "a: failed: 5 != 6" in second["details"]
    whole, *each = json.loads(found[0][1])
    assert (whole["tool"], whole["status"]) == ("ringrig", "fail")
    assert whole["summary"].startswith("Patch 2 breaks 1 case")
    assert [one["tool"] for one in each] == ["ringrig 1", "ringrig 2", "ringrig 3"]


def test_a_mail_of_another_revision_has_no_check(machine, tree, review, monkeypatch):
    """The thread has it, and it was not what was tested."""
    old = review[1].replace("[PATCH 1/3]", "[PATCH v7 1/3]").replace("Message-Id: <", "Message-Id: <old-")

    assert asked(tree, monkeypatch, old, "--b4-check") == (0, "[]\n")


def test_a_thread_named_by_hand(machine, tree, review, monkeypatch):
    """Then no mail is read."""
    code, said = asked(tree, monkeypatch, "", "--b4-check", str(tree.parent / "thread"))

    assert code == 1
    assert len(json.loads(said)) == 4


def test_faults_are_failed_checks(machine, tree, monkeypatch):
    """A part of a series without the rest; a series that does not apply."""
    [_, second, _] = threads.mails(tree, "v6.12..topic")

    code, said = asked(tree, monkeypatch, second, "--b4-check")

    [one] = json.loads(said)
    assert code == BadSpec.exit_code
    assert (one["status"], "is a part of a series" in one["summary"]) == ("fail", True)


def script(tree, words):
    """A program that does what `rig series` with these words does, with fakes for builds and runs."""
    path = tree.parent / "check"
    path.write_text(f"""#!{sys.executable}
import sys
sys.path[:0] = [{str(ROOT / "tests")!r}, {str(ROOT)!r}]
from pathlib import Path
import pytest
from fakes import series_machine
from ringrig import cli
cli.ROOT = Path({str(tree.parent / "clone")!r})
machine = series_machine.install(pytest.MonkeyPatch())
machine.outcomes["2-of-3"] = machine.outcomes["2-of-2"] = {{**series_machine.GOOD, "a": "failed"}}
sys.exit(cli.main(["series", *{words!r}, "--no-lines"]))
""")
    path.chmod(0o755)
    return str(path)


def test_b4_runs_it_on_a_review(tree, review):
    """b4's own runner of the commands that b4.review-…-check-cmd names gives it each mail and takes its answer."""
    command = script(tree, ["--b4-check"])
    mails = [(str(number), b4.mailsplit_bytes(mail.encode())[0]) for number, mail in enumerate(review)]
    env = {"B4_TRACKING_FILE": os.environ["B4_TRACKING_FILE"]}

    each = b4_checks.run_perpatch_checks(mails[2:3], [command], str(tree), extra_env=env)
    [whole, *_] = b4_checks.run_series_checks(mails[0], [command], str(tree), extra_env=env)

    assert [one["status"] for one in each["2"]] == ["fail"]
    assert each["2"][0]["summary"].startswith("BREAKS 1")
    assert whole["status"] == "fail"


def test_b4_prep_runs_it(tree):
    """The command itself, on a prep branch: a complaint for the patch that breaks something, and for no other."""
    (tree.parent / "clone").mkdir()
    git(tree, "checkout", "-q", "master")
    for name, value in (("user.name", "A"), ("user.email", "a@example.com")):
        git(tree, "config", name, value)
    git(tree, "config", "b4.prep-perpatch-check-cmd", script(tree, ["--b4-prep-check"]))

    def prep(*words):
        command = [
            sys.executable,
            "-c",
            "from b4.command import cmd; cmd()",
            "--offline-mode",
            "-n",
            "prep",
            *words,
        ]
        env = {**os.environ, "HOME": str(tree.parent), "XDG_DATA_HOME": str(tree.parent / "data")}
        done = subprocess.run(
            command,
            cwd=tree,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout + done.stderr

    prep("-n", "topic-of-mine", "-f", "master")
    git(tree, "cherry-pick", "v6.12..topic~1")

    said = prep("--check")

    assert "Success: 1, Warning: 0, Error: 2" in said
    assert "check: ERROR: BREAKS 1" in said
    assert "check: ERROR: a: failed: 5 != 6" in said


def test_two_calls_do_not_share_a_folder_at_a_time(machine, tree, review, monkeypatch):
    """b4 may be at work in two windows: one of them waits."""
    seen = []

    @contextmanager
    def locked(key, *, say):
        seen.append(key)
        yield
        seen.append("given back")

    monkeypatch.setattr(b4_mail, "locked", locked)
    monkeypatch.setattr(tester, "resolve", lambda *_, **__: seen.append("a kernel"))

    asked(tree, monkeypatch, review[1], "--b4-check")

    [folder] = (tree.parent / "clone/runs").iterdir()
    assert seen == [f"series/{folder.name}", *["a kernel"] * 4, "given back"]


def test_a_series_that_was_interrupted_is_no_pass(machine, tree, review, monkeypatch):
    """And says how to go on."""
    machine.codes["2-of-3"] = 2

    _, said = asked(tree, monkeypatch, review[3], "--b4-check")

    [one] = json.loads(said)
    assert one["status"] == "fail"
    assert "rig series --resume" in one["details"]
    _, said = asked(tree, monkeypatch, "", "--b4-prep-check", str(tree.parent / "thread"))
    assert f"ERROR: it was interrupted: rig series --resume {tree.parent / 'clone'}" in said


def test_what_ran_is_kept_when_the_disk_is_full_at_the_next_mail(machine, tree, review, monkeypatch):
    """The folder is an older call's."""
    asked(tree, monkeypatch, review[1], "--b4-check")
    [folder] = (tree.parent / "clone/runs").iterdir()
    before = sorted(folder.rglob("*"))

    def full(*_, say):
        raise NoSpace("No space.", next_step="make some")

    monkeypatch.setattr(series.bases, "apply", full)
    code, _ = asked(tree, monkeypatch, review[2], "--b4-check")

    assert code == NoSpace.exit_code
    assert sorted(folder.rglob("*")) == before
