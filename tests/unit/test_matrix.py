"""The matrix of jobs: each kernel once, and every fault is named."""

import errno
import json
from pathlib import Path

import pytest
from fakes import job_sessions
from rich.console import Console
from rich.text import Text

from ringrig.campaign import crew, matrix, nearest
from ringrig.campaign import job as jobs
from ringrig.campaign.job import Job
from ringrig.errors import BadSpec, ClusterAway, NoSpace
from ringrig.report import matrix as reports

session = job_sessions.session


def toml(tmp_path, text):
    path = tmp_path / "m.toml"
    path.write_text(text)
    return str(path)


def test_a_matrix_runs_each_kernel_and_goes_on_where_it_was_ended(session, tmp_path, capsys):
    """The kernels that were left are named; --resume does just those."""
    file = toml(tmp_path, '[[kernel]]\nkernel = "host"\n[[kernel]]\nkernel = "debian:6.12"\nguest = "qemu"\n')
    session[1].extend([0, 2])

    half = matrix.run([file], root=tmp_path, say=lambda _: None)

    assert [one.name for one in half.left] == ["debian:6.12+qemu"]
    assert reports.report(half) == 130
    assert "not run: debian:6.12+qemu" in capsys.readouterr().out

    session[1].extend([1])
    whole = matrix.run(["--resume", str(half.folder)], root=tmp_path, say=lambda _: None)

    assert len(session[0]) == 3
    assert reports.report(whole) == 1
    told = json.loads((whole.folder / "matrix.json").read_text())
    assert [one["exit_code"] for one in told["kernels"]] == [0, 1]
    assert told["kernels"][1]["folders"]["mmap"] == {"xfailed": 1, "failed": 1}


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_numbers_are_never_cut(capsys, monkeypatch, tmp_path, columns):
    """However long a kernel's name is, and however narrow the terminal."""
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setenv("COLUMNS", str(columns))
    name = "a-kernel-with-a-name-of-many-letters"
    cases = {f"suites/x/test_a.py::test_{n}": jobs.Case(outcome="passed", seconds=0) for n in range(3112)}
    one = jobs.Result(
        job=Job(name=name, kernel="host"), folder=tmp_path, exit_code=1, seconds=1234, verdict="", cases=cases
    )
    (tmp_path / "made").mkdir()

    reports.report(matrix.Matrix(folder=tmp_path / "made", suite="", results=[one]))

    table = Text.from_ansi(capsys.readouterr().out).plain.partition("cells:")[0]
    assert {"pass", "fail", "error", "known", "xpass", "out", "exit", "3112", "1234"} <= set(table.split())
    assert "…" not in table


def test_paths_in_the_file_lie_beside_it(session, tmp_path):
    """Patches, and configurations with a slash; a bare word is a fragment of the project's."""
    file = toml(
        tmp_path,
        '[[kernel]]\nkernel = "source:6.12"\npatch = ["../p"]\nconfig = ["kasan", "./c"]\n',
    )
    (tmp_path / "c").write_text("CONFIG_X=y\n")
    (tmp_path / "../p").mkdir(exist_ok=True)

    made = matrix.run([file], root=tmp_path, say=lambda _: None).results[0].job

    assert made.patches == (str(tmp_path / "../p"),)
    assert made.configs == ("kasan", str(tmp_path / "c"))


def test_kernels_by_configurations_by_cases(session, tmp_path):
    """Each entry with each of the configurations, beside its own; what it has itself is not that of all."""
    file = toml(
        tmp_path,
        """
        cases = ["suites/x"]
        configs = [[], ["kasan", "debug"], ["./odd"]]
        [[kernel]]
        kernel = "source:6.12"
        guest = "uml"
        config = ["debug"]
        [[kernel]]
        name = "mine"
        kernel = "tree:/linux"
        cases = ["suites/y"]
        [[kernel]]
        kernel = "host"
        configs = [[]]
        """,
    )
    (tmp_path / "odd").write_text("CONFIG_X=y\n")

    made = [one.job for one in matrix.run([file], root=tmp_path, say=lambda _: None).results]

    assert [(one.name, one.cases[0]) for one in made] == [
        ("source:6.12+uml+debug", "suites/x"),
        ("source:6.12+uml+debug+kasan", "suites/x"),
        ("source:6.12+uml+debug+odd", "suites/x"),
        ("mine", "suites/y"),
        ("mine+kasan+debug", "suites/y"),
        ("mine+odd", "suites/y"),
        ("host", "suites/x"),
    ]
    assert [one.configs for one in made[1:3]] == [("debug", "kasan"), ("debug", str(tmp_path / "odd"))]
    asked = matrix.run([file, "suites/z"], root=tmp_path, say=lambda _: None).results
    assert {one.job.cases for one in asked} == {("suites/z",)}


def test_resume_goes_on_with_what_was_asked_and_with_nothing_else(session, tmp_path):
    """The same file and cases may be named; others are refused, and what is finished stays."""
    file = toml(tmp_path, '[[kernel]]\nkernel = "host"\n[[kernel]]\nkernel = "debian"\n')
    begun = matrix.run([file, "suites/x"], root=tmp_path, say=lambda _: None)

    resume = ["--resume", str(begun.folder)]
    with pytest.raises(BadSpec, match="something else of host, debian"):
        matrix.run([file, "suites/y", *resume], root=tmp_path, say=lambda _: None)
    toml(tmp_path, '[[kernel]]\nkernel = "host"\n[[kernel]]\nkernel = "debian:6.12"\n')
    with pytest.raises(BadSpec, match=r"something else of debian, debian:6\.12"):
        matrix.run([file, "suites/x", *resume], root=tmp_path, say=lambda _: None)
    toml(tmp_path, '[[kernel]]\nkernel = "host"\n[[kernel]]\nkernel = "debian"\n')
    again = matrix.run([file, "suites/x", *resume], root=tmp_path, say=lambda _: None)

    assert again.results == begun.results
    assert len(session[0]) == 2


def test_the_hint_goes_on_as_it_was_begun(session, tmp_path):
    """It names the folder, and how the jobs were to run; what was asked is in there."""
    said = []
    file = toml(tmp_path, '[[kernel]]\nkernel = "host"\n')
    session[1].append(2)

    begun = matrix.run([file, "-n", "1", "suites/x", "--jobs=1"], root=tmp_path, say=said.append)

    hint = f"rig matrix -n 1 --jobs=1 --resume {begun.folder}"
    assert said[-1] == f"interrupted; go on with: {hint}"
    whole = matrix.run(hint.split()[2:], root=tmp_path, say=said.append)
    assert (whole.folder, len(whole.results)) == (begun.folder, 1)


def test_what_came_to_nothing_leaves_no_folder(session, tmp_path, monkeypatch):
    """One that is gone on with stays."""
    file = toml(tmp_path, '[[kernel]]\nkernel = "host"\n')
    session[1].append(2)
    begun = matrix.run([file], root=tmp_path, say=lambda _: None)

    def away(*_, **__):
        raise ClusterAway("nobody", next_step="-")

    monkeypatch.setattr(crew, "crew", away)
    for words in ([file], ["--resume", str(begun.folder)]):
        with pytest.raises(ClusterAway):
            matrix.run(words, root=tmp_path, say=lambda _: None)

    assert list((tmp_path / "runs").iterdir()) == [begun.folder]


def test_a_full_disk_leaves_no_folder_that_cannot_be_gone_on_with(session, tmp_path, monkeypatch):
    """What is asked could not be kept; the place that is full is said."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    file = toml(tmp_path, '[[kernel]]\nkernel = "host"\n')
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(NoSpace, match=rf"{tmp_path}/runs/.*_matrix"):
        matrix.run([file], root=tmp_path, say=lambda _: None)

    assert list((tmp_path / "runs").iterdir()) == []


def test_a_case_that_exists_nowhere_is_told_before_anything_runs(session, tmp_path, monkeypatch):
    """Each list of cases is looked up once."""
    asked = []

    def known(names, *, root):
        asked.append(names)
        if "suites/statu" in names:
            raise BadSpec("There is no case 'suites/statu'.", next_step="suites/status")

    monkeypatch.setattr(nearest, "known", known)
    text = '[[kernel]]\nkernel = "host"\n[[kernel]]\nkernel = "debian"\n[[kernel]]\nkernel = "debian:6.1"\ncases = ["suites/statu"]\n'
    with pytest.raises(BadSpec, match="suites/statu"):
        matrix.run([toml(tmp_path, text)], root=tmp_path, say=lambda _: None)

    assert asked == [("suites",), ("suites/statu",)]
    assert session[0] == [] and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[kernel]]\n", "names no kernel"),
        ('[[kernel]]\nkernel = "host"\nkernal = "x"\n', "no use for kernal"),
        ('[[kernel]]\nkernel = "host"\npatch = "one"\n', "patch takes a list of texts, not 'one'"),
        ("[[kernel]]\nkernel = 5\n", "number 1: kernel takes a text with a letter or digit, not 5"),
        ('[[kernel]]\nkernel = ""\n', "kernel takes a text with a letter or digit, not ''"),
        ('[[kernel]]\nkernel = "host"\nname = ".."\n', r"name takes .*, not '\.\.'"),
        ('[[kernel]]\nkernel = "source"\nguest = "umll"\n', "guest takes auto, qemu or uml, not 'umll'"),
        ('[[kernel]]\nkernel = "source"\nconfig = ["kasann"]\n', "no configuration fragment 'kasann'"),
        ('configs = [["kasann"]]\n[[kernel]]\nkernel = "source"\n', "no configuration fragment 'kasann'"),
        ('[[kernel]]\nkernel = "source"\npatch = ["none"]\n', "There is no patch .*/none"),
        ('cases = "suites/x"\n[[kernel]]\nkernel = "host"\n', "cases takes a list of texts"),
        ('configs = ["kasan"]\n[[kernel]]\nkernel = "host"\n', "configs takes a list of lists"),
        ('[kernel]\nkernel = "host"\n', "kernel takes a table for each one"),
        ('kernel = "host"\n', "kernel takes a table for each one"),
        ('kernel = ["host"]\n', "kernel takes a table for each one"),
        ("x = 1\n", "no use for x"),
        ("", "lists no kernel"),
        ("[[kernel", "not TOML"),
        ('[[kernel]]\nkernel = "host"\n[[kernel]]\nkernel = "host"\n', "there twice"),
    ],
)
def test_a_faulty_file_is_refused_before_anything_runs(session, tmp_path, text, says):
    """With what is wrong in it."""
    with pytest.raises(BadSpec, match=says):
        matrix.run([toml(tmp_path, text)], root=tmp_path, say=lambda _: None)

    assert session[0] == []


def test_a_folder_or_file_that_is_not_there(session, tmp_path):
    """Said at once."""
    with pytest.raises(BadSpec, match="cannot be read"):
        matrix.run([str(tmp_path / "none.toml")], root=tmp_path, say=lambda _: None)
    file = toml(tmp_path, '[[kernel]]\nkernel = "host"\n')
    with pytest.raises(BadSpec, match="go on with"):
        matrix.run([file, "--resume", str(tmp_path / "none")], root=tmp_path, say=lambda _: None)
