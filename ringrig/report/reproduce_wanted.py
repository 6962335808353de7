"""Where no good kernel is at hand: what the case compared says which observation is wrong, and what it had to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ringrig.errors import NotReproducible
from ringrig.report import reproduce_names as names
from ringrig.report.reproduce_course import Completion, Seen, Step
from ringrig.report.reproduce_judge import Verdict, of_completions
from ringrig.uring import consts as c


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """Something the case found, and what it wanted in its place: None where there was to be nothing."""

    got: Any
    want: Any


def as_wanted(steps: Sequence[Step], compared: Sequence[Mapping[str, Any]]) -> Verdict:
    """The last observation that is what the case found wrong. NotReproducible: none is."""
    for one in compared:
        for pair in _pairs(one["left"], one["right"]):
            if (found := _find(steps, pair)) is not None:
                return _before_any_refusal(steps, found)
    raise NotReproducible(
        "What the case found wrong is not one observation of the recording.",
        next_step="name a kernel without the fault with --good: the first difference then decides",
    )


def _before_any_refusal(steps: Sequence[Step], verdict: Verdict) -> Verdict:
    for step in steps[: verdict.at + 1]:
        if step.refused:
            raise NotReproducible(
                f"No C program is made of this case: {step.refused}.",
                next_step="take another case that shows the same fault",
            )
    return verdict


def _pairs(left: Any, right: Any) -> Iterator[_Pair]:
    """What differs, piece by piece: replies, CQEs and entries are pieces, and so are numbers."""
    if left == right:
        return
    kinds = (
        left.get("type") if isinstance(left, dict) else None,
        right.get("type") if isinstance(right, dict) else None,
    )
    if kinds[0] in {"Reply", "Cqe"} or kinds[1] in {"Reply", "Cqe"}:
        yield _Pair(got=left, want=right)
    elif isinstance(left, dict) and isinstance(right, dict):
        for name in left:
            if name in right:
                yield from _pairs(left[name], right[name])
    elif isinstance(left, list) and isinstance(right, list):
        for one, other in zip(left, right, strict=False):
            yield from _pairs(one, other)
        longer, shorter = (left, right) if len(left) > len(right) else (right, left)
        if len(longer) != len(shorter) and longer is left:
            yield _Pair(got=left[len(right)], want=None)
    else:
        yield _Pair(got=left, want=right)


def _find(steps: Sequence[Step], pair: _Pair) -> Verdict | None:
    for at in range(len(steps) - 1, -1, -1):
        for index, cqe in enumerate(steps[at].completions):
            right = _other_completion(cqe, pair)
            if right is not None:
                return of_completions(at, index, cqe, right)
        for place in ("results", "memory"):
            seen: list[Seen] = getattr(steps[at], place)
            for index, one in enumerate(seen):
                if (value := _other_value(one, pair)) is not None:
                    return Verdict(
                        at=at,
                        place=place,
                        index=index,
                        what=one.what,
                        expression=one.expression,
                        wrong=one.value,
                        right=value,
                    )
    return None


def _other_completion(cqe: Completion, pair: _Pair) -> Completion | None:
    """What the CQE had to be, if it is the one that was found."""
    got, want = pair.got, pair.want
    if isinstance(got, dict) and isinstance(want, dict):
        if _res_and_flags(got) != (cqe.res, cqe.flags & ~_ignored(got)):
            return None
        res, flags = _res_and_flags(want)
        return Completion(
            ring=cqe.ring, user_data=cqe.user_data, res=res, flags=flags | cqe.flags & _ignored(got)
        )
    bid = cqe.flags >> c.IORING_CQE_BUFFER_SHIFT if cqe.flags & c.IORING_CQE_F_BUFFER else None
    if isinstance(got, int) and got == bid and isinstance(want, int) and 0 <= want < 1 << 16:
        low = cqe.flags & 0xFFFF
        flags = low | want << c.IORING_CQE_BUFFER_SHIFT
        return Completion(ring=cqe.ring, user_data=cqe.user_data, res=cqe.res, flags=flags)
    if isinstance(got, int) and got == cqe.res and isinstance(want, int):
        return Completion(ring=cqe.ring, user_data=cqe.user_data, res=want, flags=cqe.flags)
    return None


def _ignored(told: Mapping[str, Any]) -> int:
    """A Reply may leave out whether more is in the socket."""
    return c.IORING_CQE_F_SOCK_NONEMPTY if told.get("type") == "Reply" and not told["nonempty"] else 0


def _res_and_flags(told: Mapping[str, Any]) -> tuple[int, int]:
    if told.get("type") == "Cqe":
        return told["res"], told["flags"]
    flags = told["other"] | c.IORING_CQE_F_MORE * told["more"] | c.IORING_CQE_F_BUF_MORE * told["buf_more"]
    flags |= c.IORING_CQE_F_SOCK_NONEMPTY * told["nonempty"]
    if told["bid"] is not None:
        flags |= c.IORING_CQE_F_BUFFER | told["bid"] << c.IORING_CQE_BUFFER_SHIFT
    return told["res"], flags


def _other_value(seen: Seen, pair: _Pair) -> str | None:
    """What the value had to be, if it is the one that was found: numbers, and errors by name."""
    got, want = pair.got, pair.want
    if (
        isinstance(got, int)
        and isinstance(want, int)
        and seen.value in {names.number(got), names.result(got)}
    ):
        return names.result(want) if seen.value.startswith("-E") or want < 0 else names.number(want)
    if isinstance(got, str) and isinstance(want, str) and seen.value == got:
        return want  # model.spec.name_of() writes errors as C does
    return None
