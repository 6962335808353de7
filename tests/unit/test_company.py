"""Cases that share a child: plain ones are believed, anything else is run again alone, and no doubt is swallowed."""

import secrets
from dataclasses import replace
from types import SimpleNamespace

import pytest
from fakes.machines import plan

from ringrig.guest.wire import LINE_BYTES, line
from ringrig.plugin import company
from ringrig.plugin.blame import Ran
from ringrig.plugin.company import Company
from ringrig.plugin.judge import Course, Judgement, Trouble
from ringrig.plugin.keeper import Outcome, Tried
from ringrig.vm.splats import Splat

SPLAT = Splat(
    kind="WARNING", title="WARNING: at io_uring/kbuf.c:1", text="the whole of it", fatal=False,
    frames=(), fingerprint="1", comm=None, pid=None, cpu=None, line=0,
)  # fmt: skip


def reports(outcome="passed", when="call", words=None):
    return [{"when": when, "outcome": outcome, "longrepr": words}]


def item(name):
    return SimpleNamespace(nodeid=name)


class Keeper:
    """Answers for each case with what `does` says; `alone` where it differs without company."""

    def __init__(self, does=(), alone=(), *, found=None, troubles=(), before=(), guilty=None):
        self.does, self.alone, self.found = dict(does), dict(alone), found or Judgement()
        self.troubles, self.before, self.guilty = dict(troubles), list(before), guilty
        self.asked, self.told = [], {}

    def attempt(self, what):
        self.asked.append(list(what["nodeids"]))
        *each, last = [{"reports": self.does.get(nodeid, reports())} for nodeid in what["nodeids"]]
        each = [self.told.get(nodeid, one) for nodeid, one in zip(what["nodeids"], each, strict=False)]
        ran = Ran(nodeid=what["nodeids"][0], number=1, pid=9, began=0.0, ended=1.0)
        done = {"each": each, **last}
        return Tried(
            course=Course(end="done", done=done),
            ran=ran,
            cases=[*self.before, ran],
            found=self.found,
            guest="g-1",
        )

    def run(self, nodeid):
        self.asked.append(nodeid)
        default = self.does.get(nodeid, reports())
        outcome = Outcome(ran=None, guest="g-2", reports=self.alone.get(nodeid, default))
        outcome.troubles = [self.troubles[nodeid]] if nodeid in self.troubles else []
        return outcome

    def try_again(self, splat, suspected):
        if not suspected:
            return None
        self.asked.append((splat.title, [one.nodeid for one in suspected]))
        return next((one for one in suspected if one.nodeid == self.guilty), None)


def company_of(keeper):
    return Company(
        keeper,
        most=lambda: 72,
        alone=lambda name: name.endswith("warns"),
        known=lambda reports: any("as is known" in str(one["longrepr"]) for one in reports),
    )


def asked_for(keeper, *items):
    """The outcomes of all, in their order, and the company that made them."""
    together = company_of(keeper)
    return [together.run(one, items[at + 1 :]) for at, one in enumerate(items)], together


def test_what_passes_is_run_once():
    """One child for all of them, each with its own reports."""
    keeper = Keeper({"b": reports("skipped", "setup")})

    outcomes, _ = asked_for(keeper, item("a"), item("b"), item("c"))

    assert keeper.asked == [["a", "b", "c"]]
    assert [one.reports[0]["outcome"] for one in outcomes] == ["passed", "skipped", "passed"]


def test_of_a_pass_the_durations_are_enough():
    """They are reports like any that pytest takes."""
    keeper = Keeper()
    keeper.told["a"] = {"seconds": [0.1, 0.25, 0.0], "since": 5.0}

    [first, _], _ = asked_for(keeper, item("a"), item("b"))
    found = [pytest.TestReport._from_json(data) for data in first.reports]

    assert [(one.nodeid, one.when, one.outcome, one.duration) for one in found] == [
        ("a", "setup", "passed", 0.1),
        ("a", "call", "passed", 0.25),
        ("a", "teardown", "passed", 0.0),
    ]


def test_a_failure_is_asked_again_alone():
    """What fails alone is the case's own; those behind it go on in the same child."""
    keeper = Keeper({"b": reports("failed", words="no")})

    outcomes, together = asked_for(keeper, item("a"), item("b"), item("c"), item("d"))

    assert keeper.asked == [["a", "b", "c", "d"], "b"]
    assert [one.reports[0]["outcome"] for one in outcomes] == ["passed", "failed", "passed", "passed"]
    assert not any(one.uncertain for one in outcomes)
    assert together.open_doubts() == []


def test_what_fails_only_beside_others_is_uncertain():
    """A failure that does not come again is never a plain pass: a racy kernel fails one time in ten."""
    keeper = Keeper({"b": reports("failed", words="no")}, {"b": reports()})

    outcomes, _ = asked_for(keeper, item("a"), item("b"))

    ((doubt, suspects),) = outcomes[1].uncertain
    assert suspects == ["b"]
    assert doubt.detail == "no"


def test_a_splat_makes_all_of_them_run_alone():
    """None of their passes counts, and a splat that does not come again has them all as suspects."""
    keeper = Keeper(found=Judgement(splats=[SPLAT], spoilt=True))

    outcomes, _ = asked_for(keeper, item("a"), item("b"))

    assert keeper.asked == [["a", "b"], "a", "b"]
    ((doubt, suspects),) = outcomes[1].uncertain
    assert (doubt.what, doubt.detail, suspects) == (f"kernel splat: {SPLAT.title}", SPLAT.text, ["a", "b"])


def test_a_splat_that_comes_again_is_its_cases():
    """Then nothing is uncertain, and those behind them share a child as before."""
    keeper = Keeper(
        troubles={"a": Trouble(kind="splat", what="it")}, found=Judgement(splats=[SPLAT], spoilt=True)
    )
    together = company_of(keeper)
    items = [item("a"), item("b")]

    outcomes = [together.run(items[0], items[1:]), together.run(items[1], [])]
    keeper.found = Judgement()
    together.run(item("c"), [item("d")])

    assert not any(one.uncertain for one in outcomes)
    assert keeper.asked == [["a", "b"], "a", "b", ["c", "d"]]


@pytest.mark.parametrize("other", [reports("skipped"), reports("skipped", "setup"), reports("failed")])
@pytest.mark.parametrize("which", ["a", "b"])
def test_a_splat_is_not_forgotten_for_what_else_a_case_does(which, other):
    """One that is left out, or fails by its own assertion, explains no WARNING."""
    keeper = Keeper(alone={which: other}, found=Judgement(splats=[SPLAT], spoilt=True))

    outcomes, together = asked_for(keeper, item("a"), item("b"))

    assert [[names for _, names in one.uncertain] for one in outcomes] == [[], [["a", "b"]]]
    assert together.open_doubts() == []


LATE = replace(SPLAT, text="[    1.500000] WARNING")
EARLIER = [Ran(nodeid=name, number=1, pid=8, began=0.5, ended=1.2) for name in ("first", "second")]


def test_a_late_splat_may_be_theirs_who_ran_before():
    """When none of the child brings it again, those run again, too; nobody does: all are named."""
    keeper = Keeper(found=Judgement(splats=[LATE], spoilt=True), before=EARLIER)

    outcomes, _ = asked_for(keeper, item("a"), item("b"))

    assert keeper.asked[-1] == (LATE.title, ["first", "second"])
    assert [names for _, names in outcomes[1].uncertain] == [["first", "second", "a", "b"]]


def test_a_late_splat_falls_to_who_brings_it_again():
    """Nothing is uncertain then."""
    keeper = Keeper(found=Judgement(splats=[LATE], spoilt=True), before=EARLIER, guilty="first")

    outcomes, together = asked_for(keeper, item("a"), item("b"))

    assert [(nodeid, trouble.detail) for nodeid, trouble in outcomes[1].late] == [("first", LATE.text)]
    assert not any(one.uncertain for one in outcomes)
    assert together.open_doubts() == []


def test_who_ran_before_is_left_in_peace_when_it_comes_again():
    """It is explained: a guest less to boot."""
    keeper = Keeper(
        found=Judgement(splats=[LATE], spoilt=True),
        before=EARLIER,
        troubles={"b": Trouble(kind="splat", what="it")},
    )

    asked_for(keeper, item("a"), item("b"))

    assert keeper.asked == [["a", "b"], "a", "b"]


@pytest.mark.parametrize("alone", [reports("skipped"), reports("skipped", "setup")])
def test_a_failure_is_not_forgotten_for_a_case_left_out(alone):
    """It failed beside others, and now says nothing."""
    outcomes, _ = asked_for(Keeper({"b": reports("failed", words="no")}, {"b": alone}), item("a"), item("b"))

    assert [doubt.detail for doubt, _ in outcomes[1].uncertain] == ["no"]


def test_who_is_left_out_while_it_ran_is_asked_alone():
    """What the cases before it left behind may have kept it from running; there is no doubt about it."""
    outcomes, together = asked_for(Keeper({"b": reports("skipped")}, {"b": reports()}), item("a"), item("b"))

    assert outcomes[1].reports == reports()
    assert not outcomes[1].uncertain
    assert together.open_doubts() == []


def test_a_doubt_outlives_a_run_that_stops():
    """The cases that it concerns were not all run again: what happened is still told."""
    keeper = Keeper(found=Judgement(troubles=[Trouble(kind="died", what="ended early")]))
    together = company_of(keeper)

    together.run(item("a"), [item("b")])

    assert [(doubt.what, names) for doubt, names in together.open_doubts()] == [("ended early", ["a", "b"])]


def test_a_failure_outlives_a_run_that_stops():
    """The same for one that failed beside others."""
    together = company_of(Keeper({"b": reports("failed", words="no")}))

    together.run(item("a"), [item("b")])

    assert [(doubt.detail, names) for doubt, names in together.open_doubts()] == [("no", ["b"])]


def test_who_is_known_to_warn_is_alone():
    """It would take those along that share its child."""
    keeper = Keeper({"warns": reports("failed")})

    outcomes, together = asked_for(keeper, item("a"), item("b"), item("warns"), item("c"), item("d"))

    assert keeper.asked == [["a", "b", "c", "d"], "warns"]
    assert outcomes[2].reports == reports("failed")
    assert together.open_doubts() == []


def test_what_fails_as_is_known_is_believed():
    """Word for word; another failure of it is asked again."""
    known = reports("failed", words="as is known")
    keeper = Keeper(
        {"b": known, "c": reports("failed", words="otherwise")}, {"c": reports("failed", words="no")}
    )

    outcomes, together = asked_for(keeper, item("a"), item("b"), item("c"), item("d"))

    assert keeper.asked == [["a", "b", "c", "d"], "c"]
    assert outcomes[1].reports == known
    assert outcomes[2].reports == reports("failed", words="no")
    assert together.open_doubts() == []


def test_what_they_are_asked_with_stays_short_of_what_the_line_takes():
    """A User-Mode Linux stalls on more than 4 KiB at once; names that have much in common travel packed."""
    keeper = Keeper()
    alike = [item(f"suites/register/test_entries.py::test_a_number[{number}-user]") for number in range(80)]
    differing = [item(secrets.token_hex(400)) for _ in range(9)]

    asked_for(keeper, *alike, *differing)

    groups = [group for group in keeper.asked if isinstance(group, list)]
    assert len(groups[0]) == 72
    assert all(len(line({"nodeids": group, "each": True})) <= LINE_BYTES for group in groups)
    assert len(groups) > 2


@pytest.mark.parametrize("slowness, cases", [(15.0, 24), (1.0, 72)], ids=["emulated", "kvm"])
def test_how_many_share_a_child(slowness, cases):
    """Fewer where each takes long; one where each is to be seen by itself."""
    uml, qemu = (plan(kind="image", guest=guest) for guest in ("uml", "qemu"))

    def size(plan, *, fresh=False, keep=False):
        return company.size(plan, slowness=slowness, fresh=fresh, keep=keep)

    assert size(uml) == 72
    assert size(qemu) == cases
    assert size(uml, fresh=True) == 1
    assert size(qemu, keep=True) == 1
    assert size(plan(kind="image", guest="uml", gcov=True)) == 1
    assert size(plan(kind="board")) == cases
