"""What a bisection refuses and what it survives: wrong ends, faulty arguments, trouble, Ctrl-C, a full disk; and its steps for git."""

import errno

import pytest
from fakes.commits import CASE, git, line, merged, repository

from ringrig.campaign import bisect, bisect_step
from ringrig.errors import BadSpec, NoSpace, WrongEnds
from ringrig.report import bisect as reports

WHO = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
pytest_plugins = ["fakes.bisections"]


@pytest.mark.parametrize(
    ("commits", "ends", "says"),
    [
        (line("good", "", ""), {}, "The bad end, .*c2.*, is not bad: it passes 100 times of 100"),
        (line("bad", "", ""), {}, "The good end, .*c0.*, is not good: it fails 2 of 2: assert 1 == 2"),
        (line("good", "", "build"), {}, "The bad end, .*: it does not build"),
        (line("boot", "", "bad"), {}, "The good end, .*: it does not boot"),
        (line("good", "", "skip"), {}, "The bad end, .*: it leaves the case out: needs inc"),
        (line("good", "", "bad"), {"good": "c2", "bad": "c0"}, "bad is an ancestor of good"),
        (line("good", "", "bad"), {"good": "c2"}, "range is empty"),
        ([*line("good", "bad"), ("other", "bad", [])], {"bad": "other"}, "no common history"),
        (merged(["bad", ""], ["good"], ["bad"], []), {"good": "l0", "bad": "r0"}, "repaired on the good end's side"),
    ],
)  # fmt: skip
def test_an_end_that_is_not_what_it_was_said_to_be(find, commits, ends, says):
    """Which, and what it showed."""
    with pytest.raises(WrongEnds, match=f"(?s){says}"):
        find(commits, **ends)


@pytest.mark.parametrize("option", [CASE, "--bad=c1", "--confidence=0.9", "--config=kasan", "-n3"])
def test_going_on_takes_nothing_that_it_would_not_heed(tmp_path, capsys, option):
    """What was asked is kept in the folder."""
    with pytest.raises(SystemExit):
        bisect.run([f"--resume={tmp_path}", option], root=tmp_path, say=lambda _: None)

    assert "it takes only --jobs and --cluster" in capsys.readouterr().err


@pytest.mark.parametrize("stored", ["[]", '{"asked": {}, "trees": []}'])
def test_another_campaigns_folder_holds_no_bisection(tmp_path, stored):
    """Whatever its asked.json says."""
    (tmp_path / "asked.json").write_text(stored)

    with pytest.raises(BadSpec, match="holds no bisection to go on with"):
        bisect.run([f"--resume={tmp_path}"], root=tmp_path, say=lambda _: None)


def test_how_to_go_on_names_the_same_crew(find):
    """Pasted, it runs on the same machines; -n is the bisection's own."""
    _, made, _ = find(line("good", "trouble", "bad"), "--jobs", "2", "-n", "3")

    assert made.stopped.endswith(f"rig bisect --resume {made.folder} --jobs 2")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--tree=TREE", "--good=c0", "--bad=c1", CASE, "--config=kasn"], "did you mean kasan"),
        (["--tree=TREE", "--good=c0", "--bad=nonsense", CASE], "no revision 'nonsense'"),
        (["--tree=/nowhere", "--good=c0", "--bad=c1", CASE], "/nowhere is not a directory"),
        (["--tree=TREE/..", "--good=c0", "--bad=c1", CASE], "top directory of a git repository"),
        (["--tree=TREE", "--good=older", "--bad=c1", CASE], "is no kernel tree"),
        (["--resume=TREE"], "holds no bisection"),
    ],
)
def test_faulty_arguments(session, tmp_path, options, says):
    """Are told before anything is built or left behind."""
    tree = tmp_path / "tree"
    ids = repository(tree, line("good", "bad"))
    empty = git(tree, "mktree", given="")
    git(tree, "tag", "older", git(tree, *WHO, "commit-tree", "-m", "nothing", "-p", ids["c0"], empty))

    with pytest.raises(BadSpec, match=says):
        bisect.run(
            [one.replace("TREE", str(tree)) for one in options],
            root=tmp_path,
            say=lambda _: None,
        )

    assert not session.commands
    assert not (tmp_path / "runs").exists()


def test_trouble_is_tried_again_and_then_ends_it_with_the_state_kept(session, find):
    """It blames no commit; --resume goes on, and does nothing twice."""
    commits = line("good", "", "", "trouble", "bad", "")
    ids, made, _ = find(commits)

    assert (made.exit_code, made.culprit) == (19, None)
    assert session.runs[ids["c3"]] == 3
    assert "--resume" in made.stopped
    assert reports.report(made) == 19

    session.runs.clear()
    session.cure = "good"
    _, again, _ = find(commits, "--resume", str(made.folder))

    assert again.culprit == ids["c4"]
    assert session.runs == {ids["c3"]: 1, ids["c4"]: 1}


def test_interrupted_at_every_stage_it_goes_on(session, find):
    """What was done is not done again, and the result is the same."""
    commits = line("good", "", "build", "good", "", "", "bad", "", "boot", "bad", "", "")
    ids, whole, _ = find(commits)
    jobs = len(session.commands)
    for stage in range(1, jobs + 1):
        session.runs.clear()
        session.commands.clear()

        def end(stage=stage):
            if len(session.commands) == stage:
                raise KeyboardInterrupt

        session.before = end
        _, half, _ = find(commits)
        assert (half.exit_code, half.culprit) == (130, None)
        assert reports.report(half) == 130

        session.before = lambda: None
        _, made, _ = find(commits, "--resume", str(half.folder))

        assert made.culprit == whole.culprit == ids["c6"]
        assert {one for one, times in session.runs.items() if times != 1} <= {ids["c8"]}
        assert sum(session.runs.values()) == jobs
        assert made.seen.keys() == whole.seen.keys()


def test_interrupted_at_the_culprits_parent(session, find):
    """Which nobody had tried, as a commit of the other branch contains it: then the culprit is not told yet."""
    commits = merged(["good", ""], ["", "", "", "", ""], ["bad", ""], ["bad"])
    ids, whole, said = find(commits)
    assert "the culprit's parents" in said
    last = len(session.commands)
    session.commands.clear()

    def end():
        if len(session.commands) == last:
            raise KeyboardInterrupt

    session.before = end
    _, half, _ = find(commits)

    assert (half.exit_code, half.culprit, half.left) == (130, None, [ids["r0"]])
    assert reports.report(half) == 130
    session.before = lambda: None
    assert find(commits, "--resume", str(half.folder))[1].culprit == whole.culprit == ids["r0"]


def test_a_full_disk_says_how_to_go_on(session, find):
    """The error is NoSpace, and --resume is told."""
    commits = line("good", "", "", "bad")

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    session.before = full
    with pytest.raises(NoSpace):
        find(commits)


@pytest.mark.parametrize(
    ("does", "code"), [("good", 0), ("bad", 1), ("build", 125), ("splat x", 1), ("trouble", 128)]
)
def test_a_step_of_git_bisect_run(session, tmp_path, does, code):
    """The tree as it stands; git's exit codes."""
    repository(tmp_path / "tree", line(does))
    git(tmp_path / "tree", "reset", "-q", "--hard")

    assert bisect_step.run(["--step", f"--tree={tmp_path / 'tree'}", CASE], root=tmp_path, say=print) == code


def test_a_step_that_breaks_down_ends_the_bisection(session, tmp_path, monkeypatch, capsys):
    """With its traceback: Python's exit code for that is git's "bad"."""
    repository(tmp_path / "tree", line("bad"))
    git(tmp_path / "tree", "reset", "-q", "--hard")
    monkeypatch.setattr(bisect_step, "examination", lambda *_: 1 / 0)

    assert bisect_step.run(["--step", f"--tree={tmp_path / 'tree'}", CASE], root=tmp_path, say=print) == 128
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [["--nonsense"], ["--tree=/nowhere", CASE], [], ["--tree=tree", "--config=kasn", CASE]]
)
def test_a_step_that_cannot_be_made_ends_the_bisection(session, tmp_path, wrong, monkeypatch):
    """An error of ours must be neither git's "bad" nor "skip", and leaves nothing behind."""
    repository(tmp_path / "tree", line("good"))
    monkeypatch.chdir(tmp_path)

    assert bisect_step.run(["--step", *wrong], root=tmp_path, say=print) == 128
    assert not (tmp_path / "runs").exists()
