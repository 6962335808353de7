"""Where two courses part: the one observation that tells a broken kernel from a good one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ringrig.errors import NotReproducible
from ringrig.report.reproduce_course import Completion, Seen, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """After step `at`: `place` says which of its results, completions or stores to memory decides.

    `expression` is looked at, and is `wrong` or `right`, in C.
    """

    at: int
    place: str
    index: int
    what: str
    expression: str
    wrong: str
    right: str


def decide(bad: Sequence[Step], good: Sequence[Step]) -> Verdict:
    """The first difference. NotReproducible: there is none, or the application's own course differs before."""
    for at, (one, other) in enumerate(zip(bad, good, strict=False)):
        if one.refused or other.refused:
            raise NotReproducible(
                f"No C program is made of this case: {one.refused or other.refused}.",
                next_step="take another case that shows the same fault",
            )
        if one.text != other.text:
            raise NotReproducible(
                f"The case goes another way before anything that was recorded differs, at call {at + 1}: "
                f"{' '.join(one.text)[-300:]} on the broken kernel, {' '.join(other.text)[-300:]} on the good one.",
                next_step="the difference is in what is not recorded (/proc, time, another process), or the case is racy",
            )
        found = _difference(at, one, other)
        if found is not None:
            return found
    raise NotReproducible(
        "The case fails, and all that was recorded is as on the good kernel.",
        next_step="what it looks at is not recorded (/proc, counters): write the program by hand",
    )


def same(one: Sequence[Step], other: Sequence[Step]) -> bool:
    """Two recordings of one kernel agree."""
    return len(one) == len(other) and all(
        (a.text, a.results, a.completions, a.memory) == (b.text, b.results, b.completions, b.memory)
        for a, b in zip(one, other, strict=True)
    )


def _difference(at: int, bad: Step, good: Step) -> Verdict | None:
    for index, (one, other) in enumerate(zip(bad.results, good.results, strict=False)):
        if one.expression != other.expression:
            break
        if one != other:
            return _verdict(at, "results", index, one, wrong=one.value, right=other.value)
    if len(bad.results) != len(good.results):
        longer = max(bad.results, good.results, key=len)
        index = min(len(bad.results), len(good.results))
        wrong, right = (steps.results[index].value if steps.results[index:] else "0" for steps in (bad, good))
        return _verdict(at, "results", index, longer[index], wrong=wrong, right=right)
    pairs = zip(bad.completions, good.completions, strict=False)
    for index, (cqe, other_cqe) in enumerate(pairs):
        if cqe != other_cqe:
            return of_completions(at, index, cqe, other_cqe)
    if len(bad.completions) != len(good.completions):
        return _of_counts(at, bad.completions, good.completions)
    return _of_memory(at, bad.memory, good.memory)


def _verdict(at: int, place: str, index: int, seen: Seen, *, wrong: str, right: str) -> Verdict:
    return Verdict(
        at=at, place=place, index=index, what=seen.what, expression=seen.expression, wrong=wrong, right=right
    )


def of_completions(at: int, index: int, bad: Completion, good: Completion) -> Verdict:
    return Verdict(
        at=at,
        place="completions",
        index=index,
        what="the completion",
        expression=f"&{bad.ring}",
        wrong=bad.literal,
        right=good.literal,
    )


def _of_counts(at: int, bad: Sequence[Completion], good: Sequence[Completion]) -> Verdict:
    index = min(len(bad), len(good))
    ring = (bad[index:] or good[index:])[0].ring
    return Verdict(
        at=at,
        place="count",
        index=index,
        what="completions that are left",
        expression=f"completions(&{ring})",
        wrong=str(len(bad) - index),
        right=str(len(good) - index),
    )


def _of_memory(at: int, bad: Sequence[Seen], good: Sequence[Seen]) -> Verdict | None:
    wrote = [{one.expression: one for one in seen} for seen in (bad, good)]
    for expression in dict.fromkeys([*wrote[0], *wrote[1]]):
        wrong, right = (found.get(expression) for found in wrote)
        one = wrong or right
        assert one is not None
        if wrong is None or right is None or wrong.value != right.value:
            return _verdict(
                at,
                "memory",
                0,
                one,
                wrong=wrong.value if wrong else one.before,
                right=right.value if right else one.before,
            )
    return None
