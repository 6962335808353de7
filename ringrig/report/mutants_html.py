"""The source with each line's mutants and what noticed them: one page, without anything from elsewhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from html import escape

from ringrig.campaign.mutants import ORIGINS
from ringrig.campaign.result import RESULTS, Campaign, rate
from ringrig.campaign.trial import Verdict

_STYLE = """
:root { color-scheme: light dark; --killed: #1a7f37; --open: #c02626; --apart: #6a6a6a; --line: #8884; }
@media (prefers-color-scheme: dark) { :root { --killed: #4ac26b; --open: #ff7b72; --apart: #9a9a9a; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; } td, th { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid var(--line); }
td:first-child, th:first-child { text-align: left; }
.wide { overflow-x: auto; } .source { min-width: max-content; }
pre, summary, code { font: 13px/1.5 ui-monospace, monospace; tab-size: 8; } pre { margin: 0; padding-left: .7rem; }
details { border-left: .3rem solid var(--line); padding-left: .4rem; }
details.killed { border-color: var(--killed); } details.open { border-color: var(--open); } details.apart { border-color: var(--apart); }
summary { cursor: pointer; white-space: pre; list-style: none; } summary::-webkit-details-marker { display: none; }
summary:hover { background: var(--line); } summary:focus-visible, a:focus-visible { outline: 2px solid; outline-offset: -2px; }
.number { color: var(--apart); } .count { display: inline-block; width: 4.5rem; font-size: 11px; }
.killed .count { color: var(--killed); } .open .count { color: var(--open); }
ul { position: sticky; left: 0; width: min(68rem, 100vw - 3rem); box-sizing: border-box; padding-left: 1.5rem; }
li { margin: .3rem 0; overflow-wrap: anywhere; }
.survived, .unreached, .flaky { color: var(--open); } li .killed { color: var(--killed); }
.equivalent, .needs, .stale, .refused { color: var(--apart); }
@media (max-width: 40rem) { pre, summary { font-size: 11px; tab-size: 4; } .count { width: 3rem; } }
"""
_OPEN = ("survived", "unreached", "flaky")
_ABSENT = ("refused", "stale")


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
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style>\n<h1>{title}</h1>\n"
        f"<p>{len(campaign.baseline.reached)} cases pass on the unchanged kernel. A line with mutants opens, and says how many "
        f"of those that were tried are noticed.</p>\n{_table(campaign)}\n"
        f"{_listed(campaign, 'Not noticed', _OPEN) or '<h2>Nothing survived</h2>'}\n"
        f"{_listed(campaign, 'Not in the kernel', _ABSENT)}\n<p>{links}</p>\n"
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


def _listed(campaign: Campaign, title: str, results: Collection[str]) -> str:
    those = [one for one in campaign.verdicts if one.result in results]
    if not those:
        return ""
    kind = "open" if results is _OPEN else "apart"
    return (
        f'<h2>{title}: {len(those)}</h2><details class="{kind}"><summary>show all of them</summary>'
        f"<ul>{''.join(map(_item, those))}</ul></details>"
    )


def _file(campaign: Campaign, file: str, by_place: dict[tuple[str, int], list[Verdict]]) -> str:
    out = [f'<h2 id="{escape(file)}">io_uring/{escape(file)}</h2>\n<div class="wide"><div class="source">']
    whole, last = file.startswith("kbuf"), 0
    near = {line + around for name, line in by_place if name == file for around in range(-3, 4)}
    plain: list[str] = []
    for number, text in enumerate(campaign.texts[file].split("\n"), start=1):
        if not whole and number not in near:
            continue
        if number > last + 1:
            plain.append('<span class="number">…</span>\n')
        last = number
        line = f'<span class="number">{number:5}</span>  {escape(text)}'
        if those := by_place.get((file, number)):
            out.append(f"<pre>{''.join(plain)}</pre>{_opening(line, those)}")
            plain = []
        else:
            plain.append(f'<span class="count"></span>{line}\n')
    return "".join([*out, f"<pre>{''.join(plain)}</pre></div></div>\n"])


def _opening(line: str, those: Sequence[Verdict]) -> str:
    """A line that opens and shows its mutants."""
    tried = [one for one in those if one.result in ("killed", *_OPEN)]
    killed = sum(one.result == "killed" for one in tried)
    state = "apart" if not tried else "killed" if killed == len(tried) else "open"
    count = f"{killed}/{len(tried)}" if tried else "-"
    return (
        f'<details class="{state}"><summary><span class="count">{count}</span>{line}</summary>'
        f"<ul>{''.join(map(_item, those))}</ul></details>\n"
    )


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
