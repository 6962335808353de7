"""What a series refuses and what it survives: faulty arguments, a base without a verdict, a full disk, Ctrl-C; and --resume then."""

import errno
import os
import signal
from pathlib import Path

import pytest
from fakes import kernel_tree, series_machine
from fakes.series_machine import run, verdicts

from ringrig.campaign import asked, series, tester
from ringrig.campaign.rows import OK
from ringrig.errors import (
    BadConfig,
    BadPatch,
    BadSpec,
    ClusterAway,
    KernelUnavailable,
    NoSpace,
    NoVerdict,
)
from ringrig.kernel import source
from ringrig.report import series as reports

machine, once, tree = series_machine.machine, series_machine.once, series_machine.tree


@pytest.mark.parametrize("code", [2, 130])
def test_ctrl_c_and_resume(machine, tree, capsys, code):
    """What has ended is not run again; nothing but the folder needs to be named."""
    said = []
    machine.codes["2-of-3"] = code
    half = run(tree, said=said)

    assert reports.report(half) == 130
    assert half.left == [2, 3]
    assert f"rig series --resume {half.folder}" in said[-1]
    assert "not run: patch 2" in capsys.readouterr().out

    machine.codes.clear()
    machine.jobs.clear()
    whole = series.run(["--resume", str(half.folder)], root=tree.parent, say=lambda _: None)

    assert machine.names == ["2-of-3", "3-of-3"]
    assert verdicts(whole) == [OK, OK, OK]
    assert whole.given == half.given


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_while_a_kernel_is_built(machine, tree, monkeypatch, number):
    """Is the same, by a CI system's TERM, too."""
    built = tester.resolve

    def resolve(spec, *, wanted, say):
        if any("2-of-3" in patch for patch in wanted.patches):
            os.kill(os.getpid(), number)
        built(spec, wanted=wanted, say=say)

    monkeypatch.setattr(tester, "resolve", resolve)

    half = run(tree)

    assert (half.left, half.exit_code, verdicts(half)) == ([2, 3], 130, [OK])


def test_a_full_disk_is_named_and_can_be_gone_on_from(machine, tree, monkeypatch):
    """While a kernel is built, or within a run."""
    said = []
    machine.codes["2-of-3"] = 18
    with pytest.raises(NoVerdict, match="2-of-3: V 2-of-3"):
        run(tree, said=said)
    assert "go on with: rig series --resume" in said[-1]

    def full(spec, *, wanted, say):
        raise NoSpace("No space left.", next_step="free some")

    monkeypatch.setattr(tester, "resolve", full)
    with pytest.raises(NoSpace):
        run(tree, said=said)
    assert "go on with: rig series --resume" in said[-1]


def test_a_full_disk_leaves_no_folder_that_cannot_be_gone_on_with(machine, tree, monkeypatch):
    """What is asked could not be kept."""

    def full(path, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(NoSpace, match="the series' folder"):
        run(tree)

    assert list((tree.parent / "runs").iterdir()) == []


def test_a_base_without_a_verdict_ends_the_series(machine, tree):
    """There is nothing to compare with."""
    machine.codes = {"base": 15, "base-booted-again": 15}

    with pytest.raises(NoVerdict, match="The base gives no verdict"):
        run(tree)


def test_what_does_not_apply_leaves_nothing_behind(machine, tree, tmp_path):
    """Said before anything is built."""
    (tmp_path / "out").mkdir()
    for name in ("1.patch", "2.patch"):
        (tmp_path / "out" / name).write_text(kernel_tree.PATCH)

    with pytest.raises(BadPatch, match="Patch 2 of 2"):
        run(tree, "--base", "v6.12", given=str(tmp_path / "out"))

    assert machine.jobs == []
    assert list((tree.parent / "runs").iterdir()) == []


@pytest.mark.parametrize(
    "stored", [None, "{", "[]", '{"tree": "/linux", "words": []}', '{"asked": {}, "trees": []}']
)
def test_a_folder_that_holds_no_series(machine, tmp_path, stored):
    """An empty one, or another campaign's."""
    if stored is not None:
        (tmp_path / "asked.json").write_text(stored)

    with pytest.raises(BadSpec, match="no series to go on with"):
        series.run(["--resume", str(tmp_path)], root=tmp_path, say=lambda _: None)


@pytest.mark.parametrize(
    "option",
    [
        "a..b",
        "--tree=/",
        "--base=b",
        "--kernel=source",
        "--guest=qemu",
        "--config=kasan",
        "--revision=7",
        "--only-tip",
        "--allow-skips",
        "--no-lines",
    ],
)
def test_going_on_takes_nothing_that_it_would_not_heed(machine, tmp_path, option):
    """What was asked is kept in the folder."""
    with pytest.raises(BadSpec, match="it takes only -n, --jobs and --cluster"):
        series.run([f"--resume={tmp_path}", option], root=tmp_path, say=lambda _: None)


def test_how_to_go_on_names_the_same_crew(machine, tree):
    """Pasted, it runs on the same machines."""
    said, far = [], ["-n", "3", "--cluster", "tcp://127.0.0.1:9"]
    with pytest.raises(ClusterAway):
        run(tree, *far, said=said)
    folder = said[-1].partition(" --resume ")[2].split()[0]
    machine.codes["2-of-3"] = 2
    again = ["--resume", folder, "--jobs", "2"]

    series.run(again, root=tree.parent, say=said.append)

    assert said[-1].endswith(f"go on with: rig series {' '.join(again)}")
    assert f"go on with: rig series --resume {folder} {' '.join(far)}" in "".join(said)


@pytest.mark.parametrize("trouble", [KeyboardInterrupt, KernelUnavailable("No network.", next_step="-")])
def test_ended_before_everything_is_applied(machine, tree, monkeypatch, trouble):
    """Be it while the base's source is fetched: what was asked is kept, and gone on with."""
    said, named = [], source.named

    def ends(spec, *, say):
        raise trouble

    monkeypatch.setattr(source, "named", ends)
    with pytest.raises((KeyboardInterrupt, KernelUnavailable)):
        run(tree, said=said)
    monkeypatch.setattr(source, "named", named)
    [folder] = (tree.parent / "runs").iterdir()

    whole = series.run(["--resume", str(folder)], root=tree.parent, say=lambda _: None)

    assert said[-1].endswith(f"go on with: rig series --resume {folder}")
    assert verdicts(whole) == [OK, OK, OK]
    assert asked.stored(folder)[1]


def test_a_fragment_that_is_not_there_leaves_nothing_behind(machine, tree, tmp_path):
    """Nor does one with a faulty line: no going on would mend it."""
    (tmp_path / "faulty.config").write_text("CONFIG_X=maybe\n")

    with pytest.raises(BadSpec, match="did you mean kasan"):
        run(tree, "--config", "gcov,kasn")
    with pytest.raises(BadConfig, match="this is no option"):
        run(tree, "--config", str(tmp_path / "faulty.config"))

    assert not (tree.parent / "runs").exists()


def test_a_base_that_is_another_meanwhile(machine, tree, tmp_path):
    """Is nothing to go on with."""
    found = series.run(
        ["--kernel", f"tree:{tree}", "--no-lines", str(write(tmp_path))], root=tmp_path, say=lambda _: None
    )
    (tree / "Kconfig").write_text("other\n")

    with pytest.raises(BadSpec, match="has changed since"):
        series.run(["--resume", str(found.folder)], root=tmp_path, say=lambda _: None)


def write(tmp_path):
    """A patch that applies to the topic."""
    path = tmp_path / "one.patch"
    path.write_text(kernel_tree.PATCH)
    return path


def test_the_tree_one_stands_in(machine, tree, monkeypatch):
    """Is taken when none is named; a series must be."""
    monkeypatch.chdir(tree)

    assert asked.tree_of(asked.parser().parse_args(["x"])) == tree
    with pytest.raises(BadSpec, match="No series is named"):
        series.run(["--tree", str(tree)], root=tree.parent, say=lambda _: None)
    for other in (tree / "io_uring", tree / "Kbuild"):
        with pytest.raises(BadSpec, match=r"is not (a directory|the top directory)"):
            series.run(["--tree", str(other), "v6.12.."], root=tree.parent, say=lambda _: None)
