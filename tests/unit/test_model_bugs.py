"""The registry of bugs: what it names is there, and docs/regressions.md says the same."""

import ast

import pytest
from fakes.clone import ROOT

from ringrig.campaign import mutants, nearest
from ringrig.model.bugs import Bug, bugs, document


@pytest.fixture(scope="module")
def cases():
    return nearest.collect(["suites"], ROOT)


def test_each_bug_has_a_name_of_its_own():
    """By which it is asked for."""
    names = [one.id for one in bugs()]
    assert sorted(set(names)) == sorted(names)


def test_each_case_that_is_named_exists(cases):
    """Renamed or dropped, it would leave its bug without one, and nobody would notice."""
    lost = [
        f"{one.id}: {case}"
        for one in bugs()
        for case in one.cases
        if not any(Bug(id="", broke="", fix="", cases=(case,)).shown_by(nodeid) for nodeid in cases)
    ]
    assert lost == []


def test_no_case_of_the_regressions_is_without_its_bug(cases):
    """suites/regressions is for bugs that the registry knows."""
    own = [case for case in cases if case.startswith("suites/regressions/")]
    assert own
    assert [case for case in own if not any(one.shown_by(case) for one in bugs())] == []


def test_each_case_says_what_became_of_its_bug(cases):
    """Commit, CVE and versions stand in its docstring as they do in the registry: neither may drift."""
    functions = {
        (file, node.name): ast.get_docstring(node) or ""
        for file in {case.partition("::")[0] for case in cases}
        for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }

    wanted = {
        (file, name.partition("[")[0], one.fate())
        for one in bugs()
        for file, _, name in (case.partition("::") for case in cases if one.shown_by(case))
    }

    assert {
        (file, name, fate)
        for file, name, fate in wanted
        if fate.lower() not in " ".join(functions[file, name].split()).lower()
    } == set()


def test_no_case_tells_of_a_commit_that_the_registry_has_for_another(cases):
    """ "Fixed by" and what follows is the registry's, so that a bug that is dropped there is dropped here."""
    fates = {one.fate() for one in bugs()}
    for file in {case.partition("::")[0] for case in cases}:
        told = " ".join((ROOT / file).read_text(encoding="utf-8").split())
        for fate in fates:
            told = told.replace(fate, "").replace(fate[0].lower() + fate[1:], "")
        assert "Fixed by" not in told, file


@pytest.mark.parametrize(
    ("bug", "fate"),
    [
        ({"fix": "0123456789ab"}, "Fixed by 0123456789ab."),
        (
            {"fix": "0123456789ab", "cve": "CVE-1", "fixed": ("6.1", "7")},
            "Fixed by 0123456789ab (CVE-1; 6.1, 7).",
        ),
        ({"fix": "kbuf: fix it", "fixed": ("6.1",)}, 'Fixed by "kbuf: fix it" (6.1).'),
        ({"fix": "", "fixed": ("6.1",), "live": "6.0"}, "Fixed in 6.1. Live in 6.0."),
        ({"fix": "open"}, "Open."),
        ({"fix": "open", "live": "6.12"}, "Open in 6.12."),
    ],
    ids=["commit", "all_of_it", "subject", "somehow", "open", "open_somewhere"],
)
def test_what_became_of_it_is_a_sentence(bug, fate):
    """What is not known is left out."""
    assert Bug(id="a", broke="b", **bug).fate() == fate


def test_each_mutant_and_fragment_that_is_named_exists():
    """A reader must be able to ask for it."""
    known = {one.id for one in mutants.load([ROOT / "mutants/6.12"])}
    named = {(one.id, mutant) for one in bugs() for mutant in one.mutants}
    assert {pair for pair in named if pair[1] not in known} == set()
    fragments = {name for one in bugs() if one.config for name in one.config.split(",")}
    assert {name for name in fragments if not (ROOT / "kconfigs" / name).is_file()} == set()


def test_each_bug_that_was_put_back_is_in_the_registry():
    """mutants/6.12/reverted.toml and bugs.toml speak of the same bugs; two are of liburing's tests, not of a fix."""
    named = {mutant for one in bugs() for mutant in one.mutants}
    reverted = {one.id for one in mutants.load([ROOT / "mutants/6.12/reverted.toml"])}
    assert reverted - named == {"read-mshot-wait-clamps", "read-mshot-clamps"}


def test_the_document_is_up_to_date():
    """python -m ringrig.model.bugs > docs/regressions.md"""
    assert (ROOT / "docs/regressions.md").read_text(encoding="utf-8") == document()


def test_brackets_are_parameters():
    """No character classes; wildcards within them stand for any parameters."""
    one = Bug(id="a", broke="b", fix="c", cases=("suites/x.py::test_y[*-ring]",))

    assert one.shown_by("suites/x.py::test_y[recv-ring]")
    assert not one.shown_by("suites/x.py::test_y-ring")
    assert not one.shown_by("suites/x.py::test_y[recv-legacy]")
