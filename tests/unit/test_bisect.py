"""rig bisect finds the commit that broke a case: through commits that cannot be tried, flaky cases, merges."""

import json

import pytest
from fakes.commits import CASE, git, line, merged, repository

from ringrig.report import bisect as reports

pytest_plugins = ["fakes.bisections"]

# Three that do not build, one that does not boot, one that warns, and the culprit: c13 of 20.
TWENTY = line(
    "good", "", "", "build", "", "good", "", "boot", "good", "build", "", "splat abc", "good",
    "bad", "", "", "build", "bad", "", "",
)  # fmt: skip


def test_the_culprit_is_found_among_commits_that_cannot_be_tried(session, find, tmp_path, capsys):
    """With its evidence; each commit is tried once."""
    ids, made, said = find(TWENTY)

    assert made.culprit == ids["c13"]
    assert reports.report(made) == 0
    out = capsys.readouterr().out
    assert f"CULPRIT: {ids['c13'][:12]} io_uring: c13" in out
    assert f"its parent {ids['c12'][:12]} passes 11 of 11" in out
    assert ids["c13"] in (made.folder / "report.html").read_text()
    assert made.confidence >= 0.99
    assert session.runs.pop(ids["c7"], 2) == 2  # what does not boot is booted twice
    assert set(session.runs.values()) == {1}
    assert len(session.runs) <= 10
    assert any("does not build: io_uring/kbuf.c:7: error: nonsense" in one for one in said)
    told = json.loads((made.folder / "bisect.json").read_text())
    assert told["culprit"]["id"] == ids["c13"]
    assert told["marks"] == ["failed"]
    assert {one["verdict"] for one in told["examined"]} == {"good", "bad", "skip"}


def test_git_replays_the_log(find, tmp_path):
    """And comes to the same commit."""
    ids, made, _ = find(TWENTY)
    reports.report(made)
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "-q", str(tmp_path / "tree"), str(copy))

    said = git(copy, "bisect", "replay", str(made.folder / "bisect.log"))

    assert f"{ids['c13']} is the first bad commit" in said


def test_the_mail_fits_a_terminal_and_names_the_commit(find):
    """For regzbot, too."""
    ids, made, _ = find(TWENTY)
    reports.report(made)

    text = (made.folder / "mail.txt").read_text()

    assert f"#regzbot introduced: {ids['c13']}\n" in text
    assert "To: A Developer <dev@example.org>" in text
    body = text.partition("\n\n")[2]
    assert [one for one in body.splitlines() if len(one) > 72 and "rig run" not in one] == []


def test_the_users_repository_is_only_read(find, tmp_path):
    """No file of it changes, work tree or .git."""
    tree = tmp_path / "tree"
    repository(tree, TWENTY)
    (tree / "state").write_text("half written")

    def everything():
        return {
            str(one): (one.stat().st_mtime_ns, one.read_bytes()) for one in tree.rglob("*") if one.is_file()
        }

    before = everything()
    find(TWENTY)

    assert everything() == before


@pytest.mark.parametrize("seed", range(3))
def test_a_case_that_fails_one_time_in_three(session, find, seed):
    """Enough tries make up for it."""
    session._dice.seed(seed)
    ids, made, _ = find(line("good", *[""] * 10, "flaky 3", *[""] * 12))

    assert made.culprit == ids["c11"]
    assert made.quota.passes > 20
    assert made.confidence >= 0.99


@pytest.mark.parametrize(
    ("branch", "culprit"),
    [
        ((["", "", "bad", ""], ["bad"] * 3), "r2"),
        ((["", "", "", ""], ["bad"] * 3), "m0"),
        ((["", "", "", ""], ["good", "bad", "bad"]), "m1"),
    ],
)
@pytest.mark.parametrize("jobs", [1, 3])
def test_merges(find, tmp_path, branch, culprit, jobs):
    """The culprit is on a branch, is the merge (then both parents pass), or comes after it; git's replay agrees."""
    commits = merged(["good", ""], ["", "", "", "", ""], *branch)
    ids, made, _ = find(commits, f"--jobs={jobs}")
    reports.report(made)
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "-q", str(tmp_path / "tree"), str(copy))

    assert made.culprit == ids[culprit]
    assert all(made.seen[one].verdict.word == "good" for one in made.fact(made.culprit).parents)
    assert f"{ids[culprit]} is the first bad commit" in git(
        copy, "bisect", "replay", str(made.folder / "bisect.log")
    )


def test_ends_that_have_parted(find, tmp_path):
    """What both come from must be good, and is tried; the log replays."""
    commits = merged(["good", "", ""], ["", ""], ["", "bad", ""], [])
    ids, made, _ = find(commits, good="l1", bad="r2")
    reports.report(made)
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "-q", str(tmp_path / "tree"), str(copy))

    assert made.culprit == ids["r1"]
    assert made.seen[ids["c2"]].verdict.word == "good"
    assert f"{ids['r1']} is the first bad commit" in git(
        copy, "bisect", "replay", str(made.folder / "bisect.log")
    )


def test_of_commits_that_cannot_be_tried_around_the_culprit_all_are_named(find, capsys):
    """Exit code 1: one of these."""
    ids, made, _ = find(line("good", *[""] * 5, "build", "", "bad", *[""] * 5))

    assert made.left == [ids["c6"], ids["c7"], ids["c8"]]
    assert reports.report(made) == 1
    out = capsys.readouterr().out
    assert "ONE OF THESE 3 COMMITS" in out
    assert "does not build" in out
    assert f"# possible first bad commit: [{ids['c7']}]" in (made.folder / "bisect.log").read_text()


@pytest.mark.parametrize("jobs", [1, 3])
def test_several_commits_a_round_take_fewer_rounds(find, jobs):
    """64 commits: 6 rounds of one, 3 of three."""
    ids, made, _ = find(line("good", *[""] * 41, "bad", *[""] * 22), f"--jobs={jobs}")

    assert made.culprit == ids["c42"]
    assert made.rounds <= {1: 6, 3: 3}[jobs]


def test_a_splat_of_another_kind_is_not_the_failure(find):
    """The bad end's splat is followed; a commit that dies of another, or fails without one, is left out."""
    commits = line(
        "good", "", "splat other", "good", "", "bad", "", "splat same", "", "splat other", "splat same"
    )
    ids, made, _ = find(commits)

    assert made.quota.marks == ("same",)
    assert made.left == [ids["c5"], ids["c6"], ids["c7"]]
    assert "dies of something else: assert 1 == 2" in made.seen[ids["c6"]].verdict.why


def test_of_several_cases_one_that_fails_is_followed(find):
    """The others that fail on the bad end are named."""
    commits = line("good", "", "", "good/bad", "", "bad/bad", "")
    ids, made, _ = find(commits, case=("-k", "test_1 or test_2"))

    assert made.culprit == ids["c5"]
    assert made.case == CASE
    assert any("1 other cases fail" in note and "test_2" in note for note in made.notes)


def test_a_culprit_that_changes_nothing_is_doubted(find):
    """The same kernel as its parent's cannot do otherwise."""
    commits = [
        (name if name != "c4" else "c3-doc", does, [p if p != "c4" else "c3-doc" for p in parents])
        for name, does, parents in line("good", "", "", "", "bad", "", "")
    ]
    _, made, _ = find(commits)

    assert made.exit_code == 1
    assert any("the same kernel as its parent" in note for note in made.notes)
