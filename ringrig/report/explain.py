"""What `rig explain` found, as a kernel developer reads it in ten seconds; the evidence below."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from ringrig.campaign.again import Call, Run
from ringrig.campaign.coverage_counts import Place
from ringrig.campaign.finding import Explained, Finding

_AROUND = 1
"""Lines of source before and behind the deciding one."""
_MORE = 6
FILE = "explain.txt"


def report(explained: Explained) -> int:
    """Prints it, and leaves it in the run folder. The exit code: 1 where neither a line nor a function could be named."""
    text = render(explained)
    (explained.folder / FILE).write_text(text + "\n", encoding="utf-8")
    print(text)
    print(f"run folder: {explained.folder}")
    return int(not explained.finding.function)


def render(explained: Explained) -> str:
    found = explained.finding
    parts = [
        [f"{explained.case}", f"  on {explained.label}{_times(explained.runs)}"],
        ["got", *_indented(_words(explained.runs))],
        ["where", *_indented(_where(explained))],
        _patch(explained),
        _call(found),
        ["evidence", *_indented(_evidence(explained))],
    ]
    return "\n".join("\n".join(part) for part in parts if part)


def _times(runs: tuple[Run, ...]) -> str:
    failed = sum(run.failed for run in runs)
    return f": FLAKY, it fails {failed} times of {len(runs)}" if failed < len(runs) else ""


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _words(runs: tuple[Run, ...]) -> Iterator[str]:
    """What the case itself says: the first lines of its complaint."""
    words = next(run.words for run in runs if run.failed)
    yield from [line.strip() for line in words.splitlines() if line.strip()][:4]


def _where(explained: Explained) -> Iterator[str]:
    found = explained.finding
    if found.place is None and not found.function:
        yield _UNKNOWN
        return
    yield f"{_name(found.place)} {found.function}(): {_happened(explained)}".strip()
    yield from _source(explained, [place for place in (found.place, found.went or found.missed) if place])
    if found.touched:
        yield "this was changed by the patch"
    if len(found.chain) > 1:
        yield f"called by {' > '.join(found.chain)}"


_UNKNOWN = (
    "nothing to point at: in the files that are counted, or the functions that are traced, nothing decided it"
)


def _happened(explained: Explained) -> str:
    """In one sentence, what this run did there and the other did not."""
    found, texts = explained.finding, explained.texts
    if found.how == "errno":
        return f"returned -{found.errno} here"
    if found.how == "trace":
        return f"was the innermost that returned -{found.errno}" if found.errno else "returned last"
    if found.how == "patch":
        return "the runs took the same lines, and what came of it differs: the patch changed this line"
    if found.how == "splat":
        return "the kernel's own complaint names it"
    if found.went is not None and found.went != found.place:
        return (
            f"this run went into `{_text(texts, found.went)}` ({_name(found.went)}), the passing one did not"
        )
    if found.missed is not None and found.missed != found.place:
        return f"the passing run went into `{_text(texts, found.missed)}` ({_name(found.missed)}), this one did not"
    if found.went is not None:
        return "this run executed it, the passing one did not"
    if found.missed is not None:
        return "the passing run executed it, this one did not"
    return "a condition on this line came out otherwise than in the passing run"


def _patch(explained: Explained) -> list[str]:
    """What the patch did by then, where it did not decide itself."""
    found = explained.finding
    if found.touched or not found.changed:
        return []
    lines = [f"  {_name(place)}: {_text(explained.texts, place)}" for place in found.changed[:_MORE]]
    return ["the patch changed, of what was executed by then", *lines]


def _call(found: Finding) -> list[str]:
    if found.call is None:
        return []
    lines = ["call", f"  number {found.number} of the case: {_said(found.call)}"]
    if found.other is not None and found.other.results != found.call.results:
        lines.append(f"  the passing run: {_said(found.other)}")
    return lines


def _evidence(explained: Explained) -> Iterator[str]:
    found = explained.finding
    yield explained.against
    yield from found.evidence
    for other in found.others[:_MORE]:
        led = next(filter(None, (other.went, other.missed)), None)
        yield f"then also {_name(other.place)} {other.function[1]}(){f', {_name(led)}' if led and led != other.place else ''}"
    if len(found.others) > _MORE:
        yield f"and in {len(found.others) - _MORE} more functions"
    calls = next((run.calls for run in explained.runs if run.failed), ())
    for number, call in enumerate(calls[:-1], start=1):
        if not found.number or abs(number - found.number) <= _MORE:
            yield f"{'>' if number == found.number else ' '} {number:3}  {_said(call)}"


def _said(call: Call) -> str:
    taken = ", ".join(f"{_number(res)} flags {flags:#x}" for res, flags in call.cqes[:_MORE])
    more = f", {len(call.cqes) - _MORE} more" if len(call.cqes) > _MORE else ""
    result = "" if call.res is None else f" = {_number(call.res)}"
    return f"{call.name}{result}{f'; completions: {taken}{more}' if taken else ''}"


def _number(value: int) -> str:
    return f"-{errno.errorcode[-value]}" if -value in errno.errorcode else str(value)


def _name(place: Place | None) -> str:
    return f"{place[0]}:{place[1]}" if place is not None else ""


def _text(texts: dict[str, str], place: Place) -> str:
    rows = texts.get(place[0], "").split("\n")
    return rows[place[1] - 1].strip() if 0 < place[1] <= len(rows) else ""


def _source(explained: Explained, places: list[Place]) -> Iterator[str]:
    """The lines with their neighbours, as they stand in the file; the first of them is marked."""
    shown = {(file, number) for file, line in places for number in range(line - _AROUND, line + _AROUND + 1)}
    last = None
    for file, number in sorted(shown, key=lambda one: (one[0] != places[0][0], one)):
        rows = explained.texts.get(file, "").split("\n")
        if not 0 < number <= len(rows):
            continue
        if last is not None and last != (file, number - 1):
            yield "      …"
        last = file, number
        mark = ">" if (file, number) == places[0] else " "
        yield f"  {mark} {number:5}  {rows[number - 1].expandtabs(4)}".rstrip()
