"""What a series came to, on the terminal and as the words for a cover letter; series.json is written while it runs."""

from __future__ import annotations

import shlex
import subprocess
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from ringrig.cache import writing
from ringrig.campaign.exercised import Lines
from ringrig.campaign.rows import BREAKS, IDLE, MENDS, NO_BOOT, NO_BUILD, STILL, UNSEEN, Row, Series, latest
from ringrig.errors import NothingRan
from ringrig.report import command, folder, terminal
from ringrig.report.compare import listed, named
from ringrig.report.matrix import LEGEND, cell
from ringrig.report.page import ranges

_SHOWN = 8
_COLUMNS = 72
_WIDE = 110
"""From so many columns on the table has room for subjects."""
_TIMES = ("build", "boot", "cases", "again", "rest")
_WORDS = {
    "passed": "passed",
    "failed": "failed",
    "error": "with an error",
    "xfailed": "known",
    "skipped": "left out",
}
_COLOURS = {BREAKS: "red", NO_BUILD: "red", NO_BOOT: "red", STILL: "yellow", MENDS: "green", "ok": "green"}


def report(series: Series) -> int:
    """Prints the table, what breaks and mends what, and the words for a cover letter, which tested-by.txt keeps.

    Writes report.html; returns the exit code.
    """
    console = terminal.console()
    words = tested_by(series)
    console.print(_head(series), markup=False)
    wide = console.width >= _WIDE
    for row in () if wide else series.patches:
        console.print(f"  {row.number}  {row.subject}", markup=False)
    console.print(_table(series, subjects=wide))
    console.print(LEGEND, markup=False)
    console.print(
        "seconds: build + boot + cases + what was run again, if anything + the rest\n", markup=False
    )
    for line in (*story(series), *_others(series)):
        console.print(line, markup=False)
    for number in series.left:
        console.print(f"not run: patch {number}", markup=False)
    if series.patches and not series.left:
        with writing("the report", series.folder):
            (series.folder / "tested-by.txt").write_text(words)
        console.print(f"\nFor the cover letter ({series.folder}/tested-by.txt):\n", markup=False)
        console.print(textwrap.indent(words, "    "), markup=False)
    if series.rows:
        page = command.write_page(folder.read(series.folder))
        console.print(f"{page}, series.json; beside them each kernel's run folder", markup=False)
    return series.exit_code


def _head(series: Series) -> str:
    given = series.given
    revision = f"v{given.revision}, " if given.revision > 1 else ""
    return (
        f"\n{given.title} ({revision}{_many(len(given.patches), 'patch', 'patches')}) on {series.label or series.base}\n"
        f"base: {series.why}\n"
        f"cases: {' '.join(series.suites)}; {series.seconds:.0f} s"
    )


def _table(series: Series, *, subjects: bool) -> Table:
    table = Table(box=SIMPLE)
    table.add_column("#", justify="right", no_wrap=True)
    if subjects:
        table.add_column("patch", max_width=52)
    table.add_column("verdict", no_wrap=True)
    table.add_column("cases")
    table.add_column("changed lines", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    for row in series.rows:
        colour = _COLOURS.get(row.verdict, "yellow")
        table.add_row(
            str(row.number) if row.number else "–" if subjects else "base",
            *([escape(row.subject) if row.number else "base"] if subjects else ()),
            f"[{colour}]{verdict(row)}[/]" if row.verdict else "",
            cell(Counter(row.count)) if row.count else "",
            changed(row),
            _seconds(row),
        )
    return table


def _seconds(row: Row) -> str:
    return "+".join(f"{row.seconds[name]:.0f}" for name in _TIMES if name in row.seconds)


def verdict(row: Row) -> str:
    """In a few words: "BREAKS 5", "mends 5, 2 left", "ok"."""
    left = f", {len(row.faults)} left" if row.faults and row.verdict == MENDS else ""
    number = {BREAKS: len(row.breaks), MENDS: len(row.mends), STILL: len(row.faults)}.get(row.verdict)
    word = row.verdict.upper() if row.bad else row.verdict
    return f"{word}{f' {number}' if number else ''}{left}"


def changed(row: Row) -> str:
    """How many of its changed lines ran: "12 of 16 ran", or why that is not known."""
    lines = row.lines
    if lines is None:
        return ""
    ran, *others = [sum(map(len, numbers.values())) for numbers in (lines.ran, lines.idle, lines.uncompiled)]
    return f"{ran} of {ran + sum(others)} ran" if ran + sum(others) else row.exercised


def story(series: Series) -> Iterator[str]:
    """Which patch is the first that breaks something, what, and which one mends it."""
    for row in series.patches:
        name = f"Patch {row.number}" if not series.only_tip else "The series"
        doubt = (
            f" (or patch {', '.join(map(str, row.unknown_before))}, which has no verdict)"
            if row.unknown_before
            else ""
        )
        if row.verdict in (NO_BUILD, NO_BOOT):
            yield f"{name} {row.verdict}: {row.subject}"
            yield textwrap.indent(row.words, "    ")
        if row.breaks:
            first = " (nothing broke before)" if row is series.first_bad and not series.only_tip else ""
            yield f"{name} breaks {_many(len(row.breaks), 'case')}{first}{doubt}: {row.subject}"
            yield from named(row.breaks, row.faults, shown=_SHOWN)
            case, *_ = row.new_splats.get(row.breaks[0], row.breaks)
            yield f"    repeat: rig run {shlex.join([*row.arguments, case])}"
        if row.mends:
            left = f"; {len(row.faults)} stay broken" if row.faults else "; nothing stays broken"
            yield f"{name} mends {_many(len(row.mends), 'case')}{doubt}{left}: {row.subject}"
    if series.exit_code == NothingRan.exit_code:
        yield "No case ran: that is no pass."
    elif series.patches and series.exit_code == 0:
        yield "Nothing breaks."


def _others(series: Series) -> Iterator[str]:
    """What is worth knowing beside: flaky cases, what got better, what of the patches did not run."""
    if series.base_failing:
        yield f"failing on the base already: {len(series.base_failing)}"
        yield from named(list(series.base_failing), series.base_failing, shown=_SHOWN)
    yield from _list("flaky on the base (failed, and passed when run again)", series.base_flaky)
    flaky = {name: f"with patch {row.number}" for row in series.patches for name in row.flaky}
    if flaky:
        yield f"flaky (failed, and passed when run again): {len(flaky)}"
        yield from named(list(flaky), flaky, shown=_SHOWN)
    yield from _gains([row for row in series.patches if row.known])
    if (tip := latest(series.patches)) and not tip.faults:
        yield from _list(f"left out with patch {tip.number} only", tip.newly_skipped)
    for row in series.patches:
        if row.exercised in (IDLE, UNSEEN):
            yield f"Patch {row.number} is {row.exercised}: none of its changed lines is known to have run."
        if row.lines is not None:
            yield from _missing(row.number, row.lines)


def _gains(rows: Sequence[Row]) -> Iterator[str]:
    """What passes or runs and did not on the base, each with the patch that it comes with."""
    for name, words in (("newly_passing", "newly passing"), ("newly_run", "newly run")):
        before: set[str] = set()
        for row in rows:
            now: list[str] = getattr(row, name)
            yield from _list(f"{words} with patch {row.number}", [one for one in now if one not in before])
            before = set(now)


def _missing(number: int, lines: Lines) -> Iterator[str]:
    for word, those in (("did not run", lines.idle), ("not compiled", lines.uncompiled)):
        if those:
            places = "; ".join(f"{name}:{ranges(numbers)}" for name, numbers in those.items())
            yield f"patch {number}, {word}: {places}"
    if lines.unmeasured:
        yield f"patch {number}, not measured: {', '.join(lines.unmeasured)}"


def _list(words: str, names: Sequence[str]) -> Iterator[str]:
    return listed(words, names, {}, shown=_SHOWN)


def tested_by(series: Series) -> str:
    """The words for a cover letter: plain text of at most 72 columns, and a Tested-by where nothing breaks."""
    lines: list[str] = []
    suites = ", ".join(series.suites)
    how = "the whole series at once" if series.only_tip else "each patch"
    lines += _wrapped(f"Tested with ringrig {series.suite} on {series.label}, {how}: {suites}.")
    lines.append("")
    for row in series.rows:
        name = "base" if not row.number else f"{row.number}/{len(series.given.patches)}"
        count = row.count
        told = [f"{count[key]} {word}" for key, word in _WORDS.items() if count.get(key)]
        note = f" ({verdict(row)})" if row.verdict not in ("", "ok") else ""
        lines += _wrapped(f"{name}: {', '.join(told) or 'nothing ran'}{note}", hanging="     ")
    if series.exit_code == 0:
        lines += ["", f"Tested-by: {_who()}"]
    elif (first := series.first_bad) is not None:
        lines += ["", *_wrapped(f"First trouble: patch {first.number}, {first.subject}")]
    return "\n".join(lines) + "\n"


def _wrapped(text: str, *, hanging: str = "") -> list[str]:
    return textwrap.wrap(text, _COLUMNS, subsequent_indent=hanging, break_long_words=True)


def _who() -> str:
    parts = [_asked(["git", "config", f"user.{name}"]) for name in ("name", "email")]
    return f"{parts[0]} <{parts[1]}>" if all(parts) else "Your Name <you@example.com>"


def _asked(command: Iterable[str]) -> str:
    done = subprocess.run(list(command), capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _many(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or f'{one}s'}"
