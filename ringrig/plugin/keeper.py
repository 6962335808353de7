"""One worker's guest: started when needed, reused until it is spoilt, then replaced (design, law 5)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ringrig.errors import GuestLost, NoBoot, RigError
from ringrig.guest.wire import Closed, Message
from ringrig.plugin import blame
from ringrig.plugin.ahead import Ahead
from ringrig.plugin.blame import Ran
from ringrig.plugin.judge import Course, Judgement, Trouble, judge, logged, of_splat
from ringrig.vm import machine as machines
from ringrig.vm.machine import Machine
from ringrig.vm.plan import Plan
from ringrig.vm.splats import Splat, a_task_died, find_splats

_TURN_SECONDS = 600.0
"""How long others may keep a case waiting for a kernel that is shared (their own hanging cases included)."""
_DOOMED_SECONDS = 3.0
"""How long a case may go on once a task has died in the kernel, at native speed: what that task held nobody gives back."""
_AHEAD = 2
"""Guests that boot while a case runs, where every case gets its own: as many as there are processors on a small machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How cases are run: `timeout` in seconds at native speed, `fresh` a guest for every case, `options`
    for the agent's pytest.
    """

    timeout: float
    fresh: bool
    options: tuple[str, ...]
    keep: bool = False
    """After a failure a person wants to see the guest: it is not replaced as long as it answers."""
    told: Mapping[str, object] = field(default_factory=dict)
    """What the cases find in RINGRIG_FACTS besides the kernel."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of one case: its own reports (pytest's serial form), and what else there is to say."""

    ran: Ran | None
    guest: str
    reports: list[dict[str, object]] | None = None
    troubles: list[Trouble] = field(default_factory=list)
    late: list[tuple[str, Trouble]] = field(default_factory=list)
    """Troubles that earlier cases turned out to have caused: (node id, trouble)."""
    uncertain: list[tuple[Trouble, list[str]]] = field(default_factory=list)
    """Troubles that could not be decided, with the suspects' node ids."""

    @property
    def unheard(self) -> bool:
        """Nothing says how the case itself went."""
        return self.reports is None and not self.troubles

    gcov: dict[str, str] | None = None
    """What the kernel counted (ringrig.guest.gcov); None where nothing was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """How an attempt went; `cases` are those that ran in the same guest, this one last."""

    course: Course
    ran: Ran
    cases: list[Ran]
    found: Judgement
    guest: str


class Keeper:
    """Keeps the guest of one worker."""

    def __init__(self, plan: Plan, *, worker: str, manner: Manner, say: Callable[[str], None]) -> None:
        self.plan, self._worker, self._manner, self._say = plan, worker, manner, say
        self.machine: Machine | None = None
        self.boots = 0
        self.blind: dict[str, str] = {}
        """What the agent could not watch, and why."""
        self.ready: Message = {}
        self._number = 0
        self._taint = 0
        self._ran: list[Ran] = []
        self._broken: RigError | None = None
        self._ahead = Ahead(self._start, ready=self._make_ready, depth=_AHEAD)

    def begin(self) -> None:
        """Start the first guest, so that it boots while pytest collects; a failure is kept for the first
        case.
        """
        try:
            self.machine = self._start()
        except RigError as error:
            self._broken = error

    def run(self, nodeid: str) -> Outcome:
        """Run one case, whatever becomes of the guest.

        RigError: there is no guest to run it on, nor will there be.
        """
        outcome = self._once(nodeid)
        if outcome.unheard and not self._manner.keep:
            # Its guest went down under it by another's doing, or nobody knows by whose: it is owed a verdict.
            first, outcome = outcome, self._once(nodeid)
            outcome.late, outcome.uncertain = first.late + outcome.late, first.uncertain + outcome.uncertain
        if outcome.unheard:
            what = "the case has no verdict: its guest died under it, and whose fault that is could not be decided"
            outcome.troubles.append(Trouble(kind="died", what=what))
        return outcome

    def _once(self, nodeid: str) -> Outcome:
        tried = self.attempt({"nodeids": [nodeid]})
        done = tried.course.done
        outcome = Outcome(ran=tried.ran, guest=tried.guest, reports=done.get("reports"))
        outcome.troubles = tried.found.troubles
        outcome.gcov = done.get("gcov")
        for splat in tried.found.splats:
            self._attribute(splat, tried.cases, outcome)
        return outcome

    def attempt(self, what: Message, *, seconds: float | None = None) -> Tried:
        """Have the agent run `what` ({"nodeids": …, …}), and replace a guest that it spoilt; no splat is attributed yet.

        `seconds`: another deadline than the manner's, not scaled.

        RigError: there is no guest to run it on, nor will there be.
        """
        machine = self.ready_machine()
        if self._manner.fresh:
            self._ahead.fill()
        seconds = seconds or self._manner.timeout * machine.slowness
        course, ran = self._course(machine, what, seconds=seconds)
        cases = [*self._ran, *blame.one_by_one(ran, what.get("nodeids", []), course.done)]
        boxed = machine.guest is not None
        found = judge(course, taint=self._taint, seconds=seconds, shared=self.plan.shared, boxed=boxed)
        self._taint |= course.done.get("taint") or 0
        self.blind.update(course.done.get("blind", {}))
        self._ran = cases[-2 * blame.MOST_SUSPECTS :]
        kept = self._manner.keep and course.end == "done"
        if (found.spoilt or self._manner.fresh) and not kept:
            self.renew()
        return Tried(course=course, ran=ran, cases=cases, found=found, guest=machine.name)

    def finish(self) -> Outcome | None:
        """Watch the guest a last time for splats that come late. None: nothing to say."""
        machine, cases = self.machine, self._ran
        if machine is None or machine.link is None or not cases or self.plan.shared:
            return None
        outcome = Outcome(ran=None, guest=machine.name)
        for splat in self._settle(machine, 0.3 * machine.slowness):
            self._attribute(splat, cases, outcome)
        return outcome

    def end(self) -> None:
        """Give the guest up, and those that are on their way."""
        self.renew()
        self._ahead.end()

    def renew(self) -> None:
        """Give this guest up: the next case runs in a fresh one."""
        if self.machine is not None:
            self.machine.end()
            self.machine = None
        self._ran = []

    def _start(self) -> Machine:
        self.boots += 1
        name = f"{self._worker}-{self.boots}"
        if self.plan.kind == "image":
            self._say(f"guest {name} boots {self.plan.label}")
        return machines.start(self.plan, name=name, say=self._say)

    def ready_machine(self) -> Machine:
        """A machine whose agent is ready; a kernel that does not boot breaks every later call with the same
        cause.
        """
        for _ in range(2):
            if self._broken is not None:
                break
            try:
                fresh = self.machine is None or self.machine.link is None
                if self.machine is None:
                    self.machine = self._ahead.take() or self._start()
                if self.machine.link is None:
                    self._make_ready(self.machine)
                if fresh:
                    self.ready = self.machine.ready
                    self._taint = self.ready["taint"] or 0
                    self.blind.update(self.ready["blind"])
                return self.machine
            except RigError as error:
                self.renew()
                # A first boot that fails is the kernel's doing; a later one may be the machine's, once.
                if self.boots == 1 or not isinstance(error, GuestLost | NoBoot):
                    self._broken = error
                failure = error
        self._broken = self._broken or failure
        raise self._broken

    def _make_ready(self, machine: Machine) -> None:
        facts: dict[str, object] = {
            "kernel": self.plan.spec,
            "release": self.plan.release,
            "profile": self.plan.profile,
            **self._manner.told,
        }
        machine.agent(facts=facts, options=self._manner.options)

    def _course(
        self, machine: Machine, what: Message, *, seconds: float, again: bool = True
    ) -> tuple[Course, Ran]:
        """Have the agent run `what`, and wait for it as long as it may take."""
        assert machine.link is not None
        self._number += 1
        number, printed = self._number, machine.printed()
        name = what.get("name") or what["nodeids"][0]
        course = Course(end="dead")
        try:
            machine.link.send({**what, "op": "run", "id": number})
            turn = _TURN_SECONDS if self.plan.shared else 0.0
            done = self._await(machine, seconds + 2 * min(machine.slowness, 4), turn=turn, since=printed)
            if done is None:
                course.doomed = a_task_died(machine.console(printed))
                machine.link.send({"op": "abort", "id": number})
                done = self._await(machine, 4 + 3 * machine.slowness)
                stalled = done is not None and done["ended"] - done["began"] < seconds / 2
                if again and stalled and not course.doomed:
                    self._say(f"{name} had hardly begun when its time was up: the link stalled; once more")
                    return self._course(machine, what, seconds=seconds, again=False)
            course.end, course.done = ("silent", {}) if done is None else ("done", done)
        except Closed:
            machine.await_death()
        if course.end != "done":
            if course.end == "silent" and machine.guest is not None:
                machine.guest.dump()
            course.console, course.complaints = machine.console(printed), machine.link.complaints()
        before = max((case.ended or 0.0 for case in self._ran), default=0.0)
        ran = Ran(
            nodeid=name,
            number=number,
            pid=course.done.get("pid", -1),
            began=course.done.get("began", before),
            ended=course.done.get("ended"),
        )
        return course, ran

    def _await(
        self, machine: Machine, seconds: float, *, turn: float = 0.0, since: int | None = None
    ) -> Message | None:
        """The agent's next answer; None after `seconds`, which count from its turn where it must wait up to
        `turn` for one. `since`: where a task's death on the console shortens them.
        """
        assert machine.link is not None
        limit = time.monotonic() + seconds + turn
        while (left := limit - time.monotonic()) > 0:
            message = machine.link.receive(min(0.5, left))
            if message is not None and message["op"] in ("begun", "goes on"):
                limit = time.monotonic() + seconds
            elif message is not None and message["op"] == "failed":
                raise GuestLost(
                    f"{machine.name}: the agent failed: {message['why']}",
                    next_step=f"logs are in {machine.folder}",
                )
            elif message is not None:
                return message
            elif not machine.alive():
                raise Closed
            elif since is not None and a_task_died(machine.console(since)):
                limit, since = min(limit, time.monotonic() + _DOOMED_SECONDS * machine.slowness), None
        return None

    def _settle(self, machine: Machine, seconds: float) -> list[Splat]:
        """Watch an idle guest for `seconds`; the splats that it logs, or dies of."""
        assert machine.link is not None
        printed = machine.printed()
        try:
            machine.link.send({"op": "settle", "seconds": seconds})
            settled = self._await(machine, seconds + 5 * machine.slowness)
        except Closed:
            settled = None
        return find_splats(machine.console(printed)) if settled is None else logged(settled["log"])

    def _attribute(self, splat: Splat, cases: Sequence[Ran], outcome: Outcome) -> None:
        """Give the splat to the case that caused it: by the kernel's word, by trying again, or to nobody
        (uncertain).
        """
        trouble = of_splat(splat)
        guilty, suspected = blame.culprit(splat, cases), blame.suspects(splat, cases)
        if guilty is None and self._manner.keep:
            guilty = outcome.ran  # the guest with the evidence is worth more than certainty
        if guilty is None:
            alone = not self.plan.shared and len(suspected) == 1 and suspected[0] is outcome.ran
            guilty = suspected[0] if alone else self.try_again(splat, suspected)
        if guilty is None:
            outcome.uncertain.append((trouble, [case.nodeid for case in suspected]))
        elif guilty is outcome.ran:
            outcome.troubles.append(trouble)
        else:
            outcome.late.append((guilty.nodeid, trouble))

    def try_again(self, splat: Splat, suspected: Sequence[Ran]) -> Ran | None:
        """Run the suspects in a fresh guest, alone in time: the first that brings the same splat did it.

        Each is watched for as long as the splat took to follow it, so that a late one falls to its own
        case. The case that ran when the splat came goes first, then back in time: the nearest is the
        likeliest. On a shared kernel nobody is alone: None.
        """
        if self.plan.shared or not suspected:
            return None
        self._say(
            f"{splat.title[:70]}: whose is it? {len(suspected)} cases are run again, alone, in a fresh guest"
        )
        self.renew()
        for case in reversed(suspected):
            machine = self.ready_machine()
            course, again = self._course(
                machine, {"nodeids": [case.nodeid]}, seconds=self._manner.timeout * machine.slowness
            )
            splats = logged(course.done.get("log", [])) or find_splats(course.console)
            if not splats and course.end == "done":
                splats = self._settle(machine, blame.wait_for(splat, case))
            if splats or course.end != "done":
                self.renew()
            if any(blame.same(splat, one) for one in splats):
                return case
            self._ran.append(again)
        self.renew()
        return None
