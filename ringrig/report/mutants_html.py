"""The source with each line's mutants and what noticed them: one page, without anything from elsewhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from ringrig.campaign.mutants import ORIGINS
from ringrig.campaign.result import RESULTS, Campaign, rate
from ringrig.campaign.trial import Verdict
from ringrig.report.page import render

_OPEN = ("survived", "unreached", "flaky")
_ABSENT = ("refused", "stale")
_AROUND = 3
"""Lines shown about a mutant, but of kbuf's files, which are shown whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A line of a source; `gap`: lines before it are left out. `count`: mutants noticed of those tried."""

    number: int
    text: str
    gap: bool = False
    mutants: Sequence[Verdict] = field(default=())
    state: str = ""
    count: str = ""


def page(campaign: Campaign) -> str:
    """HTML of a whole campaign."""
    by_place: dict[tuple[str, int], list[Verdict]] = defaultdict(list)
    verdicts = {one.mutant.id: one for one in campaign.verdicts}
    for file, spots in campaign.spots.items():
        for spot in spots:
            line = campaign.texts[file].count("\n", 0, spot.start) + 1
            verdict = verdicts.get(campaign.ids[spot.number])
            if verdict is not None and verdict not in by_place[file, line]:
                by_place[file, line].append(verdict)
    files = sorted(campaign.spots, key=lambda file: (not file.startswith("kbuf"), file))
    return render(
        "mutants.html",
        title=f"Mutants of {campaign.label}",
        cases=len(campaign.baseline.reached),
        results=RESULTS,
        rows=_rows(campaign),
        lists=[
            (title, kind, those)
            for title, kind, results in (
                ("Not noticed", "open", _OPEN),
                ("Not in the kernel", "apart", _ABSENT),
            )
            if (those := [one for one in campaign.verdicts if one.result in results])
        ],
        clean=not any(one.result in _OPEN for one in campaign.verdicts),
        files={file: _lines(campaign, file, by_place) for file in files},
    )


def _rows(campaign: Campaign) -> list[list[str]]:
    """Of the table: an origin, its mutants by result, and the share that was noticed."""
    rows = []
    for origin in ORIGINS:
        those = [one for one in campaign.verdicts if one.mutant.origin == origin]
        if those:
            count, killed = campaign.count(those), rate(campaign.count(those))
            share = "" if killed is None else f"{100 * killed:.1f} %"
            rows.append([origin, str(len(those)), *(str(count[name] or "") for name in RESULTS), share])
    return rows


def _lines(campaign: Campaign, file: str, by_place: dict[tuple[str, int], list[Verdict]]) -> list[_Line]:
    near = {
        line + around for name, line in by_place if name == file for around in range(-_AROUND, _AROUND + 1)
    }
    shown: list[_Line] = []
    for number, text in enumerate(campaign.texts[file].split("\n"), start=1):
        if file.startswith("kbuf") or number in near:
            gap = number > (shown[-1].number if shown else 0) + 1
            shown.append(_line(number, text, gap, by_place.get((file, number), ())))
    return shown


def _line(number: int, text: str, gap: bool, mutants: Sequence[Verdict]) -> _Line:
    tried = [one for one in mutants if one.result in ("killed", *_OPEN)]
    killed = sum(one.result == "killed" for one in tried)
    return _Line(
        number=number,
        text=text,
        gap=gap,
        mutants=mutants,
        state="apart" if not tried else "killed" if killed == len(tried) else "open",
        count=f"{killed}/{len(tried)}" if tried else "-",
    )
