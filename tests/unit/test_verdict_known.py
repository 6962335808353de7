"""Known issues in the verdict: expected failures with their links, those that are gone, and those that have expired."""

import json

import pytest
from fakes import sessions
from fakes.sessions import answers, folder, node, results

pytest_plugins = ["pytester"]
run, world = sessions.run, sessions.world


def known(pytester, shows):
    from ringrig.kernel import resolve
    from ringrig.model.profiles import profile_for

    name = profile_for("host", resolve("host", say=print).release).name
    (pytester.path / "suites/known-issues.toml").write_text(
        f'[[issue]]\nid = "x"\ntitle = "a known bug"\ncase = "{node("b")}"\nshows = "{shows}"\nprofiles = ["{name}"]\n'
        'link = "https://example.invalid/1"\nexpires = 2199-01-01\n'
    )


def test_a_known_issue_is_an_expected_failure(run, world, pytester):
    """The verdict is PASS, and names it with its link."""
    answers(world, "b", call="failed", why="assert 22 == 0")
    known(pytester, "22 == 0")

    result = run("abc", world)

    assert result.ret == 0
    assert results(pytester)[1] == ("b", "xfailed")
    result.stdout.fnmatch_lines(
        ["*2 passed, 1 xfailed", "*known: a known bug (https://example.invalid/1): 1 case"]
    )


def test_a_known_issue_that_is_gone_is_reported(run, world, pytester):
    """As xpassed."""
    known(pytester, "22 == 0")

    result = run("abc", world)

    assert results(pytester)[1] == ("b", "xpassed")
    result.stdout.fnmatch_lines(["*2 passed, 1 xpassed"])


ISSUE = """
[[issue]]
id = "{id}"
title = "b is broken"
case = "suites/test_it.py::test_b"
shows = "22"
link = "https://example.invalid/b"
expires = {expires}
"""


@pytest.mark.parametrize(
    ("expires", "ended"), [("2199-01-01", ("xfailed", 0)), ("2020-01-01", ("failed", 1))]
)
def test_known_issues_are_recorded_and_the_expired_said(run, world, pytester, expires, ended):
    """results.jsonl has the issue's id; what expired counts no longer, and the verdict says so."""
    outcome, code = ended
    (pytester.path / "suites/known-issues.toml").write_text(ISSUE.format(id="b-1", expires=expires))
    answers(world, "b", call="failed", why="assert 22 == 0")

    result = run("ab", world)

    assert result.ret == code
    assert results(pytester)[1] == ("b", outcome)
    run_json = json.loads((folder(pytester) / "run.json").read_text())
    assert run_json["exit_code"] == code
    line = json.loads((folder(pytester) / "results.jsonl").read_text().splitlines()[1])
    if code:
        assert "known" not in line
        assert [one["id"] for one in run_json["expired"]] == ["b-1"]
        assert any(text.startswith("  expired on 2020-01-01: known issue b-1") for text in result.outlines)
    else:
        assert line["known"] == "b-1"
        assert run_json["known"][0]["link"] == "https://example.invalid/b"
