"""Attempts at mutants, and a keeper that makes them without a kernel: what each case notices there is told beforehand."""

from collections import Counter
from datetime import date

from ringrig.plugin.blame import Ran
from ringrig.plugin.judge import Course, Judgement, Trouble
from ringrig.plugin.keeper import Tried
from ringrig.plugin.known_issues import Issue, KnownIssues

CASES = [f"suites/test_a.py::test_{letter}" for letter in "abcdefgh"]
A, B, C, D = CASES[:4]
NONE_KNOWN = KnownIssues([])
KNOWN = KnownIssues(
    [
        Issue(
            id="leak",
            title="A leak.",
            case=C,
            shows="16 are left",
            link="https://x",
            expires=date(2999, 1, 1),
        )
    ]
)


def report(outcome, longrepr=None, *, when="call", nodeid=A):
    return {
        "nodeid": nodeid, "location": ["a.py", 1, "test_a"], "keywords": {}, "outcome": outcome, "longrepr": longrepr,
        "when": when, "sections": [], "duration": 0.1, "user_properties": [], "start": 0.0, "stop": 0.1,
    }  # fmt: skip


def crash(message):
    place = {"path": "a.py", "lineno": 1, "message": message}
    return {
        "reprcrash": place,
        "reprtraceback": {"reprentries": [], "extraline": None, "style": "line"},
        "sections": [],
        "chain": [],
    }


def tried(*, end="done", console="", troubles=(), splats=(), spoilt=False, **done):
    usual = {
        "reports": [report("passed")],
        "passed": 0,
        "reached": "0x0",
        "began": 1.0,
        "ended": 1.1,
        "status": 0,
    }
    course = Course(end=end, done=usual | done if end == "done" else {}, console=console)
    ran = Ran(nodeid="x", number=1, pid=1, began=1.0, ended=None)
    found = Judgement(troubles=list(troubles), splats=list(splats), spoilt=spoilt)
    return Tried(course=course, ran=ran, cases=[ran], found=found, guest="g1-1")


def trouble(kind, what="words"):
    return Trouble(kind=kind, what=what)


class FakeKeeper:
    """`notices[mutant][case]`: what is noticed there: an outcome, or several, one for each time that it is asked."""

    def __init__(self, notices, *, commands=False):
        self.notices, self.commands = notices, commands
        self.asked, self.renewed, self.leaking = [], 0, False

    def attempt(self, message, *, seconds=None):
        cases = [CASES[number] for number in message["cases"]] if "cases" in message else [message["command"]]
        mutant = message["mutant"]
        self.asked.append((mutant, cases))
        loud, reached = None, hex(sum(1 << one for one in (1, 2) if cases[0] != D))
        for number, case in enumerate(cases):
            what = self.notices.get(mutant, {}).get(case)
            if isinstance(what, list):
                what = what.pop(0) if what else None
            if what == "pins":
                loud = trouble("pins")
            elif what in ("panic", "hang"):
                self.renew()
                console = f"ringrig: begin 1 {case}\n"
                return tried(end="dead", console=console, troubles=[trouble(what)], spoilt=True)
            elif what == "leak":
                self.leaking = True
                return tried(passed=number, reports=[report("failed", crash("leaks"))])
            elif what or self.leaking:
                return tried(
                    passed=number, reached=reached, reports=[report("failed", str(what), nodeid=case)]
                )
        return tried(passed=len(cases) - 1, troubles=[loud] if loud else [], reached=reached)

    def renew(self):
        self.renewed, self.leaking = self.renewed + 1, False

    def count(self, mutant):
        return Counter(case for number, cases in self.asked for case in cases if number == mutant)
