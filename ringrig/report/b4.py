"""A series as b4 wants its checks: JSON for `b4 review`, and for `b4 prep --check` nothing but complaints, one a line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ringrig.cache import Say
from ringrig.campaign import b4_mail
from ringrig.campaign.rows import IDLE, NOTHING, STILL, UNSEEN, Row, Series
from ringrig.errors import RigError
from ringrig.report.matrix import cell
from ringrig.report.series import changed, story, verdict

_TOOL = "ringrig"


def report(arguments: Sequence[str], *, root: Path, say: Say) -> int:
    """Prints what b4 reads; 0 where nothing fails. RigErrors are a check that fails (JSON), or words on standard error."""
    prep = "--b4-prep-check" in arguments
    try:
        # b4 prep takes every line for a complaint, on standard error too.
        series, number = b4_mail.run(arguments, root=root, say=(lambda _: None) if prep else say)
    except RigError as error:
        if prep:
            raise
        print(json.dumps([_check("fail", error.what.partition("\n")[0], str(error))]))
        return error.exit_code
    if number is None:
        print("[]")
        return 0
    own = [row for row in series.patches if number in (0, row.number)]
    rows = own or series.patches[-1:]
    if prep:
        print("".join(f"{line}\n" for row in rows for line in complaints(row)), end="")
        if series.left and not (number and own):
            print(f"ERROR: it was interrupted: rig series --resume {series.folder}")
    else:
        print(json.dumps(checks(series, number), indent=1))
    return int(any(row.bad for row in rows))


def checks(series: Series, number: int) -> list[dict[str, str]]:
    """b4's array: of one patch its row, of a cover letter (0) the whole series and each patch by a name of its own."""
    mine = [_of_row(row) for row in series.patches if row.number == number]
    if mine or series.left:
        return mine or [_check("fail", "it was interrupted", f"rig series --resume {series.folder}")]
    told = list(story(series))
    status = max((_status(row) for row in series.patches), key=("pass", "warn", "fail").index)
    whole = _check(
        status,
        next((line for line in told if not line.startswith(" ")), ""),
        "\n".join([*told, f"\n{series.folder}"]),
    )
    return [whole, *(_of_row(row) | {"tool": f"{_TOOL} {row.number}"} for row in series.patches)]


def complaints(row: Row) -> Iterator[str]:
    """Lines for `b4 prep --check`: it takes one with ERROR: for a failure and any other for a warning."""
    if row.bad:
        yield f"ERROR: {verdict(row)}: {row.words.splitlines()[0] if row.words else ''}"
        yield from (f"ERROR: {name}: {row.faults[name]}" for name in row.breaks)
    elif row.verdict in (STILL, NOTHING, IDLE, UNSEEN):
        yield f"{verdict(row)}: {changed(row)}".rstrip(": ")


def _of_row(row: Row) -> dict[str, str]:
    summary = [
        verdict(row),
        *([cell(Counter(row.count))] if row.count else []),
        *([f"changed lines: {changed(row)}"] if row.lines else []),
    ]
    details = [
        row.words,
        *(f"{name}: {row.faults[name]}" for name in row.faults),
        *(f"mended: {name}" for name in row.mends),
    ]
    return _check(_status(row), "; ".join(summary), "\n".join(details))


def _status(row: Row) -> str:
    doubtful = row.verdict in (STILL, NOTHING, IDLE) or row.flaky or row.exercised == UNSEEN
    return "fail" if row.bad else "warn" if doubtful else "pass"


def _check(status: str, summary: str, details: str) -> dict[str, str]:
    return {"tool": _TOOL, "status": status, "summary": summary, "details": details}
