"""The registry of bugs: what it names is there, and docs/regressions.md says the same."""

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
