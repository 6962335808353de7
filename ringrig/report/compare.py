"""Two runs compared, on the terminal: one group a kind of difference, with the cases and their words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ringrig.campaign.compare import Comparison, Ran
from ringrig.campaign.job import Case

_SHOWN = 12
_GROUPS = {
    "newly_failing": "newly failing",
    "newly_skipped": "newly skipped",
    "not_run": "not run any more",
    "newly_passing": "newly passing",
    "newly_run": "newly run",
    "still_failing": "failing in both",
}


def report(found: tuple[Ran, Ran, Comparison]) -> int:
    """Prints it; 1 where the second run is worse."""
    first, second, comparison = found
    print(f"first:   {first.verdict}\nsecond:  {second.verdict}")
    lines = list(groups(comparison, second.cases))
    print("\n".join(["", *lines] if lines else ["", "no difference"]))
    return int(comparison.worse)


def groups(comparison: Comparison, cases: Mapping[str, Case], *, shown: int = _SHOWN) -> Iterator[str]:
    """The lines that say it: `cases` are those of the second run."""
    for name, words in _GROUPS.items():
        names: Sequence[str] = getattr(comparison, name)
        yield from listed(words, names, cases, shown=shown)
    for what, suspects in comparison.new_splats.items():
        yield f"new splat: {what}"
        yield from (f"    {one}" for one in suspects[:shown])


def listed(
    words: str, names: Sequence[str], cases: Mapping[str, Case], *, shown: int = _SHOWN
) -> Iterator[str]:
    """A heading with how many, then the first of them with why."""
    if names:
        yield f"{words}: {len(names)}"
        yield from named(names, {name: cases[name].why for name in names if name in cases}, shown=shown)


def named(names: Sequence[str], why: Mapping[str, str], *, shown: int) -> Iterator[str]:
    """The first of them, each with its reason's first line where it has one."""
    for name in names[:shown]:
        yield f"    {name}"
        if words := why.get(name, "").strip():
            yield f"        {words.splitlines()[0][:160]}"
    if len(names) > shown:
        yield f"    … and {len(names) - shown} more"
