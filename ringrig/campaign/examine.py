"""A commit examined: built, booted, and the case tried as often as its verdict takes. One job of a campaign each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ringrig.cache import Say
from ringrig.campaign.commit_verdict import Quota, Tally, Try, Verdict, verdict
from ringrig.campaign.crew import Crew
from ringrig.campaign.history import SHORT
from ringrig.campaign.job import Job, Result
from ringrig.campaign.tries_session import FILE
from ringrig.errors import NoBoot, RigError

SESSION = "ringrig.campaign.tries_session"
_AGAIN = 2
"""So often more is tried what the rig or the machine, not the commit, has spoilt."""


class Stopped(RigError):
    """Trouble of the rig's or the machine's own that did not go away."""

    def __init__(self, what: str, *, code: int) -> None:
        super().__init__(what, next_step="see to it, then go on from here with --resume")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What is known of a commit. `boots`: guests that it took; `build_id` None: it was not built."""

    commit: str
    verdict: Verdict
    tally: Tally
    quota: Quota
    tries: tuple[Try, ...]
    folder: Path
    seconds: float
    boots: int
    build_id: str | None
    label: str

    @property
    def built(self) -> bool:
        """Whether there is a kernel of it."""
        return self.build_id is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """Where commits of `tree` are examined: `words` are cases for pytest, `judge` the profile frozen for all."""

    tree: Path
    folder: Path
    guest: str
    configs: tuple[str, ...]
    judge: str
    hands: Crew
    say: Say

    def examine(self, commits: Sequence[str], words: Sequence[str], quota: Quota) -> dict[str, Examination]:
        """All of them, by commit. KeyboardInterrupt; Stopped; RigErrors of the crew."""
        found: dict[str, Examination] = {}
        no_boot: set[str] = set()
        for again in range(_AGAIN + 1):
            tasks = [self._task(one, one in no_boot, words, quota) for one in commits if one not in found]
            for result in self.hands.results(tasks):
                made = examination(result, quota)
                commit, word = made.commit, made.verdict.word
                if word == "interrupted":
                    raise KeyboardInterrupt
                if word == "trouble":
                    (made.folder / "job.json").unlink(missing_ok=True)  # what failed so is not done
                    if again == _AGAIN:
                        why = f"{commit[:SHORT]} cannot be examined: {made.verdict.why}"
                        raise Stopped(why, code=result.exit_code)
                elif result.exit_code == NoBoot.exit_code and commit not in no_boot and again < _AGAIN:
                    no_boot.add(commit)  # on a busy machine it may only have been slow
                else:
                    found[commit] = made
                    continue
                self.say(f"  {commit[:SHORT]} {made.verdict.why}; once more")
            if len(found) == len(commits):
                break
        return found

    def _task(self, commit: str, again: bool, words: Sequence[str], quota: Quota) -> tuple[Job, Path]:
        name = f"{commit[:SHORT]}{'-again' if again else ''}"
        made = job(
            f"tree:{self.tree}@{commit}",
            name=name,
            guest=self.guest,
            configs=self.configs,
            judge=self.judge,
            words=words,
            quota=quota,
        )
        return made, self.folder / name


def job(
    kernel: str,
    *,
    name: str,
    guest: str,
    configs: tuple[str, ...],
    judge: str,
    words: Sequence[str],
    quota: Quota,
) -> Job:
    """The job that tries cases on a kernel until the quota is met."""
    # One guest, in the session's own process: what it learns decides whether it goes on.
    session = ("-n0", f"-p{SESSION}", f"--tries={quota.word}", f"--judged-by={judge}")
    return Job(name=name, kernel=kernel, guest=guest, configs=configs, cases=(*session, *words))


def examination(result: Result, quota: Quota) -> Examination:
    """What a job has found, read from its folder."""
    path = result.folder / "run.json"
    run = json.loads(path.read_text()) if path.exists() else {}
    tries = _tries(result.folder)
    tally = Tally.of(tries, quota.marks)
    return Examination(
        commit=result.job.kernel.rpartition("@")[2],
        verdict=verdict(result, tally, quota),
        tally=tally,
        quota=quota,
        tries=tries,
        folder=result.folder,
        seconds=result.seconds,
        boots=run.get("guests", 0),
        build_id=run.get("build_id"),
        label=run.get("label", result.job.kernel),
    )


def _tries(folder: Path) -> tuple[Try, ...]:
    path = folder / FILE
    lines = path.read_text().splitlines() if path.exists() else []
    told = [json.loads(line) for line in lines]
    return tuple(Try(**{**one, "marks": tuple(one["marks"])}) for one in told)
