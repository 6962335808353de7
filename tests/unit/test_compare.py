"""Two runs: what is newly failing, passing, skipped, not run and complained of; what is no run is named."""

import json

import pytest

from ringrig import cli
from ringrig.campaign.compare import compare, read
from ringrig.errors import BadSpec, NothingRan


def a_run(folder, outcomes, *, troubles=None, uncertain=()):
    """A run folder of cases and outcomes."""
    folder.mkdir(parents=True)
    lines = [
        {
            "nodeid": name,
            "outcome": outcome,
            "seconds": 0.1,
            "why": f"{outcome} because",
            "troubles": (troubles or {}).get(name, []),
        }
        for name, outcome in outcomes.items()
    ]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "run.json").write_text(
        json.dumps({"label": "k", "verdict": "some verdict", "uncertain": list(uncertain)})
    )
    return folder


def compared(tmp_path, first, second, **options):
    return compare(read(a_run(tmp_path / "1", first)), read(a_run(tmp_path / "2", second)), **options)


def test_where_nothing_ran_there_is_nothing_to_compare(tmp_path, capsys):
    """Two kernels that do not boot are not alike."""
    a_run(tmp_path / "1", {"a": "skipped"})
    a_run(tmp_path / "2", {})

    assert cli.main(["compare", str(tmp_path / "1"), str(tmp_path / "2")]) == NothingRan.exit_code
    assert "No case ran" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("was", "now", "group"),
    [
        ("passed", "failed", "newly_failing"),
        ("xpassed", "error", "newly_failing"),
        ("skipped", "failed", "newly_failing"),
        (None, "failed", "newly_failing"),
        ("xfailed", "failed", "newly_failing"),
        ("passed", "xfailed", "newly_failing"),
        ("failed", "passed", "newly_passing"),
        ("xfailed", "xpassed", "newly_passing"),
        ("passed", "skipped", "newly_skipped"),
        ("failed", "skipped", "newly_skipped"),
        ("skipped", "passed", "newly_run"),
        ("passed", None, "not_run"),
        ("failed", "error", "still_failing"),
        ("passed", "passed", None),
        ("xfailed", "xfailed", None),
        ("failed", "xfailed", None),
        (None, "passed", None),
    ],
)
def test_each_change_has_one_name(tmp_path, was, now, group):
    """Or none, where nothing changed that matters."""
    found = compared(tmp_path, {"a": was} if was else {}, {"a": now} if now else {})

    names = ("newly_failing", "newly_passing", "newly_skipped", "newly_run", "not_run", "still_failing")
    assert [name for name in names if getattr(found, name)] == ([group] if group else [])
    assert found.worse == (group in {"newly_failing", "newly_skipped", "not_run"})


def test_flaky_cases_say_nothing(tmp_path):
    """Neither by failing nor by passing; left out they are missed all the same."""
    found = compared(
        tmp_path,
        {"a": "passed", "b": "failed", "c": "passed"},
        {"a": "failed", "b": "passed", "c": "skipped"},
        flaky={"a", "b", "c"},
    )

    assert (found.newly_failing, found.newly_passing, found.newly_skipped) == ((), (), ("c",))


def test_new_splats(tmp_path):
    """The same complaint at another line is not new; one that nobody is blamed for counts too; a failure is no splat."""
    old = {"a": ["splat: kernel splat: WARNING at io_uring/kbuf.c:12"], "b": ["timeout: no end"]}
    new = {
        "a": ["splat: kernel splat: WARNING at io_uring/kbuf.c:99", "panic: kernel panic: Oops"],
        "b": ["timeout: none"],
    }
    doubt = {"kind": "splat", "what": "KASAN: use-after-free", "detail": "", "suspects": ["a", "b"]}
    first = read(a_run(tmp_path / "1", {"a": "failed", "b": "failed"}, troubles=old))
    second = read(a_run(tmp_path / "2", {"a": "failed", "b": "failed"}, troubles=new, uncertain=[doubt]))

    found = compare(first, second)

    assert found.new_splats == {"kernel panic: Oops": ("a",), "KASAN: use-after-free": ("a", "b")}
    assert found.worse


def test_what_fails_beside_others_and_not_alone_is_no_splat(tmp_path):
    """It is flaky."""
    doubt = {"kind": "company", "what": "it did not pass beside others", "detail": "no", "suspects": ["b"]}
    ran = read(a_run(tmp_path / "1", {"a": "passed", "b": "passed"}, uncertain=[doubt]))

    assert (ran.splats, ran.wavering) == ({}, ("b",))


def test_the_command(tmp_path, capsys):
    """Says each difference with the second run's words, and ends with 1 where that is worse."""
    one = a_run(tmp_path / "1", {"a": "passed", "b": "failed"})
    two = a_run(tmp_path / "2", {"a": "failed", "b": "passed"})

    assert cli.main(["compare", str(one), str(two)]) == 1
    said = capsys.readouterr().out
    assert "newly failing: 1\n    a\n        failed because" in said
    assert "newly passing: 1\n    b" in said
    assert cli.main(["compare", str(one), str(one)]) == 0


def test_a_damaged_run(tmp_path, capsys):
    """Is named, and not taken for a worse one."""
    one, two = a_run(tmp_path / "1", {"a": "passed"}), a_run(tmp_path / "2", {"a": "passed"})
    (two / "run.json").write_text('{"label": "k')

    assert cli.main(["compare", str(one), str(two)]) == BadSpec.exit_code

    assert f"{two}/run.json is damaged" in capsys.readouterr().err


def test_what_is_no_run(tmp_path):
    """A campaign's folder is told by the runs in it."""
    a_run(tmp_path / "series" / "base", {"a": "passed"})

    with pytest.raises(BadSpec, match="holds no run") as told:
        read(tmp_path / "series")
    assert "base" in told.value.next_step
    with pytest.raises(BadSpec, match="holds no run"):
        read(tmp_path / "nowhere")
