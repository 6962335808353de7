"""The baseline: what each case reaches on the unchanged kernel, which are left out or kept apart, and when there is none."""

import pytest
from fakes.attempts import CASES, KNOWN, NONE_KNOWN, A, C, D, FakeKeeper

from ringrig.campaign import baseline as baselines
from ringrig.campaign.baseline import Baseline, Docket
from ringrig.errors import NotClean


class FakeGuests:
    def __init__(self, keeper):
        self.keeper = keeper

    def map(self, work, jobs):
        return (work(self.keeper, job) for job in jobs)


def take(keeper, known=NONE_KNOWN):
    docket = Docket(cases=CASES, commands=False)
    return baselines.take(FakeGuests(keeper), docket, known, say=lambda _: None)


def test_the_baseline_says_what_each_case_reaches():
    """By the kernel's own counts, each case alone."""
    base = take(FakeKeeper({}))

    assert base.reached == {case: [] if case == D else [1, 2] for case in CASES}
    assert base.seconds[A] == 0.1
    assert (base.left_out, base.alone) == ({}, [])
    assert base.by_mutant()[2] == [case for case in CASES if case != D]


def test_a_case_that_fails_twice_on_the_unchanged_kernel_ends_it():
    """And is named, in its own words."""
    with pytest.raises(
        NotClean, match=r"1 cases fail on the unchanged kernel:\n +suites/test_a.py::test_c: value: always"
    ):
        take(FakeKeeper({0: {C: "always"}}))


def test_a_case_that_fails_once_is_left_out():
    """It would kill mutants by chance."""
    base = take(FakeKeeper({0: {C: ["once"]}}))

    assert "passed when run again" in base.left_out[C]
    assert C not in base.reached


def test_a_case_that_fails_as_known_is_on_the_list_by_itself():
    """What it reaches is known, too; where it is known to trouble the kernel it is left out."""
    base = take(FakeKeeper({0: {C: "16 are left"}}), KNOWN)
    loud = take(FakeKeeper({0: {C: "pins"}}), KNOWN)

    assert (base.reached[C], base.alone, base.left_out) == ([1, 2], [C], {})
    assert (loud.left_out, C in loud.reached) == ({C: "a known issue: pins"}, False)


def test_what_a_known_case_is_not_known_for_is_no_clean_kernel():
    """Its words are those of the issue, or it fails."""
    with pytest.raises(NotClean, match="17 are left"):
        take(FakeKeeper({0: {C: "17 are left"}}), KNOWN)


def test_nothing_that_passes_is_no_baseline():
    """All mutants would look unreached."""
    with pytest.raises(NotClean, match="No case passes"):
        take(FakeKeeper({0: {case: ["once"] for case in CASES}}))


def test_a_case_that_fails_only_in_company_is_known_as_such():
    """Once alone, well; with others in its process, not."""
    assert take(FakeKeeper({0: {C: [None, "crowded"]}})).alone == [C]


def test_a_baseline_is_kept(tmp_path):
    """As it was; what is no baseline is none."""
    base = take(FakeKeeper({}))
    base.save(tmp_path / "kept" / "one.json")
    (tmp_path / "torn.json").write_text('{"reached": {')
    (tmp_path / "old.json").write_text('{"reached": {}}')

    assert Baseline.load(tmp_path / "kept" / "one.json") == base
    assert [Baseline.load(tmp_path / f"{name}.json") for name in ("none", "torn", "old")] == [None] * 3
