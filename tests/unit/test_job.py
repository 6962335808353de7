"""The unit of campaigns, a job: what is done is not done again, and half of a result is none."""

import json

import pytest
from fakes import job_sessions
from fakes.job_sessions import JOB, run_job

from ringrig.campaign import job as jobs
from ringrig.campaign.job import Job, finished, folder_of
from ringrig.report import matrix as reports

session = job_sessions.session


def test_a_job_is_a_run_with_its_results(session, tmp_path):
    """What its run folder says, by case and by folder of suites/."""
    result = run_job(tmp_path / "job")

    assert "--kernel=host" in session[0][0]
    assert result.verdict == "FAIL: host: 1 failed"
    assert result.cases["suites/mmap/test_b.py::test_4"].why == "got -EINVAL"
    assert reports.cell(result.count("mmap")) == "0 1F 1k"
    assert reports.cell(result.count()) == "1 1F 1k 1-"


def test_what_is_done_is_not_done_again(session, tmp_path):
    """The same job with the same suite; neither another suite's result nor another job's is taken for it."""
    first = run_job(tmp_path / "job")
    again = run_job(tmp_path / "job")

    assert len(session[0]) == 1
    assert again == first
    assert finished(JOB, tmp_path / "job", "suite 2") is None
    assert finished(Job(name="host", kernel="debian"), tmp_path / "job", "suite 1") is None


def test_a_job_that_was_interrupted_is_done_again(session, tmp_path):
    """Its results so far are no result."""
    session[1].extend([2, 0])

    run_job(tmp_path / "job")

    assert finished(JOB, tmp_path / "job", "suite 1") is None
    assert run_job(tmp_path / "job").exit_code == 0


@pytest.mark.parametrize("code", [12, 14, 18])
def test_what_can_be_mended_is_done_again(session, tmp_path, code):
    """No network, a program that is not there, a full disk."""
    session[1].extend([code, 0])

    assert run_job(tmp_path / "job").exit_code == code
    assert run_job(tmp_path / "job").exit_code == 0


@pytest.mark.parametrize("name", ["results.jsonl", "run.json", "job.json"])
def test_half_a_folder_is_no_result(session, tmp_path, name):
    """Somebody has removed a part of it, or emptied it."""
    run_job(tmp_path / "job")
    (tmp_path / "job" / name).unlink() if name != "job.json" else (tmp_path / "job" / name).write_text("{}")

    assert finished(JOB, tmp_path / "job", "suite 1") is None


def test_faulty_case_files_are_no_ctrl_c(session, tmp_path):
    """Though pytest's exit code is the same: the job has ended, and says why."""
    session[1].append("faulty")

    result = run_job(tmp_path / "job")

    assert result.verdict == "NO VERDICT: Interrupted: 2 errors during collection"
    assert finished(JOB, tmp_path / "job", "suite 1") == result


def test_what_had_not_ended_is_no_result(tmp_path):
    """Neither a case that was under way when the run ended, nor half a line; a later line of a case counts."""
    lines = [
        {"nodeid": "a", "outcome": "passed", "seconds": 0.1},
        {"nodeid": "a", "outcome": "error", "seconds": 0.1, "late": True},
        {"nodeid": "b", "outcome": "passed", "seconds": 0.0, "unfinished": True},
        {"nodeid": "c", "outcome": "error", "seconds": 0.0, "unfinished": True},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "results.jsonl").write_text(text + '{"nodeid": "d", "outc')
    (tmp_path / "output.txt").write_text("rig: building\nrig: 3 of 9 objects\n\n")

    result = jobs.read(JOB, tmp_path, 1, 2.0)

    assert {name: case.outcome for name, case in result.cases.items()} == {"a": "error", "c": "error"}
    assert result.verdict == "NO VERDICT: exit code 1"


def test_a_run_without_a_case_says_why(session, tmp_path):
    """In the words of its error."""
    session[1].append(22)

    assert run_job(tmp_path / "job").verdict == "NO VERDICT: There is no such patch."


def test_folders_are_those_of_suites():
    """A file that lies in suites/ itself, or elsewhere, has the upper folder's name."""
    assert folder_of("suites/mmap/test_b.py::test_3[a/b]") == "mmap"
    assert folder_of("suites/test_top.py::test_a") == "suites"
    assert folder_of("tests/disasters/test_x.py::test_a") == "tests"
