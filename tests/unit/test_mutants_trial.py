"""Trials: what an attempt shows, which case is asked first, and what it takes to be sure of a kill."""

import signal

import pytest
from fakes.attempts import CASES, KNOWN, NONE_KNOWN, A, B, C, D, FakeKeeper, crash, report, tried, trouble

from ringrig.campaign.baseline import Baseline, Docket
from ringrig.campaign.mutants import Edit, Mutant
from ringrig.campaign.notice import notice
from ringrig.campaign.trial import Court


@pytest.mark.parametrize(
    ("attempt", "how", "what"),
    [
        (tried(), None, None),
        (tried(reports=[report("failed", crash("assert f(): got -EINVAL, want 0"))]), "errno", "got -EINVAL"),
        (tried(reports=[report("failed", crash("assert 1 == 2\n +  where 1 = x"))]), "value", "assert 1 == 2 · +"),
        (tried(reports=[report("failed", "ImportError: no")]), "value", "ImportError"),
        (tried(reports=[report("skipped", ("a.py", 3, "Skipped: needs inc"))]), "skip", "needs inc"),
        (tried(reports=[report("passed"), report("failed", crash("leak"), when="teardown")]), "value", "leak"),
        (tried(troubles=[trouble("timeout")], reports=None), "timeout", "words"),
        (tried(troubles=[trouble("died")], reports=None), "died", "words"),
        (tried(troubles=[trouble("pins", "3 pages")]), "pins", "3 pages"),
        (tried(end="silent", troubles=[trouble("hang")]), "hang", "words"),
        (tried(end="dead", troubles=[trouble("panic")]), "panic", "words"),
        (tried(said="all well", status=0), None, None),
        (tried(said="a\nb\nc\n", status=1 << 8), "status", "exit status 1: b · c"),
        (tried(said="", status=77 << 8), "skip", "exit status 77"),
        (tried(said="", status=signal.SIGSEGV), "status", "killed by SIGSEGV"),
    ],
)  # fmt: skip
def test_how_an_attempt_noticed(attempt, how, what):
    """In the words of whoever noticed: a case that turns to skipping notices, too."""
    seen = notice(attempt, [A], NONE_KNOWN)

    assert (seen and seen.how) == how
    assert seen is None or (seen.case == A and what in seen.what)


def test_what_loses_the_guest_says_more_than_a_deadline():
    """A case that cannot be killed has run out of its time, too."""
    seen = notice(
        tried(troubles=[trouble("timeout"), trouble("hang", "stuck")], reports=None), [A], NONE_KNOWN
    )

    assert (seen.how, seen.what, seen.costly) == ("hang", "stuck", True)


def test_of_several_the_one_that_stopped_is_it():
    """A dot for each that passed before."""
    failed = [report("failed", crash("no"))]

    assert notice(tried(passed=2, reports=failed), CASES, NONE_KNOWN).case == C
    assert notice(tried(passed=2, reports=None, troubles=[trouble("died")]), CASES, NONE_KNOWN).case == C


@pytest.mark.parametrize("kind", ["pins", "taint", "splat"])
def test_after_several_that_passed_nobody_says_which(kind):
    """Any of them may be it; a single one is."""
    assert notice(tried(passed=7, troubles=[trouble(kind)]), CASES, NONE_KNOWN).case is None
    assert notice(tried(troubles=[trouble(kind)]), [A], NONE_KNOWN).case == A


def test_a_guest_that_died_has_told_where_it_was():
    """The last mark on its console; none, and it may be any."""
    console = f"ringrig: begin 3 {A}\n[  1.0] ringrig: goes on 3 {B}\r\nKernel panic\n"
    attempt = tried(end="dead", console=console, troubles=[trouble("panic")])

    assert notice(attempt, [A, B, C], NONE_KNOWN).case == B
    assert notice(tried(end="dead", troubles=[trouble("panic")]), [A, B], NONE_KNOWN).case is None


def mutant(id, *, function="f"):
    edit = Edit(file="kbuf.c", function=function, kind="expr", original="a", mutated="b")
    return Mutant(id=id, origin="chosen", edits=(edit,))


def court(*, full=False, known=NONE_KNOWN, before=None, alone=(), cases=CASES, commands=False, mutants=None):
    mutants = mutants or {1: mutant("one"), 2: mutant("two"), 3: mutant("three", function="g")}
    base = Baseline(
        reached={case: sorted(mutants) for case in cases},
        seconds={case: 0.01 * number for number, case in enumerate(cases)},
        left_out={},
        alone=list(alone),
    )
    docket = Docket(cases=cases, commands=commands)
    return Court(base, docket, mutants, known=known, before=before or {}, full=full)


def test_what_nobody_notices_survives_all_cases():
    """Each is asked once, many in one process."""
    keeper = FakeKeeper({})

    verdict = court().judge(keeper, 1)

    assert (verdict.result, verdict.cases) == ("survived", 8)
    assert keeper.count(1) == dict.fromkeys(CASES, 1)
    assert [len(cases) for _, cases in keeper.asked] == [6, 2]


def test_what_no_case_reaches_is_not_tried():
    """For nothing."""
    keeper = FakeKeeper({})
    judge = court(cases=[])

    assert judge.judge(keeper, 1).result == "unreached"
    assert keeper.asked == []


def test_a_kill_is_seen_three_times_more_and_on_the_unchanged_kernel_not():
    """Alone each time; what comes after it is not asked."""
    keeper = FakeKeeper({1: {C: "fails"}})

    verdict = court().judge(keeper, 1)

    (kill,) = verdict.kills
    assert (verdict.result, kill.case, kill.times, kill.tries, kill.leaks) == ("killed", C, 3, 3, False)
    assert keeper.asked == [(1, CASES[:6]), (1, [C]), (1, [C]), (1, [C]), (0, [C])]


def test_one_time_in_three_is_flaky():
    """And the others are asked."""
    keeper = FakeKeeper({1: {C: ["fails", "fails"]}})

    verdict = court().judge(keeper, 1)

    (doubt,) = verdict.doubts
    assert (verdict.result, doubt.case, doubt.times, doubt.tries) == ("flaky", C, 1, 3)
    assert keeper.count(1)[CASES[7]] == 1


def test_a_doubt_does_not_hide_a_later_kill():
    """The verdict keeps both."""
    verdict = court().judge(FakeKeeper({1: {A: ["fails", "fails"], D: "fails"}}), 1)

    assert verdict.result == "killed"
    assert [one.case for one in verdict.kills] == [D]
    assert [one.case for one in verdict.doubts] == [A]


def test_noticed_in_company_and_never_alone_is_no_kill():
    """0 of 3: a stumble of the machine's, or of the cases before it; it is told, and changes nothing."""
    verdict = court().judge(FakeKeeper({1: {C: ["fails"]}}), 1)

    assert (verdict.result, verdict.kills) == ("survived", [])
    assert [(one.case, one.times) for one in verdict.doubts] == [(C, 0)]


@pytest.mark.parametrize("how", ["panic", "hang"])
def test_what_costs_a_guest_is_not_shown_once_too_often(how):
    """The first time counts."""
    keeper = FakeKeeper({1: {C: how}})

    verdict = court().judge(keeper, 1)

    assert (verdict.kills[0].how, verdict.kills[0].times, verdict.kills[0].tries) == (how, 3, 3)
    assert keeper.count(1)[C] == 3
    assert keeper.renewed == 3


def test_a_mutant_that_leaves_something_behind_is_told_from_a_bad_case():
    """The unchanged kernel passes in a fresh guest only: a leak. Nor there: the case cannot be relied upon."""
    leak = court().judge(FakeKeeper({1: {C: "leak"}}), 1)
    bad = court().judge(FakeKeeper({1: {C: "fails"}, 0: {C: "fails"}}), 1)

    assert (leak.result, leak.kills[0].leaks) == ("killed", True)
    assert (bad.result, bad.kills) == ("survived", [])


def test_where_nobody_says_which_halves_are_asked():
    """Down to the case whose pages stay pinned; it is sure, then."""
    keeper = FakeKeeper({1: {C: "pins"}})

    verdict = court().judge(keeper, 1)

    assert (verdict.kills[0].case, verdict.kills[0].how, verdict.kills[0].times) == (C, "pins", 3)
    assert [cases for _, cases in keeper.asked[:3]] == [CASES[:6], CASES[:3], [A]]


def test_the_first_killer_is_asked_first_about_its_neighbours():
    """Of the same function first, of any then."""
    judge = court()
    judge.judge(FakeKeeper({1: {CASES[5]: "fails"}}), 1)
    judge.judge(FakeKeeper({3: {D: "fails"}}), 3)

    keeper = FakeKeeper({})
    judge.judge(keeper, 2)

    assert keeper.asked[0][1][:3] == [CASES[5], D, A]


def test_the_killer_of_an_earlier_campaign_is_asked_by_itself():
    """It is most likely the killer again."""
    keeper = FakeKeeper({1: {D: "fails"}})

    verdict = court(before={"one": D}).judge(keeper, 1)

    assert keeper.asked[0] == (1, [D])
    assert verdict.kills[0].case == D


def test_full_names_all_that_notice():
    """The first is made sure of, the others once each."""
    keeper = FakeKeeper({1: {A: "fails", C: "fails", CASES[7]: "panic"}})

    verdict = court(full=True).judge(keeper, 1)

    assert [(one.case, one.times, one.tries) for one in verdict.kills] == [
        (A, 3, 3),
        (C, 1, 1),
        (CASES[7], 1, 1),
    ]


def test_a_case_that_bears_no_company_has_none():
    """Neither before nor behind it in its process."""
    keeper = FakeKeeper({})

    court(alone=[C]).judge(keeper, 1)

    assert [cases for _, cases in keeper.asked] == [[A, B], [C], CASES[3:]]


def test_commands_are_asked_one_by_one():
    """Each is a process of its own."""
    keeper = FakeKeeper({1: {"./b": "fails"}})

    verdict = court(cases=["./a", "./b"], commands=True).judge(keeper, 1)

    assert [cases for _, cases in keeper.asked[:2]] == [["./a"], ["./b"]]
    assert verdict.kills[0].case == "./b"


def test_a_case_that_fails_as_known_notices_what_makes_it_fail_otherwise():
    """It has no company; the failure that is known says nothing, another one does."""
    hidden = court(known=KNOWN, alone=[C]).judge(FakeKeeper({1: {C: "16 are left"}}), 1)
    shown = court(known=KNOWN, alone=[C]).judge(FakeKeeper({1: {C: "17 are left"}, 0: {C: "16 are left"}}), 1)

    assert hidden.result == "survived"
    assert [(one.case, one.what) for one in shown.kills] == [(C, "17 are left")]
