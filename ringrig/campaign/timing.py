"""Where the seconds of a job went, as its run folder shows them."""

from __future__ import annotations

import json
from datetime import datetime

from ringrig.campaign.job import Result
from ringrig.plugin.record import results


def seconds_of(result: Result, build: float) -> dict[str, float]:
    """build (as given), boot (first guest begun → first case begun), cases (until the last ended), and the rest of the job."""
    began = json.loads((result.folder / "run.json").read_text())["began"]
    start = datetime.fromisoformat(began).timestamp()  # a guest that is older is of a run that was ended
    begun = [
        at for file in result.folder.glob("guests/*/guest.json") if (at := file.stat().st_mtime) >= start
    ]
    ended = [(told["at"], told["seconds"]) for told in results(result.folder) if "at" in told]
    first = min((at - seconds for at, seconds in ended), default=0.0)
    boot = max(first - min(begun), 0.0) if begun and ended else 0.0
    cases = max(at for at, _ in ended) - first if ended else 0.0
    rest = max(result.seconds - boot - cases, 0.0)
    return {
        name: round(value, 1)
        for name, value in (("build", build), ("boot", boot), ("cases", cases), ("rest", rest))
    }
