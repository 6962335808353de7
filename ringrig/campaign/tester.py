"""The kernels of a series, each built, run and compared with the base; rows come in the order of the patches."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ringrig.cache import Say, writing
from ringrig.campaign import exercised
from ringrig.campaign.asked import Asked
from ringrig.campaign.base import Applied
from ringrig.campaign.compare import BAD, GOOD, Ran, compare, read, unlike
from ringrig.campaign.crew import Crew, Task
from ringrig.campaign.job import Job, Result, finished, interrupted
from ringrig.campaign.patches import changed
from ringrig.campaign.rows import NO_BOOT, NO_BUILD, Row, Series, judge, latest
from ringrig.campaign.timing import seconds_of
from ringrig.errors import BadConfig, BuildFailed, GuestLacks, GuestLost, NoBoot, NothingRan, NoVerdict
from ringrig.kernel import resolve
from ringrig.kernel.spec import Wanted
from ringrig.model.profiles import profile_for

_PLUGIN = "-pringrig.campaign.lines_session"
_RAN = {0, 1, NothingRan.exit_code}
_DEAD = {NoBoot.exit_code, GuestLacks.exit_code, GuestLost.exit_code}
_AGAIN = 100
"""So many of the cases that fail are run again: where all of those fail again, the others are believed."""


@dataclass(slots=True, kw_only=True)
class _Again:
    """What cases did when they were run again."""

    ran: set[str] = field(default_factory=set)
    passed: list[str] = field(default_factory=list)
    splats: dict[str, tuple[str, ...]] = field(default_factory=dict)


class Tester:
    """Fills a series in, row by row; `keep` is called after each."""

    def __init__(
        self,
        series: Series,
        asked: Asked,
        applied: Applied,
        *,
        hands: Crew,
        keep: Callable[[], None],
        say: Say,
    ) -> None:
        self._series, self._asked, self._applied = series, asked, applied
        self._hands, self._keep, self._say = hands, keep, say
        self._total = len(asked.given.patches)
        self._judge: list[str] = []
        self._base = Ran(label="", verdict="", cases={}, splats={})
        self._build: dict[int, float] = {}
        self._unbuilt: dict[int, str] = {}

    def follow(self) -> None:
        """The base, then the patches: each is built here, and runs where the crew's hands are. KeyboardInterrupt, RigErrors."""
        series = self._series
        self._write_fragment()
        for result in self._hands.results([self._built(0)]):
            series.rows.append(self._of_base(self._sound(result)))
            self._keep()
        came: dict[str, Result] = {}
        for result in self._hands.results(self._tasks()):
            came[result.job.name] = result
            self._judge_those_in_order(came)
        self._judge_those_in_order(came)  # the last ones may not have been built

    def _tasks(self) -> Iterator[Task]:
        for number in self._asked.numbers:
            try:
                yield self._built(number)
            except (BuildFailed, BadConfig) as error:
                self._unbuilt[number] = error.what

    def _judge_those_in_order(self, came: dict[str, Result]) -> None:
        series = self._series
        while series.left:
            number = series.left[0]
            if (result := came.pop(self._name(number), None)) is None and number not in self._unbuilt:
                return
            series.rows.append(self._of_patch(number, result))
            series.left = series.left[1:]
            self._keep()

    def _built(self, number: int) -> Task:
        """The job of a kernel of the series, which is built here: the clock that says how long is not the session's."""
        self._say(f"{self._name(number)}: {self._subject(number) if number else self._asked.base.spec}")
        job, began = self._job(number, self._asked.cases), time.monotonic()
        with writing("the series' kernels", self._series.folder):
            for path in job.patches:
                Path(path).parent.mkdir(exist_ok=True)
                Path(path).write_bytes(self._applied.whole(number))
        folder = self._series.folder / job.name
        if finished(job, folder, self._series.suite) is None:
            wanted = Wanted.of(guest=job.guest, configs=job.configs, patches=job.patches)
            resolve(job.kernel, wanted=wanted, say=self._say)
            self._build[number] = round(time.monotonic() - began, 1)
        return job, folder

    def _of_base(self, result: Result) -> Row:
        """NoVerdict: a base that says nothing is nothing to compare with."""
        series = self._series
        row = Row(number=0, subject=self._asked.base.why, folder="base", arguments=self._arguments(0))
        result = self._booted(0, result)
        row.folder = result.folder.name
        if result.exit_code not in _RAN:
            raise NoVerdict(
                f"The base gives no verdict: {result.verdict}", next_step=f"see {result.folder}/output.txt"
            )
        self._base = read(result.folder)
        series.label = self._base.label
        release = json.loads((result.folder / "run.json").read_text())["release"]
        # Law 7: the kernel on trial does not choose its judge.
        self._judge = [f"--judged-by={profile_for(self._asked.base.spec, release).name}"]
        failing = [name for name, case in self._base.cases.items() if case.outcome in BAD]
        again = self._again(row, failing)
        self._base = replace(self._base, splats={**self._base.splats, **again.splats})
        series.base_flaky = [*again.passed, *self._base.wavering]
        series.base_failing = {
            name: self._base.cases[name].why for name in failing if name not in series.base_flaky
        }
        self._fill(row, result)
        self._say(f"base: {row.words} ({sum(row.seconds.values()):.0f} s)")
        return row

    def _of_patch(self, number: int, result: Result | None) -> Row:
        """`result` None: it was not built."""
        patch = self._asked.given.patches[number - 1]
        row = Row(
            number=number,
            subject=self._subject(number),
            author=patch.author,
            message_id=patch.message_id,
            folder=self._name(number),
            arguments=self._arguments(number),
        )
        if result is None:
            row.verdict, row.words = NO_BUILD, self._unbuilt[number]
        else:
            result = self._booted(number, self._sound(result))
            row.folder = result.folder.name
            if result.exit_code in _DEAD and not result.cases:
                row.verdict, row.words = NO_BOOT, result.verdict
                row.seconds = {"build": self._build.get(number, 0.0), "rest": result.seconds}
            else:
                self._compare(row, result)
                self._fill(row, result)
        self._say(f"{self._name(number)}: {row.verdict} ({sum(row.seconds.values()):.0f} s)")
        return row

    def _compare(self, row: Row, result: Result) -> None:
        series, ran = self._series, read(result.folder)
        found = compare(self._base, ran, flaky=series.base_flaky)
        last = latest(series.rows)
        known = last.faults if last is not None else {}
        blamed = [name for names in unlike(found.new_splats, known).values() for name in names]
        doubtful = [name for name in dict.fromkeys((*found.newly_failing, *blamed)) if name not in known]
        again = self._again(row, doubtful)
        confirmed = [name for name in found.newly_failing if name not in again.passed]
        once = {
            what: names
            for what, names in unlike(found.new_splats, again.splats).items()
            if again.ran.issuperset(names)
        }
        found = replace(found, new_splats=unlike(found.new_splats, once))
        if self._asked.lines:
            first = 1 if self._asked.only_tip else row.number
            row.lines = exercised.of(result.folder, changed(self._applied.changes(first, row.number)))
            row.exercised = row.lines.word
        judge(row, found, ran, confirmed=confirmed, before=series.rows, allow_skips=self._asked.allow_skips)
        row.flaky += once

    def _again(self, row: Row, names: Sequence[str]) -> _Again:
        """Runs cases again that failed or are blamed for a splat, as many of them as it takes to believe the rest."""
        told = _Again()
        for at in range(0, len(names), _AGAIN):
            some = names[at : at + _AGAIN]
            self._say(f"{self._name(row.number)}: failing: {len(names)}; running {len(some)} again")
            again = self._once(row.number, some, name=f"again-{at // _AGAIN + 1}")
            row.seconds["again"] = round(row.seconds.get("again", 0.0) + again.seconds, 1)
            mine = [name for name in some if name in again.cases and again.cases[name].outcome in GOOD]
            told.passed += mine
            told.ran |= set(some)
            told.splats |= read(again.folder).splats
            if not mine:
                break
        return told

    def _booted(self, number: int, result: Result) -> Result:
        """A kernel that does not boot is booted once more: a machine can be slow or short of memory for once."""
        if result.exit_code not in _DEAD:
            return result
        return self._once(number, self._asked.cases, name="booted-again")

    def _once(self, number: int, cases: Sequence[str], *, name: str) -> Result:
        job = self._job(number, cases, name=name)
        [result] = self._hands.results([(job, self._series.folder / job.name)])
        return self._sound(result)

    def _sound(self, result: Result) -> Result:
        """KeyboardInterrupt: Ctrl-C ended it. NoVerdict: the machine, not the kernel, is at fault."""
        if interrupted(result.folder, result.exit_code):
            raise KeyboardInterrupt
        if result.exit_code not in _RAN | _DEAD:
            (result.folder / "job.json").unlink(missing_ok=True)
            raise NoVerdict(
                f"{result.job.name}: {result.verdict.removeprefix('NO VERDICT: ')}",
                next_step=f"{result.folder}/output.txt says more",
            )
        return result

    def _job(self, number: int, cases: Sequence[str], *, name: str = "") -> Job:
        # Patches can come to nothing, together: a change and its revert.
        patched = self._applied.trees[number] != self._applied.source
        kernel = self._series.folder / "kernels" / f"{self._name(number)}.patch"
        return Job(
            name=f"{self._name(number)}-{name}".rstrip("-"),
            kernel=self._asked.base.spec,
            guest=self._asked.guest,
            configs=(*self._asked.configs, *self._configs()),
            patches=(str(kernel),) if patched else (),
            cases=(*cases, *(self._judge if number else ()), *([_PLUGIN] if self._asked.lines else ())),
        )

    def _arguments(self, number: int) -> list[str]:
        """What a person repeats its run with, before the cases."""
        return [word for word in self._job(number, ()).arguments if word != _PLUGIN]

    def _configs(self) -> list[str]:
        fragment = self._series.folder / "lines.config"
        own = [str(fragment)] if fragment.exists() else []
        return ["gcov", *own] if self._asked.lines else []

    def _write_fragment(self) -> None:
        files = list(changed(self._applied.changes(1, self._total)))
        if self._asked.lines and (text := exercised.fragment(files)):
            with writing("the series' folder", self._series.folder):
                (self._series.folder / "lines.config").write_text(text)

    def _subject(self, number: int) -> str:
        given = self._asked.given
        return given.title if self._asked.only_tip else given.patches[number - 1].subject

    def _name(self, number: int) -> str:
        return f"{number}-of-{self._total}" if number else "base"

    def _fill(self, row: Row, result: Result) -> None:
        row.words, row.count = result.verdict, dict(result.count())
        row.seconds |= seconds_of(result, self._build.get(row.number, 0.0))
