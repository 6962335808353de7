"""The source with each line's mutants and what noticed them: one page, without anything from elsewhere."""

from __future__ import annotations

from collections import defaultdict
from html import escape

from ringrig.campaign.mutants import ORIGINS
from ringrig.campaign.result import RESULTS, Campaign, rate
from ringrig.campaign.trial import Verdict

_STYLE = """
:root { color-scheme: light dark; --killed: #2a7d2a; --open: #c02626; --apart: #777; --line: #8884; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem; }
table { border-collapse: collapse; } td, th { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid var(--line); }
td:first-child, th:first-child { text-align: left; }
.wide { overflow-x: auto; }
pre { font: 13px/1.5 ui-monospace, monospace; margin: 0; tab-size: 8; }
details { border-left: .3rem solid var(--line); padding-left: .4rem; }
details.killed { border-color: var(--killed); } details.open { border-color: var(--open); } details.apart { border-color: var(--apart); }
summary { cursor: pointer; white-space: pre; overflow-x: auto; font: 13px/1.5 ui-monospace, monospace; tab-size: 8; }
summary:focus-visible { outline: 2px solid Highlight; }
.count { display: inline-block; min-width: 4.5rem; font-size: 11px; }
li { margin: .3rem 0; overflow-wrap: anywhere; } code { font: 13px ui-monospace, monospace; }
.survived, .unreached, .flaky { color: var(--open); } .killed { color: var(--killed); }
.equivalent, .needs, .stale, .refused { color: var(--apart); }
"""
_OPEN = ("survived", "unreached", "flaky")


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
    parts = [_file(campaign, file, by_place) for file in files]
    links = " · ".join(f'<a href="#{escape(file)}">{escape(file)}</a>' for file in files)
    title = f"Mutants of {escape(campaign.label)}"
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style>\n<h1>{title}</h1>\n"
        f"<p>{len(campaign.baseline.reached)} cases pass on the unchanged kernel. A line with mutants opens; green: all of its "
        f"mutants are noticed, red: some are not.</p>\n{_table(campaign)}\n{_open_ones(campaign)}\n<p>{links}</p>\n"
        f"{''.join(parts)}</html>\n"
    )


def _table(campaign: Campaign) -> str:
    head = "".join(f"<th>{name}" for name in ("origin", "mutants", *RESULTS, "kill rate"))
    rows = []
    for origin in ORIGINS:
        those = [one for one in campaign.verdicts if one.mutant.origin == origin]
        if those:
            count, killed = campaign.count(those), rate(campaign.count(those))
            cells = "".join(f"<td>{count[result] or ''}" for result in RESULTS)
            shown = "" if killed is None else f"{100 * killed:.1f} %"
            rows.append(f"<tr><td>{origin}<td>{len(those)}{cells}<td>{shown}")
    return f'<div class="wide"><table><tr>{head}{"".join(rows)}</table></div>'


def _open_ones(campaign: Campaign) -> str:
    those = [one for one in campaign.verdicts if one.result in _OPEN]
    if not those:
        return "<h2>Nothing survived</h2>"
    items = "".join(map(_item, those))
    return f"<h2>Not noticed: {len(those)}</h2><details class=open><summary>all of them</summary><ul>{items}</ul></details>"


def _file(campaign: Campaign, file: str, by_place: dict[tuple[str, int], list[Verdict]]) -> str:
    out, plain = [f'<h2 id="{escape(file)}">io_uring/{escape(file)}</h2>\n'], []
    whole = file.startswith("kbuf")
    near = {line + around for name, line in by_place if name == file for around in range(-3, 4)}
    for number, text in enumerate(campaign.texts[file].splitlines(), start=1):
        those = by_place.get((file, number), [])
        if not those and not whole and number not in near:
            continue
        if not those:
            plain.append(f"{'':10}{number:5}  {escape(text)}\n")
            continue
        out.append(f"<pre>{''.join(plain)}</pre>")
        plain = []
        tried = [one for one in those if one.result not in ("equivalent", "needs", "stale", "refused")]
        killed = sum(one.result == "killed" for one in tried)
        state = "apart" if not tried else "killed" if killed == len(tried) else "open"
        count = f"{killed}/{len(tried)}" if tried else "-"
        out.append(
            f'<details class="{state}"><summary><span class=count>{count}</span>{number:5}  {escape(text)}</summary>'
            f"<ul>{''.join(map(_item, those))}</ul></details>\n"
        )
    out.append(f"<pre>{''.join(plain)}</pre>")
    return "".join(out)


def _item(one: Verdict) -> str:
    edit = one.mutant.edits[0]
    change = f"{' '.join(edit.original.split())} → {' '.join(edit.mutated.split()) or '(gone)'}"
    noticed = "".join(
        f"<br><code>{escape(kill.case)}</code> ({kill.times} of {kill.tries}, {escape(kill.how)}: {escape(kill.what)})"
        for kill in (*one.kills, *one.doubts)
    )
    about = escape(one.why or one.mutant.note)
    return (
        f'<li><b class="{one.result}">{one.result}</b> <b>{escape(one.mutant.id)}</b> ({one.mutant.origin}, '
        f"{one.cases} cases reach it)<br><code>{escape(change)}</code><br>{about}{noticed}"
    )
