"""What a mutation campaign says: a table on the terminal, mutants.json and mutants.html in its run folder."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ringrig import cache
from ringrig.campaign.mutants import ORIGINS
from ringrig.campaign.result import RESULTS, Campaign, as_data, rate
from ringrig.report.mutants_html import page

_SHOWN = 60
"""Mutants that a list on the terminal names; the files have all."""


def report(campaign: Campaign) -> int:
    """Writes the files and prints the tables; returns the exit code."""
    with cache.writing("the report", campaign.folder):
        (campaign.folder / "mutants.json").write_text(json.dumps(_data(campaign), indent=1) + "\n")
        (campaign.folder / "mutants.html").write_text(page(campaign))
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(campaign))
    for result, title in (
        ("survived", "survived: no case notices"),
        ("unreached", "unreached: no case gets there"),
        ("flaky", "flaky: noticed, but not every time"),
        ("refused", "refused: does not compile"),
        ("stale", "stale: its text is gone from this source"),
    ):
        _list(console, campaign, result, title)
    _list_surprises(console, campaign)
    kills = Counter(one.kills[0].how for one in campaign.verdicts if one.kills)
    if kills:
        console.print("killed by " + ", ".join(f"{how} {count}" for how, count in kills.most_common()))
    _tell_times(console, campaign)
    console.print(
        f"{campaign.folder}/mutants.html, mutants.json; patches/ has each mutant for `rig run --patch`"
    )
    return campaign.exit_code


def _table(campaign: Campaign) -> Table:
    """A column for each origin: that fits into 80 characters."""
    by_origin = {
        origin: [one for one in campaign.verdicts if one.mutant.origin == origin] for origin in ORIGINS
    }
    columns = {origin: those for origin, those in by_origin.items() if those} | {"all": campaign.verdicts}
    counts = [campaign.count(those) for those in columns.values()]
    table = Table(title=escape(f"mutants of {campaign.label}"), title_justify="left", box=SIMPLE)
    table.add_column("", no_wrap=True)
    for origin in columns:
        table.add_column(origin, justify="right", no_wrap=True)
    table.add_row("mutants", *(str(len(those)) for those in columns.values()))
    for result in RESULTS:
        if campaign.count()[result]:
            table.add_row(result, *(str(count[result] or "") for count in counts))
    rates = [rate(count) for count in counts]
    table.add_row("kill rate", *("-" if one is None else f"{100 * one:.1f} %" for one in rates))
    return table


def _list(console: Console, campaign: Campaign, result: str, title: str) -> None:
    those = [one for one in campaign.verdicts if one.result == result]
    if not those:
        return
    console.print(f"\n{title} ({len(those)})", markup=False)
    for one in those[:_SHOWN]:
        doubts = "; ".join(f"{kill.case} {kill.times} of {kill.tries}" for kill in one.doubts)
        about = one.why or doubts or one.mutant.note
        console.print(f"  {one.mutant.id}: {about} [{one.cases} cases]", markup=False)
    if len(those) > _SHOWN:
        console.print(f"  … and {len(those) - _SHOWN} more, in mutants.json")


def _list_surprises(console: Console, campaign: Campaign) -> None:
    for one in campaign.verdicts:
        if one.kills and one.mutant.equivalent:
            console.print(
                f"  {one.mutant.id} is called equivalent, and is noticed by {one.kills[0].case}", markup=False
            )
        if any(kill.leaks for kill in one.kills):
            console.print(
                f"  {one.mutant.id} leaves something behind in the kernel after {one.kills[0].case}",
                markup=False,
            )


def _tell_times(console: Console, campaign: Campaign) -> None:
    tried = [one for one in campaign.verdicts if one.cases]
    cases, left_out = len(campaign.baseline.reached), len(campaign.baseline.left_out)
    console.print(
        f"\n{cases} cases pass on mutant 0, or fail as is known ({left_out} left out) in {campaign.baseline_seconds:.0f} s; "
        f"{len(tried)} mutants in {campaign.judging_seconds:.0f} s, {campaign.boots} guests ({campaign.guest}); "
        f"{campaign.seconds:.0f} s in all",
        markup=False,
    )
    if campaign.untried:
        console.print(
            f"interrupted: {campaign.untried} mutants were not tried; go on with: rig mutate --resume {campaign.folder}",
            markup=False,
        )
    if campaign.alone:
        each = sum(one.seconds for one in campaign.alone) / len(campaign.alone)
        together = campaign.judging_seconds / max(len(tried), 1)
        unlike = [one for one in campaign.alone if one.together != one.alone]
        console.print(
            f"alone: {len(campaign.alone)} mutants as kernels of their own take {each:.1f} s each, together {together:.2f} s: "
            f"{each / together:.0f} times as many an hour; {len(unlike)} verdicts differ",
            markup=False,
        )
        for one in unlike:
            console.print(f"  {one.id}: {one.together} together, {one.alone} alone", markup=False)


def _data(campaign: Campaign) -> dict[str, object]:
    return {
        "kernel": campaign.label,
        "guest": campaign.guest,
        "seconds": campaign.seconds,
        "baseline seconds": campaign.baseline_seconds,
        "judging seconds": campaign.judging_seconds,
        "guests": campaign.boots,
        "not tried": campaign.untried,
        "cases": len(campaign.baseline.reached),
        "left out": campaign.baseline.left_out,
        "rates": {
            origin: rate(campaign.count([one for one in campaign.verdicts if one.mutant.origin == origin]))
            for origin in ORIGINS
        },
        "results": campaign.count(),
        "alone": [asdict(one) for one in campaign.alone],
        "mutants": [as_data(one) for one in campaign.verdicts],
    }
