"""`rig bisect`: the commit that broke a case, with as many tries at each step as the confidence that was asked for needs."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ringrig.cache import Say
from ringrig.campaign import bisect_asked, confidence, crew
from ringrig.campaign.bisect_asked import Asked
from ringrig.campaign.commit_verdict import GIT_EXIT, Quota, Tally, Try, Verdict
from ringrig.campaign.examine import Examination, Lab, Stopped
from ringrig.campaign.history import Commit, History, about, history, release
from ringrig.campaign.search import Search
from ringrig.errors import RigError, WrongEnds
from ringrig.model.profiles import profile_for
from ringrig.plugin.record import suite_version

AT_THE_BAD_END = Quota(passes=100, failures=8)
"""So often the bad end may pass before it is held to be good; so many failures tell the rate."""
_MORE_VERDICTS = 3
"""Good verdicts beside those of the search: the good end's, a parent's, a merge base's."""


@dataclass(slots=True, kw_only=True)
class Bisection:
    """How far it got. `seen`: what was examined, in order; `left`: one of these it is, parents first."""

    folder: Path
    asked: Asked
    suite: str
    history: History
    judge: str
    case: str = ""
    rate: float = 0.0
    quota: Quota = AT_THE_BAD_END
    seen: dict[str, Examination] = field(default_factory=dict)
    facts: dict[str, Commit] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    rounds: int = 0
    ended: bool = False
    notes: list[str] = field(default_factory=list)
    stopped: str = ""
    """Why it has not come to its end."""
    exit_code: int = 0
    seconds: float = 0.0

    @property
    def culprit(self) -> str | None:
        return self.left[0] if self.ended and len(self.left) == 1 else None

    @property
    def confidence(self) -> float:
        """That the failure is as frequent as `rate`, and that no good verdict was luck."""
        passes = [one.tally.passed for one in self.seen.values() if one.verdict.word == "good"]
        return confidence.reached(self.rate, passes, doubt=(1 - self.asked.confidence) / 2)

    def fact(self, commit: str) -> Commit:
        if found := self.history.facts.get(commit) or self.facts.get(commit):
            return found
        self.facts[commit] = about(Path(self.asked.tree), commit)
        return self.facts[commit]


def run(arguments: Sequence[str], *, root: Path, say: Say) -> Bisection:
    """A bisection to its end, or as far as it gets: after Ctrl-C and trouble --resume goes on. Raises WrongEnds, RigErrors."""
    parser = bisect_asked.parser()
    chosen = parser.parse_args(arguments)
    if chosen.resume:
        asked, folder = bisect_asked.again(chosen, parser)
    else:
        asked, folder = bisect_asked.new(chosen, parser, root)
    suite, began = suite_version(root), time.monotonic()
    tree = Path(asked.tree)
    judge = profile_for(None, release(tree, asked.good)).name
    made = Bisection(
        folder=folder,
        asked=asked,
        suite=suite,
        history=history(tree, asked.good, asked.bad),
        judge=judge,
    )
    again = shlex.join(["rig", "bisect", "--resume", str(folder), *crew.repeated(chosen, parser)])
    try:
        with crew.crew(chosen, root=root, suite=suite, say=say) as hands:
            lab = Lab(
                tree=tree,
                folder=folder,
                guest=asked.guest,
                configs=asked.configs,
                judge=judge,
                hands=hands,
                say=say,
            )
            _Course(made, lab, say=say).follow(chosen.jobs)
    except KeyboardInterrupt:
        made.stopped, made.exit_code = f"interrupted; go on with: {again}", GIT_EXIT["interrupted"]
    except Stopped as error:
        made.stopped, made.exit_code = f"{error.what}\n  next: see to it, then: {again}", error.code
    except WrongEnds:
        raise
    except RigError:
        say(f"stopped; what is done is kept, go on with: {again}")
        raise
    made.seconds = round(time.monotonic() - began, 1)
    return made


class _Course:
    """Both ends, then rounds of commits, then the culprit's parents."""

    def __init__(self, made: Bisection, lab: Lab, *, say: Say) -> None:
        self._made, self._lab, self._say = made, lab, say

    def follow(self, at_a_time: int) -> None:
        made, ends = self._made, self._made.history
        search = Search(ends)
        made.left = search.left
        self._say(
            f"{len(made.left)} commits between good {made.fact(ends.good)} and bad {made.fact(ends.bad)}"
        )
        self._say(f"judged by profile {made.judge}; each commit's output: {made.folder}/COMMIT/output.txt")
        self._bad_end(search)
        self._good_ends()
        while commits := search.next(at_a_time):
            rounds = search.rounds(at_a_time)
            self._say(f"{len(made.left)} commits left, about {rounds} round{'s'[: rounds != 1]}")
            verdicts = self._examine(commits)
            made.rounds += 1
            for commit in search.learn(verdicts):
                made.notes.append(
                    f"{made.fact(commit)} fails, too, but a commit that contains it passes: it broke twice"
                )
            made.left = search.left
        self._end()
        made.ended = True

    def _examine(self, commits: Sequence[str]) -> dict[str, str]:
        """Their verdicts, of which the log and the terminal are told."""
        made = self._made
        found = self._lab.examine(commits, [made.case], made.quota)
        for commit in commits:
            made.seen[commit] = found[commit]
            told = found[commit].verdict
            self._say(f"  {told.word:4} {made.fact(commit)}: {told.why} ({found[commit].seconds:.0f} s)")
        return {commit: found[commit].verdict.word for commit in commits}

    def _bad_end(self, search: Search) -> None:
        """Tells the case that is followed, its failure, how often it fails, and so how many tries a verdict takes."""
        made, asked = self._made, self._made.asked
        found = self._lab.examine([asked.bad], asked.words, made.quota)[asked.bad]
        failing = _failing(found.tries)
        if not failing:
            passed = f"passes {found.tally.passed} times of {found.tally.passed}"
            why = found.verdict.why if found.verdict.word == "skip" else passed
            raise self._wrong("bad", asked.bad, why, found)
        (made.case, tally), *others = failing.items()
        marks = tuple(mark for mark, times in tally.marks.items() if 4 * times >= tally.failed)
        doubt = (1 - asked.confidence) / 2
        made.rate = confidence.least_rate(tally.failed, tally.tries, doubt=doubt)
        verdicts = search.rounds(1) + _MORE_VERDICTS
        passes = asked.passes or confidence.passes_needed(
            made.rate, confidence=asked.confidence, verdicts=verdicts
        )
        made.quota = Quota(passes=passes, marks=marks)
        told = f"fails {tally.failed} of {tally.tries}: {tally.words}"
        made.seen[asked.bad] = replace(
            found,
            verdict=Verdict(word="bad", why=told),
            tally=tally,
            tries=tuple(one for one in found.tries if one.nodeid == made.case),
        )
        self._say(f"  bad  end {told} ({found.seconds:.0f} s)")
        self._say(f"{passes} passes make a commit good, 2 failures bad")
        if others:
            more = ", ".join(name for name, _ in others[:3]) + (", …" if len(others) > 3 else "")
            made.notes.append(f"{len(others)} other cases fail on the bad end and were not followed: {more}")

    def _good_ends(self) -> None:
        """The good end, and where good is no ancestor of bad what both come from."""
        made, ends = self._made, self._made.history
        self._examine([ends.good])
        found = made.seen[ends.good]
        if found.verdict.word != "good":
            raise self._wrong("good", ends.good, found.verdict.why, found)
        for base in ends.bases:
            word = self._examine([base])[base]
            if word == "bad":
                raise WrongEnds(
                    f"The case fails on {made.fact(base)}, from which the good end and the bad one have parted: "
                    "it was repaired on the good end's side, not broken on the other.",
                    next_step="name a good end that is an ancestor of the bad one",
                )
            if word == "skip":
                made.notes.append(
                    f"whether the ends' merge base {made.fact(base)} is good is not known, so the culprit may be before it"
                )

    def _wrong(self, end: str, commit: str, why: str, found: Examination) -> WrongEnds:
        return WrongEnds(
            f"The {end} end, {self._made.fact(commit)}, is not {end}: it {why}.",
            next_step=f"name another commit with --{end}; what it did is in {found.folder}",
        )

    def _end(self) -> None:
        """The culprit's parents, as far as nobody looked at them, and whether it changes the kernel at all."""
        made = self._made
        if len(made.left) > 1:
            made.exit_code = 1
            return
        [culprit] = made.left
        parents = made.fact(culprit).parents
        if fresh := [one for one in parents if one not in made.seen]:
            self._say("the culprit's parents")
            self._examine(fresh)
        for parent in parents:
            if made.seen[parent].verdict.word == "bad":
                made.notes.append(f"its parent {made.fact(parent)} fails, too: then it is not the first")
                made.exit_code = 1
            elif made.seen[parent].build_id == made.seen[culprit].build_id:
                made.notes.append(
                    f"it makes the same kernel as its parent {made.fact(parent)}: then it is not the cause"
                )
                made.exit_code = 1


def _failing(tries: Sequence[Try]) -> dict[str, Tally]:
    """The cases that failed, the one first that failed most of its tries."""
    found: dict[str, Tally] = {}
    for one in tries:
        found.setdefault(one.nodeid, Tally()).add(one, ())
    failed = [name for name, tally in found.items() if tally.failed]
    failed.sort(key=lambda name: -found[name].failed / found[name].tries)
    return {name: found[name] for name in failed}
