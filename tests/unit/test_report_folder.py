"""What a folder holds: a run or a campaign, ended, under way or only begun; and folders that hold nothing."""

import json
from pathlib import Path

import pytest
from fakes.folders import A, a_matrix, a_run

from ringrig import cli
from ringrig.campaign import matrix_asked
from ringrig.errors import BadSpec
from ringrig.report import folder as folders
from ringrig.report.page_failures import of_kernel


def test_a_run(tmp_path):
    """Its cases, the arguments that name its kernel, the console while a case ran."""
    run = folders.read(a_run(tmp_path / "a_run"))

    (one,) = run.runs

    assert run.kind == "run"
    assert one.arguments == ("--kernel=source:6.12", "--guest=uml", "--judged-by=debian:6.12")
    assert of_kernel(one) == ["--kernel=source:6.12", "--guest=uml"]
    assert one.count == {"passed": 1, "failed": 2, "error": 2, "xfailed": 1, "xpassed": 1, "skipped": 1}
    (line,) = one.excerpt(one.cases[f"{A}::test_4[a#1]"])
    assert line.endswith("WARNING: CPU: 0 PID: 180 at io_uring/kbuf.c:1")


def test_a_matrix(tmp_path):
    """In the order of its file; what has no case says why."""
    matrix = folders.read(a_matrix(tmp_path / "a_matrix"))

    assert [one.name for one in matrix.runs] == ["source:6.12", "debian:6.1", "debian:9.9"]
    assert matrix.left == ["host"]
    assert matrix.runs[0].arguments == ("--kernel=source:6.12", "--guest=uml", "--config=kasan")
    assert matrix.runs[2].verdict == "NO VERDICT: There is no such kernel."


def test_a_campaign_that_is_under_way(tmp_path):
    """Nothing is taken for a verdict that is none."""
    a_matrix(tmp_path)
    (tmp_path / "matrix.json").unlink()
    a_run(tmp_path / "now", verdict="", exit_code=None)
    (tmp_path / "now/output.txt").write_text("rig: building\nrig: 3 of 9 objects\n")

    found = folders.read(tmp_path)

    assert found.kind == "matrix"
    assert {one.name: one.verdict for one in found.runs}["now"].startswith("NO VERDICT: the run is under way")


def test_a_kernel_that_runs_goes_by_its_name(tmp_path):
    """Not by its folder's; and it is not among those that did not run."""
    jobs = matrix_asked.jobs([str(Path(__file__).parents[2] / "matrices/configs.toml")])
    matrix_asked.store(jobs, tmp_path)
    (tmp_path / "matrix.json").write_text(
        json.dumps({"kernels": [], "not run": [one.name for one in jobs]}), encoding="utf-8"
    )
    a_run(tmp_path / matrix_asked.folder_name(jobs[1]), verdict="", exit_code=None)

    found = folders.read(tmp_path)

    assert [run.name for run in found.runs] == [jobs[1].name]
    assert jobs[1].name not in found.left
    assert jobs[0].name in found.left


@pytest.mark.parametrize(
    ("name", "asked", "kind"),
    [
        ("b", {"tree": "/linux"}, "bisect"),
        ("s", {"asked": {}, "trees": []}, "series"),
        ("m", {"jobs": []}, "matrix"),
    ],
)
def test_a_campaign_that_has_only_begun(tmp_path, capsys, name, asked, kind):
    """Has a report, of its own kind, before anything of it has ended."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "asked.json").write_text(json.dumps(asked))

    assert folders.read(tmp_path / name).kind == kind
    for form in ("html", "ktap", "junit", "kcidb"):
        assert cli.main(["report", str(tmp_path / name), f"--{form}"]) == 0


def test_mutants_have_no_report_before_their_end(tmp_path):
    """Theirs is mutants.html."""
    (tmp_path / "asked.json").write_text(json.dumps({"arguments": [], "where": "/", "trial": ""}))

    with pytest.raises(BadSpec, match="neither a run nor a campaign"):
        folders.read(tmp_path)


def faulty(tmp_path):
    (tmp_path / "empty").mkdir()
    a_run(tmp_path / "cut")
    (tmp_path / "cut/run.json").write_text('{"kernel": "de')
    (tmp_path / "mutants").mkdir()
    (tmp_path / "mutants/mutants.json").write_text("{}")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("latest", "No run is there yet"),
        ("none", "There is no folder"),
        ("empty", "neither a run nor a campaign"),
        ("cut", "run.json is damaged"),
        ("mutants", "holds mutants"),
    ],
)
def test_a_folder_without_a_report(tmp_path, capsys, name, says):
    """Exit code 11, with the next step."""
    faulty(tmp_path)

    assert cli.main(["report", str(tmp_path / name), "--ktap"]) == BadSpec.exit_code

    said = capsys.readouterr().err
    assert says in said
    assert "next: " in said
