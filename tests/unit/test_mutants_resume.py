"""`rig mutate --resume`: what is judged is not judged again, unless kernel, suite or cases are others by now."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from ringrig.campaign import mutate
from ringrig.campaign.baseline import Baseline
from ringrig.campaign.mutants import Edit, Mutant
from ringrig.campaign.trial import Kill, Verdict
from ringrig.errors import BadSpec, NotClean
from ringrig.report import mutants as reports

IDS = ("one", "two", "three", "four", "five")
NEEDS = {"four": "kasan", "five": "x86"}
KILL = Kill(case="c", how="value", what="1 == 2", times=3, tries=3)


def mutant(id):
    edit = Edit(file="kbuf.c", function="f", kind="expr", original="a", mutated="b")
    return Mutant(id=id, origin="chosen", edits=(edit,), needs=NEEDS.get(id, ""))


class Guests:
    """In one thread."""

    boots = 1

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def map(self, work, jobs):
        return (work(None, job) for job in jobs)


@pytest.fixture
def rig(monkeypatch, tmp_path):
    """A campaign of four mutants, without a kernel: rig.judged are those on trial so far; Ctrl-C at the one in `stop_at`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache/ringrig").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    told = SimpleNamespace(judged=[], where=[], stop_at="", build_id="b1", baseline=None)
    told.baseline = Baseline(reached={"c": [1, 2, 3]}, seconds={"c": 0.1}, left_out={}, alone=[])
    by_number = dict(enumerate(map(mutant, IDS), start=1))

    def make(*_, **__):
        image = SimpleNamespace(build_id=told.build_id, arch="um", profile="p", label="k")
        placed = SimpleNamespace(mutants=by_number, spots={}, stale={})
        sources = SimpleNamespace(series="6.12")
        return SimpleNamespace(image=image, sources=sources, placed=placed, refused={})

    def context_for(*_, folder, **__):
        folder = folder or tmp_path / "runs/new"
        folder.mkdir(parents=True, exist_ok=True)
        return SimpleNamespace(folder=folder, plan=SimpleNamespace(tops=(), guest="uml"))

    class Court:
        def __init__(self, *_, **__):
            pass

        def judge(self, _keeper, number):
            one = by_number[number]
            if one.id == told.stop_at:
                raise KeyboardInterrupt
            told.judged.append(one.id)
            told.where.append(Path.cwd())
            return Verdict(mutant=one, result="killed", kills=[KILL], cases=1)

    def baseline(*_, **__):
        if told.baseline is None:
            raise NotClean("It fails.", next_step="-")
        return told.baseline

    unchanged = SimpleNamespace(files={}, series="6.12")
    monkeypatch.setattr(mutate.kernel, "sources", lambda *_, **__: unchanged)
    monkeypatch.setattr(mutate.kernel, "make", make)
    monkeypatch.setattr(mutate, "_catalogue", lambda *_: list(by_number.values()))
    monkeypatch.setattr(mutate.nearest, "known", lambda names, root: ["c"])
    monkeypatch.setattr(mutate.prepare, "context_for", context_for)
    monkeypatch.setattr(mutate.prepare, "pack_suite", lambda *_, **__: None)
    monkeypatch.setattr(mutate.pack, "rewritten", lambda *_: None)
    monkeypatch.setattr(mutate.KnownIssues, "load", lambda *_: None)
    monkeypatch.setattr(mutate, "_baseline", baseline)
    monkeypatch.setattr(mutate, "_write_patches", lambda *_: None)
    monkeypatch.setattr(mutate, "Guests", Guests)
    monkeypatch.setattr(mutate, "Court", Court)
    told.run = lambda *words: mutate.run(words, root=tmp_path)
    return told


@pytest.fixture
def half(rig):
    """One that Ctrl-C ended at the third."""
    rig.stop_at = "three"
    made = rig.run("--guest", "uml", "suites/x")
    rig.stop_at = ""
    return made


def lines(campaign):
    return [json.loads(line)["id"] for line in (campaign.folder / "mutants.jsonl").read_text().splitlines()]


def test_what_is_judged_is_not_judged_again(rig, half, tmp_path, monkeypatch, capsys):
    """The whole campaign is reported, from wherever it is gone on with; each mutant has one line."""
    assert (half.untried, reports.report(half)) == (1, 130)
    assert f"go on with: rig mutate --resume {half.folder}" in capsys.readouterr().out
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    whole = rig.run("--resume", "../runs/new", "-n", "1")

    assert rig.judged == ["one", "two", "three"]
    assert rig.where[-1] == tmp_path
    assert [(one.mutant.id, one.result) for one in whole.verdicts] == [
        *((name, "killed") for name in IDS[:3]),
        ("four", "needs"),
        ("five", "needs"),
    ]
    assert whole.verdicts[0].kills == [KILL]
    assert (whole.untried, whole.exit_code, lines(whole)) == (0, 0, list(IDS))
    again = rig.run("--resume", str(half.folder))
    assert len(rig.judged) == 3
    assert lines(again) == list(IDS)


@pytest.mark.parametrize("what", ["kernel", "suite"])
def test_another_kernel_or_suite_is_judged_anew(rig, half, tmp_path, what):
    """Even where the first go at that came to nothing."""
    if what == "kernel":
        rig.build_id = "b2"
    else:
        (tmp_path / "suites").mkdir()
        (tmp_path / "suites/test_x.py").write_text("1")
    good, rig.baseline = rig.baseline, None
    with pytest.raises(NotClean):
        rig.run("--resume", str(half.folder))
    rig.baseline = good

    whole = rig.run("--resume", str(half.folder))

    assert rig.judged[2:] == list(IDS[:3])
    assert lines(whole) == list(IDS)


def test_what_a_command_brings_along_is_part_of_the_trial(rig, tmp_path):
    """It is the folder that the campaign was begun in."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own/a.t").write_text("1")
    (tmp_path / "other").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "own")
        made = rig.run("--command", "./a.t")

    rig.run("--resume", str(made.folder))
    assert len(rig.judged) == 3
    (tmp_path / "own/a.t").write_text("2")
    rig.run("--resume", str(made.folder))
    assert len(rig.judged) == 6


def test_half_a_line_is_no_verdict(rig, half):
    """The campaign was killed as it wrote."""
    path = half.folder / "mutants.jsonl"
    first = path.read_text().splitlines()[0]
    path.write_text(first + '\n{"id": "two", "res')

    assert lines(rig.run("--resume", str(half.folder))) == list(IDS)
    assert rig.judged == ["one", "two", "two", "three"]


def test_what_went_wrong_can_be_gone_on_with(rig, capsys):
    """It is said how."""
    rig.baseline = None

    with pytest.raises(NotClean):
        rig.run("suites/x")

    assert "go on with: rig mutate --resume" in capsys.readouterr().err


def test_nothing_else_is_taken_with_resume(rig, half, tmp_path, capsys):
    """Nor a folder that holds no campaign, or whose place is gone."""
    for words in (["suites/y"], ["--full"], ["--only=x"]):
        with pytest.raises(SystemExit):
            rig.run("--resume", str(half.folder), *words)
        assert "it takes only -n" in capsys.readouterr().err
    with pytest.raises(BadSpec, match="no mutants to go on with"):
        rig.run("--resume", str(tmp_path))
    told = json.loads((half.folder / "asked.json").read_text())
    (half.folder / "asked.json").write_text(json.dumps({**told, "where": "/not/there"}))
    with pytest.raises(BadSpec, match="/not/there is gone"):
        rig.run("--resume", str(half.folder))
