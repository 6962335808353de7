"""Cases that share a child: plain ones are believed, anything else is run again alone, and no doubt is swallowed."""

import secrets
from types import SimpleNamespace

import pytest
from fakes.machines import plan

from ringrig.guest.wire import LINE_BYTES, line
from ringrig.plugin import company
from ringrig.plugin.blame import Ran
from ringrig.plugin.company import Company
from ringrig.plugin.judge import Course, Judgement, Trouble
from ringrig.plugin.keeper import Outcome, Tried
from ringrig.vm import accel

SPLAT = SimpleNamespace(title="WARNING: at io_uring/kbuf.c:1", text="the whole of it")


def reports(outcome="passed", when="call", words=None):
    return [{"when": when, "outcome": outcome, "longrepr": words}]


def item(name):
    return SimpleNamespace(nodeid=name)


class Keeper:
    """Answers for each case with what `does` says; `alone` where it differs without company."""

    def __init__(self, does=(), alone=(), *, found=None):
        self.does, self.alone, self.found = dict(does), dict(alone), found or Judgement()
        self.asked = []

    def attempt(self, what):
        self.asked.append(list(what["nodeids"]))
        *each, last = [{"reports": self.does.get(nodeid, reports())} for nodeid in what["nodeids"]]
        ran = Ran(nodeid=what["nodeids"][0], number=1, pid=9, began=0.0, ended=1.0)
        done = {"each": each, **last}
        return Tried(course=Course(end="done", done=done), ran=ran, cases=[], found=self.found, guest="g-1")

    def run(self, nodeid):
        self.asked.append(nodeid)
        default = self.does.get(nodeid, reports())
        return Outcome(ran=None, guest="g-2", reports=self.alone.get(nodeid, default))


def asked_for(keeper, *items):
    """The outcomes of all, in their order, and the company that made them."""
    together = Company(keeper, most=72, alone=lambda name: name.endswith("known"))
    return [together.run(one, items[at + 1 :]) for at, one in enumerate(items)], together


def test_what_passes_is_run_once():
    """One child for all of them, each with its own reports."""
    keeper = Keeper({"b": reports("skipped", "setup")})

    outcomes, _ = asked_for(keeper, item("a"), item("b"), item("c"))

    assert keeper.asked == [["a", "b", "c"]]
    assert [one.reports[0]["outcome"] for one in outcomes] == ["passed", "skipped", "passed"]


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
    assert (doubt.what, doubt.detail, suspects) == (SPLAT.title, SPLAT.text, ["a", "b"])


def test_a_splat_that_comes_again_is_its_cases():
    """Then nothing is uncertain, and those behind them share a child as before."""
    keeper = Keeper(alone={"a": reports("failed")}, found=Judgement(splats=[SPLAT], spoilt=True))
    together = Company(keeper, most=72, alone=lambda name: name.endswith("known"))
    items = [item("a"), item("b")]

    outcomes = [together.run(items[0], items[1:]), together.run(items[1], [])]
    keeper.found = Judgement()
    together.run(item("c"), [item("d")])

    assert not any(one.uncertain for one in outcomes)
    assert keeper.asked == [["a", "b"], "a", "b", ["c", "d"]]


def test_a_doubt_outlives_a_run_that_stops():
    """The cases that it concerns were not all run again: what happened is still told."""
    keeper = Keeper(found=Judgement(troubles=[Trouble(kind="died", what="ended early")]))
    together = Company(keeper, most=72, alone=lambda name: name.endswith("known"))

    together.run(item("a"), [item("b")])

    assert [(doubt.what, names) for doubt, names in together.open_doubts()] == [("ended early", ["a", "b"])]


def test_a_failure_outlives_a_run_that_stops():
    """The same for one that failed beside others."""
    together = Company(
        Keeper({"b": reports("failed", words="no")}), most=72, alone=lambda name: name.endswith("known")
    )

    together.run(item("a"), [item("b")])

    assert [(doubt.detail, names) for doubt, names in together.open_doubts()] == [("no", ["b"])]


def test_who_is_known_to_fail_is_alone():
    """Beside others it would fail twice, and take those along with whom it warns."""
    keeper = Keeper({"known": reports("failed")})

    outcomes, together = asked_for(keeper, item("a"), item("b"), item("known"), item("c"), item("d"))

    assert keeper.asked == [["a", "b"], "known", ["c", "d"]]
    assert outcomes[2].reports == reports("failed")
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


@pytest.mark.parametrize("kind, cases", [("tcg", 24), ("kvm", 1)])
def test_company_is_where_a_child_is_dear(monkeypatch, kind, cases):
    """And not where each case is to be seen by itself."""
    monkeypatch.setattr(accel, "recall", lambda: accel.Choice(kind=kind, certain=True, why="a test"))
    uml, qemu = (plan(kind="image", guest=guest) for guest in ("uml", "qemu"))

    assert company.size(uml, fresh=False, keep=False) == 72
    assert company.size(qemu, fresh=False, keep=False) == cases
    assert company.size(uml, fresh=True, keep=False) == 1
    assert company.size(qemu, fresh=False, keep=True) == 1
    assert company.size(plan(kind="image", guest="uml", gcov=True), fresh=False, keep=False) == 1
    assert company.size(plan(kind="board"), fresh=False, keep=False) == 1
