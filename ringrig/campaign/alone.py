"""Mutants built as kernels of their own and run by plain `rig run`: do they get the same verdict, and how much longer does it take?"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ringrig.cache import Say
from ringrig.campaign.result import Alone, Campaign
from ringrig.campaign.trial import Verdict
from ringrig.errors import GuestLost

_TESTS_FAILED = 1


def compare(
    campaign: Campaign, count: int, *, paths: Sequence[str], guests: int, root: Path, say: Say
) -> list[Alone]:
    """`count` of the mutants that were tried, spread evenly over killed and survived ones."""
    tried = [one for one in campaign.verdicts if one.result in ("killed", "survived", "unreached")]
    tried.sort(key=lambda one: (one.result, one.mutant.id))
    step = max(len(tried) / count, 1.0)
    picked = [tried[int(at * step)] for at in range(min(count, len(tried)))]
    found = []
    for number, verdict in enumerate(picked, start=1):
        found.append(_alone(campaign, verdict, paths, guests, root))
        one = found[-1]
        say(
            f"alone, {number} of {len(picked)}: {one.id}: {one.alone} ({one.together} before) in {one.seconds:.0f} s"
        )
    return found


def _alone(campaign: Campaign, verdict: Verdict, paths: Sequence[str], guests: int, root: Path) -> Alone:
    began = time.monotonic()
    patch = campaign.folder / "patches" / f"{verdict.mutant.id}.patch"
    words = ["run", *campaign.rerun, f"--patch={patch}", "-x", "-q", "-n", str(guests), *paths]
    done = subprocess.run(
        [sys.executable, "-m", "ringrig.cli", *words], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, _TESTS_FAILED, 2):  # xdist ends with 2 where -x stops it
        raise GuestLost(
            f"`rig {' '.join(words)}` ended with {done.returncode}: {done.stderr[-600:]}",
            next_step="run it by hand",
        )
    together = "killed" if verdict.result == "killed" else "survived"
    return Alone(
        id=verdict.mutant.id,
        together=together,
        alone="survived" if done.returncode == 0 else "killed",
        seconds=round(time.monotonic() - began, 1),
    )
