"""What a mutation campaign found out, complete enough for every report of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ringrig.cache import writing
from ringrig.campaign.baseline import Baseline
from ringrig.campaign.instrument import Spot
from ringrig.campaign.mutants import Mutant
from ringrig.campaign.trial import Kill, Verdict

RESULTS = ("killed", "survived", "flaky", "unreached", "equivalent", "needs", "stale", "refused")
_INTERRUPTED = 130
_OPEN = {"survived", "flaky", "unreached"}
"""What a better suite would change."""
_TRIED = {"killed", *_OPEN}
VERDICTS = "mutants.jsonl"
"""In the campaign's folder: a verdict a line, as they came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """A mutant built as a kernel of its own and run by `rig run`: seconds of build, boot and cases until the first failure."""

    id: str
    together: str
    alone: str
    seconds: float


@dataclass(slots=True, kw_only=True)
class Campaign:
    """Times in seconds; `rerun`: the arguments of `rig run` that name the kernel below the mutants."""

    folder: Path
    label: str
    guest: str
    rerun: tuple[str, ...]
    texts: dict[str, str]
    """The unchanged files of io_uring/."""
    spots: dict[str, list[Spot]]
    ids: dict[int, str]
    baseline: Baseline
    baseline_seconds: float = 0.0
    judging_seconds: float = 0.0
    seconds: float = 0.0
    boots: int = 0
    untried: int = 0
    """Mutants that an interruption left over."""
    verdicts: list[Verdict] = field(default_factory=list)
    alone: list[Alone] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        """Keeps a verdict, also on the disk: a campaign that is cut short has told what it knew. NoSpace."""
        self.verdicts.append(verdict)
        with writing("the verdicts", self.folder), (self.folder / VERDICTS).open("a") as file:
            file.write(json.dumps(as_data(verdict)) + "\n")

    def take_up(self, mutants: Iterable[Mutant]) -> None:
        """Keeps, of what the folder was told before, what became of these mutants when they were tried. NoSpace."""
        path, known = self.folder / VERDICTS, {one.id: one for one in mutants}
        for line in path.read_text().splitlines() if path.exists() else []:
            with suppress(ValueError):  # half a line
                told = json.loads(line)
                if told["id"] in known and told["result"] in _TRIED:
                    self.verdicts.append(_verdict(told, known[told["id"]]))
        with writing("the verdicts", self.folder):
            new = path.with_name(f".{VERDICTS}.new")
            new.write_text("".join(json.dumps(as_data(one)) + "\n" for one in self.verdicts))
            new.replace(path)

    def count(self, verdicts: Sequence[Verdict] | None = None) -> Counter[str]:
        return Counter(one.result for one in (self.verdicts if verdicts is None else verdicts))

    @property
    def exit_code(self) -> int:
        """1 when a mutant went unnoticed that somebody could notice, or was judged otherwise alone; 130: interrupted."""
        if self.untried:
            return _INTERRUPTED
        unlike = any(one.together != one.alone for one in self.alone)
        return int(unlike or any(one.result in _OPEN for one in self.verdicts))


def rate(count: Counter[str]) -> float | None:
    """Killed of all that were tried and could be noticed; None when none was."""
    tried = sum(count[result] for result in _TRIED)
    return count["killed"] / tried if tried else None


def as_data(verdict: Verdict) -> dict[str, Any]:
    """For JSON."""
    data = asdict(verdict)
    return {**data.pop("mutant"), **data}


def _verdict(told: dict[str, Any], mutant: Mutant) -> Verdict:
    """What as_data() told of that mutant."""
    kills, doubts = ([Kill(**one) for one in told[name]] for name in ("kills", "doubts"))
    plain = {name: told[name] for name in ("result", "cases", "seconds", "why")}
    return Verdict(mutant=mutant, kills=kills, doubts=doubts, **plain)
