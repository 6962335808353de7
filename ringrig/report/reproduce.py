"""`rig reproduce`: one case, recorded on a broken kernel and on a good one, as a C program for a mailing list."""

from __future__ import annotations

import argparse
import ast
import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ringrig import runs
from ringrig.cache import Say
from ringrig.errors import NotReproducible
from ringrig.guest.tape import PROPERTY
from ringrig.kernel import resolve
from ringrig.kernel.spec import Wanted
from ringrig.plugin import prepare
from ringrig.plugin.judge import of_splat
from ringrig.plugin.keeper import Keeper, Manner, Tried
from ringrig.plugin.progress import Progress
from ringrig.report import reproduce_judge as judge
from ringrig.report.reproduce_c import program
from ringrig.report.reproduce_course import Course, Step
from ringrig.report.reproduce_memory import Event, places
from ringrig.report.reproduce_wanted import as_wanted
from ringrig.vm import pack
from ringrig.vm.plan import Plan

_SECONDS = 20.0
_NAME = "reproduce"
_FLAGS = ("-Wall", "-Wextra", "-O2", "-static")
_keepers = count(1)
"""Each has a name of its own, also where two of them share a run folder."""
_OUTSIDE = {"splat", "panic", "timeout", "hang", "died", "taint", "pins"}
"""Troubles that are seen from outside of the case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Where a case is recorded and a program tried: `more` is what the agent is told beside."""

    plan: Plan
    label: str
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What a case did on one kernel, and how it ended."""

    events: tuple[Event, ...]
    failed: str
    """Its first words, or ""."""
    outside: str
    """What the kernel did that the case itself did not see."""
    compared: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproducer:
    """The program, and its exit status where it was tried: by kernel."""

    text: str
    tried: dict[str, int]


def main(arguments: list[str], *, root: Path) -> int:
    """Prints the program; says on stderr what it was tried on. Raises RigErrors."""
    chosen = _parser().parse_args(arguments)
    case = runs.from_here([chosen.case])[0].removeprefix(f"{root}/")
    wanted = Wanted.of(guest=chosen.guest, configs=chosen.config, patches=chosen.patch)
    progress = Progress()
    try:
        bad = _kernel(chosen.kernel, wanted, root, say=progress.say)
        good = None
        if chosen.good or chosen.patch:
            plain = replace(wanted, patches=())
            good = _kernel(chosen.good or chosen.kernel, plain, root, say=progress.say)
        made = reproduce(case, bad, good, root=root, say=progress.say)
    finally:
        progress.done()
    for label, status in made.tried.items():
        print(f"rig: tried on {label}: exit status {status}", file=sys.stderr)
    sys.stdout.write(made.text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rig reproduce",
        description="Record a case that fails on a kernel, and print a C program that shows the same: "
        "exit status 1 where the fault is, 0 where it is not, 77 where it cannot tell.",
    )
    add = parser.add_argument
    add("case", metavar="NODEID", help="one case, as rig run names it")
    add("--kernel", default="host", metavar="K", help="the kernel with the fault (default: host)")
    add(
        "--patch",
        action="append",
        default=[],
        metavar="FILE|DIR",
        help="source, tree: patches that bring the fault",
    )
    add("--config", action="append", default=[], metavar="NAME|FILE[,…]")
    add("--guest", choices=["auto", "qemu", "uml"], default="auto")
    add(
        "--good",
        metavar="K",
        help="a kernel without the fault (default: with --patch the same without it; else what the case wants decides)",
    )
    return parser


def _kernel(spec: str, wanted: Wanted, root: Path, *, say: Say) -> Kernel:
    spec = runs.kernel_from_here(spec)
    if not spec.startswith(("source", "tree:")):  # what is there already: --guest may be the other kernel's
        wanted = Wanted() if spec == "host" or spec.startswith("ssh:") else Wanted(guest=wanted.guest)
    target = resolve(spec, wanted=wanted, say=say)
    plan = prepare.context_for(target, wanted, root, {"suites"}, say=say).plan
    with_patches = f" with {', '.join(Path(one).name for one in wanted.patches)}" if wanted.patches else ""
    return Kernel(plan=plan, label=f"{target.label}{with_patches}")


def reproduce(case: str, bad: Kernel, good: Kernel | None, *, root: Path, say: Say) -> Reproducer:
    """The program for `case`, tried on both kernels if there is a compiler. Raises RigErrors, NotReproducible first."""
    wrong = _record(case, bad, root, say=say)
    if not wrong.failed and not wrong.outside:
        raise NotReproducible(
            f"{case} passes on {bad.label}.",
            next_step="name a kernel on which it fails: `rig run` says which",
        )
    if wrong.failed.startswith("Skipped"):
        raise NotReproducible(
            f"{case} is left out on {bad.label}: {wrong.failed}", next_step="name another kernel"
        )
    right = _record(case, good, root, say=say) if good else None
    if right is not None and (right.failed or right.outside):
        raise NotReproducible(
            f"{case} does not pass on {good.label if good else ''}: {right.failed or right.outside}",
            next_step="name a kernel without the fault with --good",
        )
    text = _program(case, wrong, right, bad=bad, good=good, root=root, say=say)
    statuses = _try(text, [one for one in (bad, good) if one is not None], root, say=say)
    for kernel, want in ((bad, 1), (good, 0)):
        if kernel is not None and statuses.get(kernel.label, want) != want:
            raise NotReproducible(
                f"The program ends with {statuses[kernel.label]} on {kernel.label}, not {want}: it does not show the fault. "
                f"It is in {Path(bad.plan.folder, _NAME)}.c.",
                next_step="the fault depends on more than was recorded (timing, what ran before): see that file",
            )
    return Reproducer(text=text, tried=statuses)


def _program(
    case: str,
    wrong: Recording,
    right: Recording | None,
    *,
    bad: Kernel,
    good: Kernel | None,
    root: Path,
    say: Say,
) -> str:
    said = wrong.failed or wrong.outside
    if right is None:
        where = places([wrong.events])
        steps: list[Step] = Course(wrong.events, where).steps
        if not wrong.failed:
            raise NotReproducible(
                f"The case itself sees nothing wrong on {bad.label} ({wrong.outside}).",
                next_step="name a kernel without the fault with --good: the program then follows the case there",
            )
        verdict: judge.Verdict | None = as_wanted(steps, wrong.compared)
    else:
        where = places([wrong.events, right.events])
        steps = Course(right.events, where).steps
        verdict = None
        if wrong.failed or not wrong.outside:
            broken = Course(wrong.events, where).steps
            _agree(case, bad, broken, where, root, say=say)
            verdict = judge.decide(broken, steps)
        elif refused := [one.refused for one in steps if one.refused]:
            raise NotReproducible(
                f"No C program is made of this case: {refused[0]}.",
                next_step="take another case that shows the same",
            )
    head = _head(case, said, bad, good, root, outside=verdict is None)
    text = program(steps, verdict=verdict, head=head)
    Path(bad.plan.folder, f"{_NAME}.c").write_text(text)
    return text


def _agree(case: str, kernel: Kernel, steps: list[Step], where: Any, root: Path, *, say: Say) -> None:
    """A second recording must be as the first: a program says everything in one order."""
    again = Course(_record(case, kernel, root, say=say).events, where).steps
    if not judge.same(steps, again):
        raise NotReproducible(
            f"Two recordings of {case} on {kernel.label} differ: it is racy.",
            next_step="take a case that shows the same every time",
        )


def _keeper(kernel: Kernel, *options: str, say: Say) -> Keeper:
    manner = Manner(timeout=_SECONDS, fresh=False, options=("-qq", "--tb=line", *options))
    return Keeper(kernel.plan, worker=f"{_NAME}{next(_keepers)}", manner=manner, say=say)


def _record(case: str, kernel: Kernel, root: Path, *, say: Say) -> Recording:
    """One run of the case with the recorder in it."""
    say(f"{case} is recorded on {kernel.label}")
    if kernel.plan.kind == "image":
        pack.rewritten(root, kernel.plan.tops)
    prepare.pack_suite(kernel.plan, root)
    keeper = _keeper(kernel, "-pringrig.guest.tape", say=say)
    try:
        tried = keeper.attempt({"nodeids": [case], **kernel.more})
    finally:
        keeper.end()
    return _told(case, tried)


def _told(case: str, tried: Tried) -> Recording:
    done = tried.course.done
    if "lost" in done:
        raise NotReproducible(
            f"There is no case {case}: {done['lost']}", next_step="`rig run --co` lists them"
        )
    troubles = [*tried.found.troubles, *map(of_splat, tried.found.splats)]
    outside = next((one.what for one in troubles if one.kind in _OUTSIDE), "")
    told: dict[str, Any] = {"events": [], "compared": []}
    failed = ""
    for report in done.get("reports") or []:
        if report["outcome"] != "passed" and not failed:
            failed = _words(report["longrepr"])
        told = json.loads(dict(report["user_properties"]).get(PROPERTY, json.dumps(told)))
    return Recording(
        events=tuple(told["events"]), failed=failed, outside=outside, compared=tuple(told["compared"])
    )


def _words(longrepr: Any) -> str:
    if isinstance(longrepr, dict):
        longrepr = longrepr["reprcrash"]["message"]
    if isinstance(longrepr, list | tuple):
        longrepr = longrepr[-1]
    lines = [line.strip() for line in str(longrepr).splitlines() if line.strip()]
    return "\n".join(lines[:6])


def _try(text: str, kernels: list[Kernel], root: Path, *, say: Say) -> dict[str, int]:
    """The program's exit status on each kernel; nothing where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        say("there is no C compiler here: the program was not tried")
        return {}
    found = {}
    with TemporaryDirectory(prefix="rig-reproduce-") as folder:
        source = Path(folder, f"{_NAME}.c")
        source.write_text(text)
        done = subprocess.run(
            [compiler, *_FLAGS, "-o", str(source.with_suffix("")), str(source)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or done.stderr:
            raise NotReproducible(
                f"The program does not compile cleanly: {done.stderr[:800]}",
                next_step="this is an error of the rig",
            )
        for kernel in kernels:
            say(f"the program is tried on {kernel.label}")
            prepare.pack_suite(kernel.plan, root, files=Path(folder))
            keeper = _keeper(kernel, say=say)
            try:
                tried = keeper.attempt({"command": f"./{_NAME}", "name": _NAME, **kernel.more}, seconds=60.0)
            finally:
                keeper.end()
            found[kernel.label] = _status(tried)
    return found


def _status(tried: Tried) -> int:
    """1 for a program that took the kernel down with it."""
    if tried.course.end != "done" or any(one.kind in _OUTSIDE for one in tried.found.troubles):
        return 1
    status: int = tried.course.done["status"]
    return status >> 8 if not status & 0x7F else 128 + (status & 0x7F)


def _head(case: str, said: str, bad: Kernel, good: Kernel | None, root: Path, *, outside: bool) -> str:
    paragraphs = [_docstring(case, root), f"On {bad.label}:"]
    text = "\n\n".join(textwrap.fill(one, 90) for one in paragraphs if one)
    text += "\n" + textwrap.indent("\n".join(textwrap.wrap(line, 90)[0] for line in said.splitlines()), "  ")
    ends = "1 where the fault is, 0 where it is not, 77 where it cannot tell (git bisect run can use it)"
    if outside:
        ends += ".\nA kernel that panics or locks up says so by itself; what it complains about is in dmesg"
    made = f"Made by ringrig from {case}" + (f",\nbeside the same on {good.label}." if good else ".")
    return f"{text}\n\nExit status: {ends}.\nBuild: cc -Wall -Wextra -O2 {_NAME}.c -o {_NAME}\n\n{made}"


def _docstring(case: str, root: Path) -> str:
    """The first paragraph of what the case says of itself."""
    path, _, name = case.partition("::")
    tree = ast.parse((root / path).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == name.split("[")[0]:
            return (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
    return ""
