"""A series is tested patch by patch: what breaks, mends, is flaky, does not build or boot."""

import json
import threading
from pathlib import Path

import pytest
from fakes import kernel_tree, series_machine
from fakes.series_machine import GOOD, run, verdicts

from ringrig.campaign import crew
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
from ringrig.report import series as reports

machine, once, tree = series_machine.machine, series_machine.once, series_machine.tree


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
