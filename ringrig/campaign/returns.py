"""A trace of what functions returned → the innermost one that returned the errno which a case saw.

Two forms (ringrig/guest/trace.py): function_graph's braces with return values, and lines of kretprobes, which come in the order of
returning and know nothing of nesting. A mark stands where each call of the case begins.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ringrig.campaign.again import Run
from ringrig.campaign.coverage_counts import Place
from ringrig.campaign.finding import Finding, complained_of
from ringrig.campaign.pair import Pair
from ringrig.vm.lines import Lines

# print_graph_proc() cuts names to seven characters; "= N" up to 6.13, then "ret=N" (kernel/trace/trace_functions_graph.c).
_TASK = re.compile(r"^\s*(?:\d+\)\s+)?(?P<comm>\S+)-(?P<pid>\d+)\s+(?:\|\s*|\[)")
_OPENS = re.compile(r"\|\s+(?P<indent>\s*)(?P<name>[\w.]+)\(.*\) \{$")
_LEAF = re.compile(r"\|\s+(?P<name>[\w.]+)\([^/]*\);(?:\s*/\*\s*(?:= |ret=)(?P<value>-?\w+)\s*\*/)?")
_CLOSES = re.compile(r"\|\s+\}(?:\s*/\*\s*(?P<name>[\w.]+)(?:\s+(?:= |ret=)(?P<value>-?\w+))?\s*\*/)?")
_PROBE = re.compile(r": (?P<name>[\w.]+): \(.* <- [\w.]+\) ret=(?P<value>-?\d+)")
_MARK = re.compile(r"ringrig call (?P<number>\d+) ")
_SHOWN = 12
"""Returns that are shown where none can be singled out."""
_OURS = ("case-", "iou-")
"""The case's own threads, and io_uring's (io-wq, SQPOLL) for it."""


@dataclass(slots=True, kw_only=True)
class Frame:
    """One execution of a function; `value` is None where it is not known. `call`: during which of the case's calls, from 1."""

    name: str
    task: str
    call: int
    value: int | None = None
    within: Frame | None = None

    @property
    def chain(self) -> tuple[str, ...]:
        """Who called it, outermost first, itself last."""
        return (*(self.within.chain if self.within else ()), self.name)


def read(trace: str) -> list[Frame]:
    """The executions, in the order in which they ended."""
    return list(_frames(trace))


def _frames(trace: str) -> Iterator[Frame]:
    open_frames: dict[str, list[Frame]] = {}
    call = 0
    marking: set[str] = set()
    for line in trace.splitlines():
        task = _TASK.match(line)
        if mark := _MARK.search(line):
            call = int(mark["number"])
            marking |= {task["pid"]} if task else set()
            continue
        # A name that the kernel did not save is "<...>": who marks its calls is the case.
        if task is None or not (task["comm"].startswith(_OURS) or task["pid"] in marking):
            continue
        name = f"{task['comm']}-{task['pid']}"
        stack = open_frames.setdefault(name, [])
        above = stack[-1] if stack else None
        if found := _PROBE.search(line):
            yield Frame(name=found["name"], task=name, call=call, value=int(found["value"]))
        elif found := _OPENS.search(line):
            stack.append(Frame(name=found["name"], task=name, call=call, within=above))
        elif found := _LEAF.search(line):
            yield Frame(name=found["name"], task=name, call=call, value=_number(found["value"]), within=above)
        elif (found := _CLOSES.search(line)) and above is not None:
            stack.pop()
            above.value = _number(found["value"])
            yield above


def _number(text: str | None) -> int | None:
    """Errors are printed as negative numbers, all else in hex."""
    if text is None:
        return None
    return int(text, 16) if text.startswith("0x") else int(text)


def innermost(frames: Sequence[Frame], call: int, value: int) -> tuple[Frame, tuple[str, ...]] | None:
    """The last execution in a call that returned `value` of its own, and who passed it on, outermost first, itself last.

    None: no function is seen to return it.
    """
    returned = [frame for frame in frames if frame.call == call and frame.value == value]
    if not returned:
        return None
    last = returned[-1]
    if last.within is None and len(last.chain) == 1 and not any(frame.within for frame in frames):
        return _unnested(frames, last)
    while inner := [frame for frame in returned if frame.within is last]:
        last = inner[-1]
    return last, last.chain


def _unnested(frames: Sequence[Frame], last: Frame) -> tuple[Frame, tuple[str, ...]]:
    """Functions return from the inside out: the first of those that returned the same one after the other."""
    thread = [frame for frame in frames if frame.task == last.task]
    at = next(number for number, frame in enumerate(thread) if frame is last)
    first = at
    while first and (thread[first - 1].call, thread[first - 1].value) == (last.call, last.value):
        first -= 1
    return thread[first], tuple(frame.name for frame in reversed(thread[first : at + 1]))


def traced(run: Run, texts: Mapping[str, str], lines: Lines) -> Finding:
    """The function that returned what the case complains of; its line, where the sources (`texts`) and line tables are at hand."""
    frames, wanted = read(run.trace), complained_of(run)
    number = _call_of(run, wanted)
    call = run.calls[number - 1] if number else None
    if not wanted or not number:
        shown = frames[-_SHOWN:] if not wanted else [frame for frame in frames if (frame.value or 0) < 0]
        why = "no errno is what the case complains of, and a trace tells nothing else: --guest uml compares courses"
        return Finding(how="nothing", errno=wanted, evidence=(why, *map(_told, shown[-_SHOWN:])))
    value = -getattr(errno, wanted)
    found = innermost(frames, number, value)
    if found is None:
        during = [frame for frame in frames if frame.call == number][-_SHOWN:]
        why = f"no function that is traced returned -{wanted} in that call; the last that returned:"
        return Finding(
            how="nothing", errno=wanted, number=number, call=call, evidence=(why, *map(_told, during))
        )
    frame, chain = found
    name = frame.name.partition(".")[0]  # as in io_recv.isra.0
    named = _naming(Pair(bad=texts, good={}), name, wanted, lines)
    where = lines.where(frame.name)
    evidence = [f"{name}() begins at {where}"] if where else []
    if len(named) > 1:
        evidence.append(
            f"it names -{wanted} on {len(named)} lines: {', '.join(f'{f}:{n}' for f, n in named)}"
        )
    return Finding(
        how="trace",
        place=named[0] if len(named) == 1 else None,
        function=name,
        chain=chain,
        errno=wanted,
        number=number,
        call=call,
        evidence=(*evidence, *(_told(one) for one in frames if one.call == number and one.value == value)),
    )


def _call_of(run: Run, wanted: str) -> int:
    """The last call that returned that errno, or was followed by a completion with it; 0: there is none."""
    value = -getattr(errno, wanted, 0)
    return max(
        (
            number
            for number, call in enumerate(run.calls, start=1)
            if value and value in {call.res, *(res for res, _ in call.cqes)}
        ),
        default=0,
    )


def _naming(pair: Pair, function: str, wanted: str, lines: Lines) -> list[Place]:
    """The lines that name an errno in a function, and in those that the compiler put into it."""
    waiting, seen = [function], set[str]()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        called = {
            other
            for (_, one), calls in pair.calls.items()
            if one == name
            for _, names in calls
            if len(names) == 1
            for other in names
        }
        waiting += [other for other in called - seen if not lines.where(other)]
    named = re.compile(rf"-{wanted}\b")
    return sorted(
        place for place, (_, one) in pair.functions.items() if one in seen and named.search(pair.text(place))
    )


def _told(frame: Frame) -> str:
    value = frame.value
    said = (
        "?"
        if value is None
        else f"-{errno.errorcode[-value]}"
        if -value in errno.errorcode
        else f"{value:#x}"
    )
    return f"{frame.task}, call {frame.call}: {frame.name}() = {said}"
