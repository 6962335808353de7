"""A series is tested patch by patch: what breaks, mends, is flaky, does not build or boot; Ctrl-C and what --resume does then."""

import json
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest
from fakes import kernel_tree, series_machine, threads
from fakes.series_machine import GOOD

from ringrig.campaign import asked, crew, series, tester
from ringrig.campaign.rows import (
    BREAKS,
    IDLE,
    MENDS,
    NO_BOOT,
    NO_BUILD,
    NO_CODE,
    NOTHING,
    OK,
    STILL,
    UNSEEN,
    Row,
    settle,
)
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


@pytest.fixture
def machine(monkeypatch):
    return series_machine.install(monkeypatch)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A kernel tree with a topic of three patches."""
    made = kernel_tree.make(tmp_path_factory.mktemp("once") / "linux")
    threads.branch(made, 3)
    return made


@pytest.fixture
def tree(once, tmp_path, monkeypatch):
    """A copy of it; the clone is tmp_path."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = shutil.copytree(once, tmp_path / "linux", symlinks=True)
    return made


def run(tree, *more, given="v6.12..topic", said=None):
    words = ["--tree", str(tree), "--no-lines", given, "suites/x", *more]
    return series.run(words, root=tree.parent, say=(said.append if said is not None else lambda _: None))


def verdicts(found):
    return [row.verdict for row in found.patches]


def test_a_series_that_breaks_nothing(machine, tree, capsys):
    """Base and each patch on top of those before it, judged by the base's profile; words for the cover letter."""
    found = run(tree)

    assert machine.names == ["base", "1-of-3", "2-of-3", "3-of-3"]
    assert [len(job.patches) for job in machine.jobs] == [0, 1, 1, 1]
    third = Path(machine.jobs[3].patches[0]).read_text()
    assert all(f"one_{number}" in third for number in (1, 2, 3))
    assert "--judged-by=debian:6.12" not in machine.jobs[0].cases
    assert any(word.startswith("--judged-by=") for word in machine.jobs[1].cases)
    assert verdicts(found) == [OK, OK, OK]
    assert reports.report(found) == 0
    said = capsys.readouterr().out
    assert "Nothing breaks." in said
    assert "Tested-by: " in said
    words = (found.folder / "tested-by.txt").read_text()
    assert max(map(len, words.splitlines())) <= 72
    assert json.loads((found.folder / "series.json").read_text())["rows"][3]["subject"].endswith("one_3()")


def test_the_first_patch_that_breaks_and_the_one_that_mends(machine, tree, capsys):
    """What fails is run again first; what stays broken is run again no more; a case that fails on the base is no regression."""
    machine.outcomes = {
        "base": {**GOOD, "e": "failed"},
        "base-again-1": {"e": "failed"},
        "1-of-3": {**GOOD, "a": "failed", "e": "failed"},
        "2-of-3": {**GOOD, "a": "failed", "b": "passed", "e": "failed"},
        "3-of-3": {**GOOD, "e": "passed"},
    }

    found = run(tree)

    assert verdicts(found) == [BREAKS, STILL, MENDS]
    assert machine.names == ["base", "base-again-1", "1-of-3", "1-of-3-again-1", "2-of-3", "3-of-3"]
    assert found.patches[0].faults == {"a": "failed: 5 != 6"}
    assert found.patches[2].newly_passing == ["e"]
    assert found.base_failing == {"e": "failed: 5 != 6"}
    assert reports.report(found) == 1
    said = capsys.readouterr().out
    assert "Patch 1 breaks 1 case (nothing broke before): io_uring/kbuf: add one_1()" in said
    assert "Patch 3 mends 1 case; nothing stays broken" in said
    assert f"repeat: rig run --kernel=tree:{tree}@" in said
    assert "Tested-by" not in (found.folder / "tested-by.txt").read_text()


def test_a_new_splat_is_repeated_by_the_case_it_is_blamed_on(machine, tree):
    """It has no name that rig run takes."""
    found = run(tree)
    row = found.patches[0]
    row.verdict, row.breaks, row.new_splats = BREAKS, ["WARNING: x"], {"WARNING: x": ["b", "a"]}
    row.faults = {"WARNING: x": "new splat"}

    [repeat] = [line for line in reports.story(found) if "repeat" in line]

    assert repeat.endswith(" b")


def test_flaky_cases_break_nothing(machine, tree, capsys):
    """Neither one that passes when run again, nor one that does so on the base."""
    machine.outcomes = {
        "base": {**GOOD, "e": "failed"},
        "base-again-1": {"e": "passed"},
        "1-of-3": {**GOOD, "a": "failed", "e": "passed"},
        "1-of-3-again-1": {"a": "passed"},
        "2-of-3": {**GOOD, "e": "failed"},
        "3-of-3": {**GOOD, "e": "passed"},
    }

    found = run(tree)

    assert verdicts(found) == [OK, OK, OK]
    assert (found.base_flaky, found.patches[0].flaky, found.patches[0].newly_passing) == (["e"], ["a"], [])
    assert reports.report(found) == 0
    assert "flaky (failed, and passed when run again): 1" in capsys.readouterr().out


@pytest.mark.parametrize("word", [IDLE, UNSEEN, NO_CODE])
def test_a_pass_of_which_nothing_ran_says_so(word):
    """In its verdict; one of which something ran is ok."""
    row, other = (Row(number=1, subject="one", exercised=how) for how in (word, "exercised"))

    settle(row, [])
    settle(other, [])

    assert (row.verdict, other.verdict) == (word, OK)


@pytest.mark.parametrize("again", [True, False], ids=["each_time", "once"])
def test_a_splat_counts_where_it_comes_again(machine, tree, again):
    """Its case is run again like any that fails; one that came once is told as flaky."""
    machine.outcomes = {"1-of-3": {**GOOD, "a": "failed"}, "1-of-3-again-1": {"a": "passed"}}
    machine.splats = {"1-of-3": {"a": "WARNING at kbuf.c:3"}}
    if again:
        machine.splats["1-of-3-again-1"] = {"a": "WARNING at kbuf.c:4"}

    found = run(tree)

    row = found.patches[0]
    assert (row.verdict, row.breaks) == ((BREAKS, ["WARNING at kbuf.c:3"]) if again else (OK, []))
    assert row.flaky == (["a"] if again else ["a", "WARNING at kbuf.c:3"])


def test_a_splat_of_a_case_that_fails_on_the_base_is_looked_at_again(machine, tree):
    """What the base says when its failing cases are run again is the base's, too."""
    failing = {**GOOD, "e": "failed"}
    machine.outcomes = dict.fromkeys(("base", "1-of-3", "2-of-3", "3-of-3"), failing)
    machine.splats = {
        "base-again-1": {"e": "BUG: old"},
        "1-of-3": {"e": "BUG: old"},
        "2-of-3": {"e": "BUG: new"},
        "2-of-3-again-1": {"e": "BUG: new"},
    }

    found = run(tree)

    assert verdicts(found) == [OK, BREAKS, MENDS]
    assert found.patches[1].breaks == ["BUG: new"]


def test_what_gets_better_is_told_with_the_patch_that_it_comes_with(machine, tree, capsys):
    """Once, also where a patch between cannot be run."""
    base = {**GOOD, "e": "failed", "f": "skipped"}
    machine.outcomes = {
        "base": base,
        "base-again-1": {"e": "failed"},
        "1-of-3": {**base, "d": "passed", "e": "passed"},
        "3-of-3": {**base, "d": "passed", "e": "passed", "f": "passed"},
    }
    machine.broken = {"2-of-3"}

    reports.report(run(tree))

    said = capsys.readouterr().out
    assert "newly passing with patch 1: 1\n    e\n" in said
    assert "newly run with patch 1: 1\n    d\n" in said
    assert "newly run with patch 3: 1\n    f\n" in said
    assert "newly passing with patch 3" not in said


@pytest.mark.parametrize(("tip", "code"), [("skipped", 20), ("passed", 0)])
def test_where_nothing_ran_nothing_passed(machine, tree, capsys, tip, code):
    """A suite for what only the series brings: in the end it must run."""
    machine.outcomes = {name: {"a": "skipped"} for name in ("base", "1-of-3", "2-of-3")}
    machine.codes = dict.fromkeys(machine.outcomes, 20)
    machine.outcomes["3-of-3"] = {"a": tip}
    machine.codes["3-of-3"] = code

    found = run(tree)

    assert verdicts(found)[:2] == [NOTHING, NOTHING]
    assert reports.report(found) == code
    assert ("No case ran" if code else "Nothing breaks") in capsys.readouterr().out
    assert ("Tested-by" in (found.folder / "tested-by.txt").read_text()) == (code == 0)


@pytest.mark.parametrize(("more", "verdict", "code"), [((), BREAKS, 1), (("--allow-skips",), OK, 0)])
def test_a_case_that_is_left_out_is_a_regression(machine, tree, more, verdict, code):
    """Unless told otherwise; one that is not run is one anyhow."""
    machine.outcomes["3-of-3"] = {**GOOD, "a": "skipped"}

    found = run(tree, *more)

    assert found.patches[2].verdict == verdict
    assert found.patches[2].newly_skipped == ["a"]
    assert found.exit_code == code


def test_cases_that_are_not_run(machine, tree):
    """A guest that was lost in the middle is no pass."""
    machine.outcomes["2-of-3"] = {"a": "passed"}

    found = run(tree)

    assert verdicts(found) == [OK, BREAKS, MENDS]
    assert found.patches[1].not_run == ["b", "c", "d"]


def test_the_series_goes_on_after_a_patch_that_does_not_build(machine, tree, capsys):
    """What breaks after it may be its doing: both are named."""
    machine.broken = {"2-of-3"}
    machine.outcomes["3-of-3"] = {**GOOD, "a": "failed"}

    found = run(tree)

    assert verdicts(found) == [OK, NO_BUILD, BREAKS]
    assert found.patches[2].unknown_before == [2]
    assert reports.report(found) == 1
    said = capsys.readouterr().out
    assert "kbuf.c:3: error: no" in said
    assert "(or patch 2, which has no verdict)" in said


def test_a_patch_that_does_not_boot_is_booted_again_first(machine, tree):
    """Once is the machine's doing, twice the kernel's."""
    machine.codes = {"1-of-3": 15, "3-of-3": 15, "3-of-3-booted-again": 15}

    found = run(tree)

    assert verdicts(found) == [OK, OK, NO_BOOT]
    assert found.patches[0].folder == "1-of-3-booted-again"
    assert found.exit_code == 1


def test_a_patch_and_its_revert(machine, tree, tmp_path):
    """Come to the base itself, which is tested as any other kernel."""
    (tmp_path / "out").mkdir()
    there = kernel_tree.PATCH
    back = there.replace("-\treturn head + 1", "-\treturn head + 2").replace(
        "+\treturn head + 2", "+\treturn head + 1"
    )
    (tmp_path / "out/1.patch").write_text(there)
    (tmp_path / "out/2.patch").write_text(back)

    found = run(tree, "--base", "v6.12", given=str(tmp_path / "out"))

    assert verdicts(found) == [OK, OK]
    assert [len(job.patches) for job in machine.jobs] == [0, 1, 0]


@pytest.mark.parametrize("broken", [set(), {"3-of-3"}])
def test_several_kernels_at_a_time(machine, tree, monkeypatch, broken):
    """However they end, rows come in the order of the patches, and what an earlier one broke is not run again."""
    ended, do = threading.Event(), crew.do

    def in_another_order(job, folder, **more):
        if job.name == "1-of-3":
            assert ended.wait(20), "2-of-3 does not run beside it"
        result = do(job, folder, **more)
        if job.name == "2-of-3":
            ended.set()
        return result

    monkeypatch.setattr(crew, "do", in_another_order)
    monkeypatch.setattr(crew, "fitting", lambda jobs, *, guests, say: jobs)
    machine.broken = broken
    machine.outcomes = {"1-of-3": {**GOOD, "a": "failed"}, "2-of-3": {**GOOD, "a": "failed"}}

    found = run(tree, "--jobs", "2")

    assert verdicts(found) == [BREAKS, STILL, NO_BUILD if broken else MENDS]
    assert [row.number for row in found.rows] == [0, 1, 2, 3]
    assert machine.names.index("2-of-3") < machine.names.index("1-of-3")
    assert "2-of-3-again-1" not in machine.names


def test_only_the_tip(machine, tree, capsys):
    """The whole series at once."""
    machine.outcomes["3-of-3"] = {**GOOD, "a": "failed"}

    found = run(tree, "--only-tip")

    assert machine.names == ["base", "3-of-3", "3-of-3-again-1"]
    assert reports.report(found) == 1
    assert "The series breaks 1 case" in capsys.readouterr().out


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
