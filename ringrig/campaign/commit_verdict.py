"""What tries of a case say of a commit: good, bad or skip; and what that is to `git bisect run`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ringrig import errors
from ringrig.campaign.job import Result, interrupted, last_words

FAILED = "failed"
"""The mark of a try whose case failed in its own words; other marks are fingerprints of splats, and kinds of trouble."""
GIT_EXIT = {"good": 0, "bad": 1, "skip": 125, "trouble": 128, "interrupted": 130}
"""What `git bisect run` is told: 125 leaves the commit out, 128 and more end the bisection where it stands."""
_OTHERS = 3
"""A commit that dies so often of something else is left out."""
_PATIENCE = 3
"""One failure among the passes that make a commit good: so many times as many tries must show a second one."""
_NOT_TO_BE_HAD = {
    errors.BadSpec.exit_code: "is no kernel that can be tried",
    errors.BuildFailed.exit_code: "does not build",
    errors.BadConfig.exit_code: "lacks an option of the configuration",
    errors.NoBoot.exit_code: "does not boot",
    errors.GuestLacks.exit_code: "lacks what every case needs",
    errors.NothingRan.exit_code: "leaves the case out",
}
_WORDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One run of the case: passed, failed or skipped; `marks` say what kind of failure it was (see FAILED)."""

    nodeid: str
    outcome: str
    marks: tuple[str, ...] = ()
    why: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """So many passes make a commit good, so many failures bad. `marks`: those of the failure that is looked for; none: any."""

    passes: int
    failures: int = 2
    marks: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """As --tries takes it."""
        return ",".join([str(self.passes), str(self.failures), *self.marks])

    @classmethod
    def of(cls, word: str) -> Quota:
        passes, failures, *marks = word.split(",")
        return cls(passes=int(passes), failures=int(failures), marks=tuple(marks))


@dataclass(slots=True, kw_only=True)
class Tally:
    """Tries counted: `other` are failures of another kind than the one that is looked for."""

    passed: int = 0
    failed: int = 0
    other: int = 0
    words: str = ""
    """Of the first failure that counts, or else of the first other one, or why the case was left out."""
    marks: dict[str, int] = field(default_factory=dict)
    left_out: bool = False

    @classmethod
    def of(cls, tries: Iterable[Try], marks: tuple[str, ...]) -> Tally:
        made = cls()
        for one in tries:
            made.add(one, marks)
        return made

    def add(self, one: Try, marks: tuple[str, ...]) -> None:
        for mark in one.marks:
            self.marks[mark] = self.marks.get(mark, 0) + 1
        if one.outcome == "passed":
            self.passed += 1
            return
        counts = one.outcome == "failed" and (not marks or bool(set(marks) & set(one.marks)))
        self.left_out |= one.outcome == "skipped"
        if not self.words or (counts and not self.failed):
            self.words = one.why
        self.failed += counts
        self.other += one.outcome == "failed" and not counts

    @property
    def tries(self) -> int:
        """Those that count."""
        return self.passed + self.failed

    def enough(self, quota: Quota) -> bool:
        """Nothing more is to be learnt for the verdict."""
        if self.left_out or self.failed >= quota.failures or self.other >= max(_OTHERS, self.passed):
            return True
        return self.passed >= quota.passes * (_PATIENCE if self.failed else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`word` is one of GIT_EXIT's; `why` in a line."""

    word: str
    why: str

    @property
    def git_exit(self) -> int:
        return GIT_EXIT[self.word]


def verdict(result: Result, tally: Tally, quota: Quota) -> Verdict:
    """What a job that has ended says of its commit; trouble is the rig's or the machine's own and says nothing."""
    code = result.exit_code
    if interrupted(result.folder, code):
        return Verdict(word="interrupted", why="interrupted")
    if code in _NOT_TO_BE_HAD and not tally.tries + tally.other:
        why = tally.words or _said(result.folder) or result.verdict
        return Verdict(word="skip", why=f"{_NOT_TO_BE_HAD[code]}: {why}"[:_WORDS])
    if code not in (0, 1) or not (tally.tries or tally.other or tally.left_out):
        return Verdict(word="trouble", why=(last_words(result.folder) or result.verdict)[:_WORDS])
    return _counted(tally, quota)


def _counted(tally: Tally, quota: Quota) -> Verdict:
    failed = f"fails {tally.failed} of {tally.tries}"
    if tally.left_out:
        return Verdict(word="skip", why=f"leaves the case out: {tally.words}"[:_WORDS])
    if tally.failed >= quota.failures:
        return Verdict(word="bad", why=f"{failed}: {tally.words}"[:_WORDS])
    if tally.passed < quota.passes:
        return Verdict(word="skip", why=f"dies of something else: {tally.words}"[:_WORDS])
    if tally.failed:
        why = f"{failed}: too seldom for what is looked for, too often to be good: {tally.words}"
        return Verdict(word="skip", why=why[:_WORDS])
    return Verdict(word="good", why=f"passes {tally.passed} of {tally.passed}")


def _said(folder: Path) -> str:
    """The lines that matter of why there is no kernel: a compiler's error, or what a console ended with."""
    output = folder / "output.txt"
    lines = output.read_text(errors="replace").splitlines() if output.exists() else []
    for word in (" error: ", "undefined reference", "Kernel panic", "kernel panic", "BUG:"):
        if found := next((line.strip(" |!") for line in lines if word in line), None):
            return found
    return ""
