"""The history of cases: kept by every run, never the cause of a run's failing, and honest about flaky ones."""

import errno
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from ringrig import cli
from ringrig.errors import BadSpec, RigError
from ringrig.plugin import history
from ringrig.report import history as reports

CASE = "suites/x/test_a.py::test_1"


def a_run(root, name, outcome, *, kernel="source:6.12", build="abc", suite="1", judge=None, seconds=0.5):
    """A finished run folder, kept in the clone's history; returns the note."""
    folder = root / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "label": kernel,
        "began": f"2026-11-29T10:00:0{name[-1]}+0000",
        "build_id": None,
        "ran": {"running_build_id": build},
        "versions": {"ringrig": suite},
        "judged_by": judge,
    }
    (folder / "run.json").write_text(json.dumps(about))
    line = {"nodeid": CASE, "outcome": outcome, "seconds": seconds}
    (folder / "results.jsonl").write_text(json.dumps(line) + "\n")
    return history.keep(folder, root=root)


def outcomes(root):
    return [one.outcome for one in history.of(CASE, root=root)]


def test_runs_are_told_in_the_order_of_time(tmp_path):
    """With kernel, build, suite and folder; a folder that is run again has one entry."""
    assert a_run(tmp_path, "r2", "failed") == ""
    a_run(tmp_path, "r1", "passed")
    a_run(tmp_path, "r2", "xfailed")

    assert outcomes(tmp_path) == ["passed", "xfailed"]
    last = history.of(CASE, root=tmp_path)[-1]
    assert (last.kernel, last.build, last.suite, last.folder) == ("source:6.12", "abc", "1", "runs/r2")
    assert last.seconds == 0.5
    assert history.of("suites/x/test_a.py::test_2", root=tmp_path) == []


def test_all_cases_that_waver(tmp_path, capsys):
    """Known failures and passes are what is wanted; where nothing has run nothing wavers."""
    assert reports.main([], root=tmp_path) == 0
    a_run(tmp_path, "r1", "passed")
    a_run(tmp_path, "r2", "xfailed")
    assert reports.main([], root=tmp_path) == 0
    assert capsys.readouterr().out == "".join(
        f"0 of {count} cases came out differently on the same kernel with the same suite\n"
        for count in (0, 1)
    )

    a_run(tmp_path, "r3", "failed")
    assert reports.main([], root=tmp_path) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == CASE
    assert said[1].strip().startswith("FLAKY on source:6.12 (build-id abc")


@pytest.mark.parametrize(
    ("second", "flaky"),
    [
        ({}, True),
        ({"build": "abd"}, False),
        ({"suite": "2"}, False),
        ({"kernel": "debian:6.1"}, False),
        ({"judge": "debian:6.1"}, False),
    ],
)
def test_a_case_is_flaky_on_one_build_with_one_suite(tmp_path, second, flaky):
    """What passed before the kernel or the suite was changed, or by another profile, is no sign of chance."""
    a_run(tmp_path, "r1", "passed")
    a_run(tmp_path, "r2", "failed", **second)

    said = reports.wavering(history.of(CASE, root=tmp_path))

    assert said == (["FLAKY on source:6.12 (build-id abc, suite 1): 1 passed, 1 failed"] if flaky else [])


def test_skipped_is_not_flaky(tmp_path):
    """A case that was left out once showed nothing."""
    a_run(tmp_path, "r1", "passed")
    a_run(tmp_path, "r2", "skipped")

    assert reports.wavering(history.of(CASE, root=tmp_path)) == []


def test_runs_that_end_at_once_are_all_kept(tmp_path):
    """Also in a file that none of them has found."""
    names = [f"r{n}" for n in range(4)]

    with ThreadPoolExecutor(4) as pool:
        notes = list(pool.map(lambda name: a_run(tmp_path, name, "passed"), names))

    assert notes == [""] * 4
    assert len(outcomes(tmp_path)) == 4


def test_a_damaged_file_is_a_note(tmp_path):
    """Not an error: the run's own results are whole; asking for the history then is one, with the way out."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/history.sqlite").write_bytes(b"no database" * 100)

    note = a_run(tmp_path, "r1", "passed")

    assert "not in runs/history.sqlite (file is not a database)" in note
    with pytest.raises(RigError, match="rm runs/history"):
        reports.main([CASE], root=tmp_path)


@pytest.mark.parametrize(
    ("name", "code", "helps"),
    [
        ("disk I/O error", sqlite3.SQLITE_IOERR_SHMSIZE, "free space"),
        ("database or disk is full", sqlite3.SQLITE_FULL, "free space"),
        ("unable to open database file", sqlite3.SQLITE_CANTOPEN, "see to what it says"),
        ("database disk image is malformed", sqlite3.SQLITE_CORRUPT, "rm runs/history"),
    ],
)
def test_only_a_malformed_history_is_to_be_removed(tmp_path, monkeypatch, name, code, helps):
    """What a full disk or a lack of rights keep from being read or written is whole."""
    a_run(tmp_path, "r1", "passed")

    def fail(path):
        error = sqlite3.OperationalError(name)
        error.sqlite_errorcode = code
        raise error

    monkeypatch.setattr(history, "_open", fail)

    note = a_run(tmp_path, "r2", "passed")
    with pytest.raises(RigError) as caught:
        reports.main([CASE], root=tmp_path)

    for words in (note, caught.value.next_step):
        assert helps in words
        assert ("rm " in words) == (code == sqlite3.SQLITE_CORRUPT)


def test_a_run_folder_on_a_full_disk_does_not_cost_the_history(tmp_path, monkeypatch):
    """The note says nothing of removing it."""
    monkeypatch.setattr(history, "_keep", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))

    note = a_run(tmp_path, "r1", "passed")

    assert "free space" in note
    assert "rm " not in note


@pytest.mark.parametrize("last", ["0", "-1", "x"])
def test_at_least_one_run_is_listed(tmp_path, capsys, last):
    """--last takes no less."""
    with pytest.raises(SystemExit):
        reports.main([CASE, "--last", last], root=tmp_path)

    assert "is no number of at least 1" in capsys.readouterr().err


def test_a_locked_file_is_a_note(tmp_path, monkeypatch):
    """After a while."""
    monkeypatch.setattr(history, "_PATIENCE", 0.05)
    a_run(tmp_path, "r1", "passed")
    other = sqlite3.connect(tmp_path / "runs/history.sqlite")
    try:
        other.execute("BEGIN IMMEDIATE")

        assert "locked" in a_run(tmp_path, "r2", "passed")
    finally:
        other.close()
    assert outcomes(tmp_path) == ["passed"]


def test_a_folder_that_cannot_be_written_is_a_note(tmp_path):
    """Here a file stands where the folder should."""
    a_run(tmp_path, "r1", "passed")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "runs").write_text("")

    assert "not in runs/history.sqlite" in history.keep(tmp_path / "runs/r1", root=elsewhere)


def test_the_command(tmp_path, monkeypatch, capsys):
    """Counts by kernel, flakiness, and the runs, newest first."""
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    a_run(tmp_path, "r1", "passed", kernel="debian:6.1")
    a_run(tmp_path, "r2", "passed")
    a_run(tmp_path, "r3", "failed")

    assert cli.main(["history", CASE, "--last", "2"]) == 0

    said = capsys.readouterr().out
    assert f"{CASE}: 3 runs" in said
    assert "FLAKY on source:6.12" in said
    assert said.index("runs/r3") < said.index("runs/r2")
    assert "runs/r1" not in said


def test_a_case_that_no_run_has_had(tmp_path):
    """The nearest names are offered."""
    a_run(tmp_path, "r1", "passed")

    with pytest.raises(BadSpec) as caught:
        reports.main(["suites/x/test_a.py::test_11"], root=tmp_path)

    assert CASE in str(caught.value)
