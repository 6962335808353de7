"""`rig series`: each patch of a series is built, booted and tested, and compared with what the series stands on."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ringrig import runs
from ringrig.cache import Say, writing
from ringrig.campaign import asked as asking
from ringrig.campaign import base as bases
from ringrig.campaign import exercised
from ringrig.campaign.asked import Asked
from ringrig.campaign.base import Applied
from ringrig.campaign.compare import BAD, GOOD, Ran, compare, read
from ringrig.campaign.job import Job, Result, do, finished, interrupted
from ringrig.campaign.patches import changed
from ringrig.campaign.rows import NO_BOOT, NO_BUILD, Row, Series, judge, latest
from ringrig.campaign.timing import seconds_of
from ringrig.children import ending
from ringrig.errors import (
    BadConfig,
    BadSpec,
    BuildFailed,
    GuestLacks,
    GuestLost,
    NoBoot,
    NothingRan,
    NoVerdict,
    RigError,
)
from ringrig.kernel import resolve
from ringrig.kernel.spec import Wanted
from ringrig.model.profiles import profile_for
from ringrig.plugin.record import suite_version

_PLUGIN = "-pringrig.campaign.lines_session"
_RAN = {0, 1, NothingRan.exit_code}
_DEAD = {NoBoot.exit_code, GuestLacks.exit_code, GuestLost.exit_code}
_AGAIN = 100
"""So many of the cases that fail are run again: where all of those fail again, the others are believed."""


def run(arguments: Sequence[str], *, root: Path, say: Say) -> Series:
    """The series of the command line, as far as it gets. Raises RigErrors."""
    chosen = asking.parser().parse_intermixed_args(arguments)
    if chosen.resume:
        if chosen.given or chosen.tree or chosen.base or chosen.kernel:
            raise BadSpec(
                "--resume goes on with what was asked: it takes no series, case, tree, base or kernel.",
                next_step=f"rig series --resume {chosen.resume}, or begin anew without --resume",
            )
        folder = chosen.resume.absolute()
        asked, trees = asking.stored(folder)
        applied = bases.apply(asked.given, asked.base, folder / "patches", say=say)
        if list(applied.trees) != trees:
            raise BadSpec(
                f"{asked.base.spec} has changed since {folder.name} was begun.",
                next_step="begin anew, without --resume",
            )
    else:
        given, cases = asking.taken(chosen)
        asked = asking.ask(chosen, given, cases, root=root, say=say)
        folder = runs.new_folder(root, "series")
        applied = begin(asked, folder, say=say)
    return carry_out(asked, applied, folder, workers=chosen.workers, root=root, say=say)


def begin(asked: Asked, folder: Path, *, say: Say) -> Applied:
    """Applies the series, and keeps in its folder what is asked. BadPatch: it does not apply; then a new folder is gone again."""
    new = not any(folder.iterdir())
    try:
        with writing("the series' folder"):
            applied = bases.apply(asked.given, asked.base, folder / "patches", say=say)
            asking.store(asked, folder, applied.trees)
    except RigError:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return applied


def carry_out(asked: Asked, applied: Applied, folder: Path, *, workers: int, root: Path, say: Say) -> Series:
    """Base and patches, one after the other; what `folder` holds already is not done again. Raises RigErrors."""
    tester = _Tester(asked, applied, folder, workers=workers, root=root, say=say)
    try:
        with ending(lambda: None):
            return tester.series()
    except KeyboardInterrupt:
        say(f"interrupted; go on with: rig series --resume {folder}")
        return tester.series_so_far
    except RigError:
        say(f"when that is mended, go on with: rig series --resume {folder}")
        raise


class _Tester:
    def __init__(
        self, asked: Asked, applied: Applied, folder: Path, *, workers: int, root: Path, say: Say
    ) -> None:
        self._asked, self._applied, self._folder = asked, applied, folder
        self._workers, self._root, self._say = workers, root, say
        self._total = len(asked.given.patches)
        self._judge: list[str] = []
        self._base = Ran(label="", verdict="", cases={}, splats={})
        self.series_so_far = Series(
            folder=folder,
            given=asked.given,
            base=asked.base.spec,
            why=asked.base.why,
            suite=suite_version(root),
            cases=asked.cases,
            only_tip=asked.only_tip,
            left=asked.numbers,
        )

    def series(self) -> Series:
        series = self.series_so_far
        self._write_fragment()
        series.rows.append(self._of_base())
        self._keep()
        for number in self._asked.numbers:
            series.rows.append(self._of_patch(number))
            series.left = series.left[1:]
            self._keep()
        return series

    def _of_base(self) -> Row:
        """NoVerdict, BuildFailed: a base that says nothing is nothing to compare with."""
        series = self.series_so_far
        row = Row(number=0, subject=self._asked.base.why, folder="base", arguments=self._arguments(0))
        self._say(f"base: {self._asked.base.spec}")
        result, build = self._tested(0)
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
        series.base_flaky = self._again(row, failing)
        series.base_failing = {
            name: self._base.cases[name].why for name in failing if name not in series.base_flaky
        }
        self._fill(row, result, build)
        self._say(f"  {row.words} ({sum(row.seconds.values()):.0f} s)")
        return row

    def _of_patch(self, number: int) -> Row:
        patch = self._asked.given.patches[number - 1]
        row = Row(
            number=number,
            subject=self._asked.given.title if self._asked.only_tip else patch.subject,
            author=patch.author,
            message_id=patch.message_id,
            folder=self._name(number),
            arguments=self._arguments(number),
        )
        self._say(f"{number} of {self._total}: {row.subject}")
        try:
            result, build = self._tested(number)
        except (BuildFailed, BadConfig) as error:
            row.verdict, row.words = NO_BUILD, error.what
            self._say(f"  {NO_BUILD}")
            return row
        row.folder = result.folder.name
        if result.exit_code in _DEAD and not result.cases:
            row.verdict, row.words = NO_BOOT, result.verdict
            row.seconds = {"build": build, "rest": result.seconds}
        else:
            self._compare(row, result)
            self._fill(row, result, build)
        self._say(f"  {row.verdict} ({sum(row.seconds.values()):.0f} s)")
        return row

    def _compare(self, row: Row, result: Result) -> None:
        series, ran = self.series_so_far, read(result.folder)
        found = compare(self._base, ran, flaky=series.base_flaky)
        last = latest(series.rows)
        known = set(last.faults if last is not None else ())
        doubtful = [name for name in found.newly_failing if name not in known]
        passed = set(self._again(row, doubtful))
        confirmed = [name for name in found.newly_failing if name not in passed]
        if self._asked.lines:
            first = 1 if self._asked.only_tip else row.number
            row.lines = exercised.of(result.folder, changed(self._applied.changes(first, row.number)))
            row.exercised = row.lines.word
        judge(row, found, ran, confirmed=confirmed, before=series.rows, allow_skips=self._asked.allow_skips)

    def _again(self, row: Row, names: Sequence[str]) -> list[str]:
        """Of cases that failed, those that pass when they are run again, as many of them as it takes to believe the rest."""
        passed: list[str] = []
        for at in range(0, len(names), _AGAIN):
            some = names[at : at + _AGAIN]
            self._say(f"  failing: {len(names)}; running {len(some)} again")
            again = self._do(self._job(row.number, some, name=f"again-{at // _AGAIN + 1}"))
            row.seconds["again"] = round(row.seconds.get("again", 0.0) + again.seconds, 1)
            mine = [name for name in some if name in again.cases and again.cases[name].outcome in GOOD]
            passed += mine
            if not mine:
                break
        return passed

    def _tested(self, number: int) -> tuple[Result, float]:
        """The run on a kernel of the series, and the seconds that its build took (0 where nothing was built)."""
        job, began = self._job(number, self._asked.cases), time.monotonic()
        with writing("the series' kernels"):
            for path in job.patches:
                Path(path).parent.mkdir(exist_ok=True)
                Path(path).write_text(f"{self._applied.whole(number)}\n")
        build = 0.0
        if finished(job, self._folder / job.name, self.series_so_far.suite) is None:
            wanted = Wanted.of(guest=job.guest, configs=job.configs, patches=job.patches)
            resolve(job.kernel, wanted=wanted, say=self._say)
            build = round(time.monotonic() - began, 1)
        result = self._do(job)
        if result.exit_code in _DEAD:
            # A machine can be slow or short of memory for once.
            result = self._do(self._job(number, self._asked.cases, name="booted-again"))
        return result, build

    def _do(self, job: Job) -> Result:
        """KeyboardInterrupt: Ctrl-C. NoVerdict: the machine, not the kernel, is at fault."""
        suite = self.series_so_far.suite
        result = do(job, self._folder / job.name, workers=self._workers, root=self._root, suite=suite)
        if interrupted(result.folder, result.exit_code):
            raise KeyboardInterrupt
        if result.exit_code not in _RAN | _DEAD:
            (result.folder / "job.json").unlink(missing_ok=True)
            raise NoVerdict(
                f"{job.name}: {result.verdict.removeprefix('NO VERDICT: ')}",
                next_step=f"{result.folder}/output.txt says more",
            )
        return result

    def _job(self, number: int, cases: Sequence[str], *, name: str = "") -> Job:
        # Patches can come to nothing, together: a change and its revert.
        patched = self._applied.trees[number] != self._applied.source
        kernel = self._folder / "kernels" / f"{self._name(number)}.patch"
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
        fragment = self._folder / "lines.config"
        own = [str(fragment)] if fragment.exists() else []
        return ["gcov", *own] if self._asked.lines else []

    def _write_fragment(self) -> None:
        files = list(changed(self._applied.changes(1, self._total)))
        if self._asked.lines and (text := exercised.fragment(files)):
            with writing("the series' folder"):
                (self._folder / "lines.config").write_text(text)

    def _name(self, number: int) -> str:
        return f"{number}-of-{self._total}" if number else "base"

    def _fill(self, row: Row, result: Result, build: float) -> None:
        row.words, row.count = result.verdict, dict(result.count())
        row.seconds |= seconds_of(result, build)

    def _keep(self) -> None:
        series = self.series_so_far
        with writing("the series' folder"):
            (self._folder / "series.json").write_text(json.dumps(told(series), indent=1) + "\n")


def told(series: Series) -> dict[str, object]:
    """What series.json holds (docs/series.md)."""
    return {
        "title": series.given.title,
        "revision": series.given.revision,
        "base": series.base,
        "why": series.why,
        "label": series.label,
        "suite": series.suite,
        "cases": series.cases,
        "only_tip": series.only_tip,
        "exit_code": series.exit_code,
        "not run": series.left,
        "seconds": series.seconds,
        "base failing": series.base_failing,
        "base flaky": series.base_flaky,
        "rows": [asdict(row) for row in series.rows],
    }
