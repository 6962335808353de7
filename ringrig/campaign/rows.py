"""What each patch of a series came to: what it breaks, what it mends, and what of it ran. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ringrig.campaign.compare import Comparison, Ran
from ringrig.campaign.exercised import Lines
from ringrig.campaign.patches import Given
from ringrig.errors import NothingRan

NO_BUILD, NO_BOOT = "does not build", "does not boot"
BREAKS, STILL, MENDS = "breaks", "still broken", "mends"
NOTHING, IDLE, UNSEEN, NO_CODE, OK = "nothing ran", "not exercised", "not measured", "no code", "ok"
_NOT_SHOWN = (IDLE, UNSEEN, NO_CODE)
"""Passes in which nothing of the patch is known to have run."""


@dataclass(slots=True, kw_only=True)
class Row:
    """A kernel of the series: number 0 is the base, N has the first N patches.

    `verdict` is one of the words above ("" for the base); `words`: the run's own verdict, or why there is none. `faults` is all that
    is worse than on the base, {case or splat: why}; of these `breaks` came with this patch, and `mends` went with it.
    """

    number: int
    subject: str
    author: str = ""
    message_id: str = ""
    folder: str = ""
    arguments: list[str] = field(default_factory=list)
    """Of `rig run`, without the cases."""
    verdict: str = ""
    words: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    """build, boot, cases, rest; again: what was run again took."""
    count: dict[str, int] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    breaks: list[str] = field(default_factory=list)
    mends: list[str] = field(default_factory=list)
    unknown_before: list[int] = field(default_factory=list)
    """The patches right before it that have no verdict: what it seems to break or mend may be theirs."""
    flaky: list[str] = field(default_factory=list)
    """Failed, and passed when run again."""
    newly_passing: list[str] = field(default_factory=list)
    newly_skipped: list[str] = field(default_factory=list)
    newly_run: list[str] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)
    new_splats: dict[str, list[str]] = field(default_factory=dict)
    lines: Lines | None = None
    exercised: str = ""
    """exercised, not exercised, not measured, no code; "" where nobody looked."""

    @property
    def known(self) -> bool:
        """Whether its cases could be run."""
        return self.verdict not in (NO_BUILD, NO_BOOT)

    @property
    def bad(self) -> bool:
        return self.verdict in (NO_BUILD, NO_BOOT, BREAKS)


@dataclass(slots=True, kw_only=True)
class Series:
    """A series that has run, as far as it got: `left` are the numbers of the patches that did not."""

    folder: Path
    given: Given
    base: str
    why: str
    """Why that is the base."""
    label: str = ""
    """What the base's kernel is called."""
    suite: str
    cases: tuple[str, ...]
    only_tip: bool
    rows: list[Row] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    base_failing: dict[str, str] = field(default_factory=dict)
    base_flaky: list[str] = field(default_factory=list)

    @property
    def patches(self) -> list[Row]:
        return self.rows[1:]

    @property
    def suites(self) -> list[str]:
        """The cases as anybody names them in a clone of his own."""
        return [case.removeprefix(f"{self.folder.parents[1]}/") for case in self.cases]

    @property
    def seconds(self) -> float:
        """Of all its kernels, whether they were built and run now or before."""
        return round(sum(sum(row.seconds.values()) for row in self.rows), 1)

    @property
    def exit_code(self) -> int:
        """0 nothing breaks, 1 something does, 20 no case ran in the end, 130 interrupted."""
        if self.left:
            return 130
        if any(row.bad for row in self.rows):
            return 1
        return NothingRan.exit_code if self.rows and self.rows[-1].verdict == NOTHING else 0

    @property
    def first_bad(self) -> Row | None:
        return next((row for row in self.rows if row.bad), None)


def judge(
    row: Row,
    found: Comparison,
    ran: Ran,
    *,
    confirmed: Sequence[str],
    before: Sequence[Row],
    allow_skips: bool,
) -> None:
    """Fills a row in from how its run compares with the base's.

    `confirmed`: of what is newly failing, what failed again; `before`: the rows before it, the base first.
    """

    def why(name: str, otherwise: str) -> str:
        return (ran.cases[name].why.strip().partition("\n")[0] if name in ran.cases else "") or otherwise

    row.flaky = [name for name in (*found.newly_failing, *ran.wavering) if name not in set(confirmed)]
    row.newly_passing, row.newly_run = list(found.newly_passing), list(found.newly_run)
    row.newly_skipped, row.not_run = list(found.newly_skipped), list(found.not_run)
    row.new_splats = {what: list(names) for what, names in found.new_splats.items()}
    row.faults = {name: why(name, "failed") for name in confirmed}
    row.faults |= {} if allow_skips else {name: f"left out: {why(name, '')}" for name in found.newly_skipped}
    row.faults |= dict.fromkeys(found.not_run, "not run")
    # A splat that is blamed on a case which fails is told with it.
    row.faults |= {
        what: "new splat" for what, names in found.new_splats.items() if not set(names) & set(confirmed)
    }
    settle(row, before)
    if row.verdict in (*_NOT_SHOWN, OK) and all(case.outcome == "skipped" for case in ran.cases.values()):
        row.verdict = NOTHING


def settle(row: Row, before: Sequence[Row]) -> None:
    """What came and went with it, and the one word for it."""
    last = latest(before)
    row.unknown_before = [one.number for one in before if last is not None and one.number > last.number]
    earlier: Mapping[str, str] = last.faults if last is not None else {}
    row.breaks = [name for name in row.faults if name not in earlier]
    row.mends = [name for name in earlier if name not in row.faults]
    if row.breaks:
        row.verdict = BREAKS
    elif row.mends:
        row.verdict = MENDS
    elif row.faults:
        row.verdict = STILL
    else:
        row.verdict = row.exercised if row.exercised in _NOT_SHOWN else OK


def latest(rows: Sequence[Row]) -> Row | None:
    """The last of them whose cases could be run."""
    return next((one for one in reversed(rows) if one.known), None)
