"""What a splat's lines say: the task, the functions, and the title without what changes from run to run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ringrig.vm.splat_kinds import MACHINERY

_MOST_FRAMES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Who was running, as far as the report says."""

    comm: str | None = None
    pid: int | None = None
    cpu: int | None = None


# What an earlier line leaves open a later one fills in. A comm may hold spaces and slashes.
_IN_TITLE = tuple(
    re.compile(pattern)
    for pattern in (
        r"INFO: task (?P<comm>.{1,40}):(?P<pid>\d+) blocked",
        r"(?:watchdog: )?BUG: soft lockup - CPU#(?P<cpu>\d+) stuck .* \[(?P<comm>.{1,40}):(?P<pid>\d+)\]",
        r".*hard LOCKUP on cpu (?P<cpu>\d+)",
        r"WARNING: CPU: (?P<cpu>\d+) PID: (?P<pid>\d+) ",
        r"WARNING: .*, CPU#(?P<cpu>\d+): (?P<comm>.{1,40})/(?P<pid>\d+)$",
        r"BUG: scheduling while atomic: (?P<comm>.{1,40})/(?P<pid>\d+)/",
        r"BUG: scheduling in a non-blocking section: (?P<comm>.{1,40})/(?P<pid>\d+)/",
        r"BUG: using \w+\(\) in preemptible \[\w+\] code: (?P<comm>.{1,40})/(?P<pid>\d+)$",
        r"BUG: \w+ .* on CPU#(?P<cpu>\d+), (?P<comm>.{1,40})/(?P<pid>\d+)$",
        r"BUG: Bad page \w+ in process (?P<comm>.{1,40})  ",
        r"WARNING: (?P<comm>.{1,30})/(?P<pid>\d+) still has locks held",
    )
)
_IN_BODY = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?:Read|Write|Free) (?:of .* |at addr .* )by task (?P<comm>.{1,40})/(?P<pid>\d+)$",
        r"in_atomic\(\): .* pid: (?P<pid>\d+), name: (?P<comm>.{1,40})$",
        r"(?:kmemleak: )? +comm \"(?P<comm>.{0,40})\", pid (?P<pid>\d+),",
        r"(?P<comm>\S.{0,39})/(?P<pid>\d+) (?:is trying to |is freeing memory |is leaving the kernel )",
        r"CPU: (?P<cpu>\d+) (?:UID: \d+ )?PID: (?P<pid>\d+) Comm: (?P<comm>.{1,40}?)"
        r"(?: (?:Kdump: loaded )?(?:Not t|T)ainted|$)",
        r"\w.* to 0x\w+ of \d+ bytes by task (?P<pid>\d+) on cpu (?P<cpu>\d+):",
    )
)
_BODY_HINT = re.compile(r".*(?:CPU: | by task |in_atomic\(\)|comm \"| is (?:trying|freeing|leaving) )")


def task_of(title: str, bodies: Sequence[str]) -> Task:
    """Task and CPU of a report: the title's word first, then the first line that fills each gap."""
    facts: dict[str, str] = {}
    for line, patterns in _candidates(title, bodies):
        for pattern in patterns:
            match = pattern.match(line)
            if match is None:
                continue
            found = {name: value for name, value in match.groupdict().items() if value is not None}
            # A line about another task must not lend its name to this one's pid.
            if all(facts.get(name, value) == value for name, value in found.items() if name == "pid"):
                facts = found | facts
            break
        if len(facts) == 3:
            break
    numbers = {name: int(value) for name, value in facts.items() if name != "comm"}
    return Task(comm=facts.get("comm"), pid=numbers.get("pid"), cpu=numbers.get("cpu"))


def _candidates(title: str, bodies: Sequence[str]) -> Iterator[tuple[str, tuple[re.Pattern[str], ...]]]:
    yield title, _IN_TITLE
    for body in bodies:
        if body.startswith("WARNING: "):
            yield body, _IN_TITLE
        elif _BODY_HINT.match(body):
            yield body, _IN_BODY


_FRAME = re.compile(r"(?:kmemleak: )?\s*(?:\[<[0-9a-f]+>\] )?(\? )?\s*([A-Za-z_][\w.$]*)\+(0x0/)?0x[0-9a-f]+")
_KERNEL_IP = re.compile(r"(?:RIP: [0-9a-f]{4}:|pc : )([A-Za-z_][\w.$]*)\+0x")
_TRACE = re.compile(r"Call [Tt]race:")
# What may stand between an instruction pointer, its trace and the parts of that trace.
_BETWEEN = re.compile(
    r"\s*(?:</?[A-Z-]+>|#\d+)?\s*$|Code: |RSP: |R[0-9A-DSB][0-9PIX]: |[CDEFGS][SR]\w?: |DR\d: |PKRU: "
    r"|Call [Tt]race:|lr : |sp : |x\d+ *: |pstate: "
)
_SUFFIX = re.compile(r"\.(?:isra|constprop|part|cold|llvm)\b.*")
# Traces that a report shows of tasks which are not to blame: RCU's own thread, a CPU that had nothing to do.
_BYSTANDER = re.compile(r"rcu_gp_kthread$|pv_native_safe_halt$|native_safe_halt$|default_idle$")


def frames_of(kind: str, bodies: Sequence[str]) -> tuple[str, ...]:
    """The first five telling functions of the report's own trace, innermost first.

    A lockdep report's own trace is its last; elsewhere it is the first under "Call Trace:" that is not a
    bystander's or, without one (KCSAN, KFENCE, kmemleak, ref_tracker), the first run of frames. An
    instruction pointer in the kernel stands on top.
    """
    start = 0
    if kind == "lockdep":
        start = next((at for at, body in enumerate(bodies) if body.startswith("stack backtrace:")), 0)
    runs = list(_runs(bodies[start:]))
    if any(traced for traced, _ in runs):
        runs = runs[next(at for at, (traced, _) in enumerate(runs) if traced) :]
    telling = [kept for _, run in runs if (kept := [name for name in run if not MACHINERY.match(name)])]
    to_blame = (run for run in telling if not any(map(_BYSTANDER.match, run)))
    return tuple(next(to_blame, telling[0] if telling else [])[:_MOST_FRAMES])


def _runs(bodies: Sequence[str]) -> Iterator[tuple[bool, list[str]]]:
    """Each unbroken run of frames, and if it had a heading; what the unwinder guesses ("? ") is left out."""
    run: list[str] = []
    traced = pointed = False
    for body in bodies:
        if match := _KERNEL_IP.match(body):
            yield traced, run
            run, traced, pointed = [_plain(match[1])], False, True
        elif match := _FRAME.match(body):
            name = _plain(match[2])
            # A return address at a first byte belongs to the function before, whose call does not return.
            if not (match[1] or match[3] or (pointed and run == [name])):
                run.append(name)
            pointed = False
        elif _BETWEEN.match(body):
            traced = traced or _TRACE.match(body) is not None
        else:
            yield traced, run
            run, traced, pointed = [], False, False
    yield traced, run


def _plain(name: str) -> str:
    return _SUFFIX.sub("", name)


_WARNING_OLD = re.compile(r"WARNING: (?:CPU: \d+ PID: \d+ )?at (?:(\S+:\d+) )?([\w.$]+)\S*(.*)$")
_WARNING_NEW = re.compile(r"WARNING: (\S+:\d+) at ([\w.$]+)\S*(?: \[\w+\])?, CPU#.*$")
_DROPPED = (
    (re.compile(r"^Oops: "), ""),
    (re.compile(r"\[#\d+\].*"), ""),
    (re.compile(r" ?\((?:Not t|T)ainted.*?\)"), ""),
    (re.compile(r"\+0x[0-9a-f]+/0x[0-9a-f]+"), ""),
    (re.compile(r"\(_*ptrval_*\)|\(efault\)"), "X"),
    (re.compile(r"\b0x[0-9a-f]+\b|\b[0-9a-f]{8,16}\b"), "X"),
    (re.compile(r"(?<![\w.])[\w./+~-]*/(?=[\w.-]+\.[chS]:)"), ""),
    (re.compile(r"\b\d+"), "N"),
    (re.compile(r"\s+"), " "),
)


def normalise(title: str, task: Task) -> str:
    """The title without addresses, numbers, directories and the task; one form for old and new WARNINGs."""
    if match := _WARNING_NEW.match(title) or _WARNING_OLD.match(title):
        title = f"WARNING: {match[1] or ''} {_plain(match[2])}"
    if task.comm:
        name = re.escape(task.comm)
        title = re.sub(rf"(?<!\w){name}(?=[/:]\d)|(?<=process ){name}", "COMM", title)
    for pattern, instead in _DROPPED:
        title = pattern.sub(instead, title)
    return title.strip()
