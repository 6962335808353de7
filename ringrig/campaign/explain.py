"""`rig explain`: a failing case again, and the function and line of the kernel that returned the errno or took the other way."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ringrig import runs
from ringrig.cache import Say
from ringrig.campaign import again
from ringrig.campaign.again import Bench, Run
from ringrig.campaign.finding import Comparison, Explained, Passing, of_splat
from ringrig.campaign.kernel import sources
from ringrig.campaign.nearest import collect
from ringrig.campaign.returns import traced
from ringrig.errors import BadSpec, CasePasses, NothingRan
from ringrig.kernel import resolve
from ringrig.kernel.spec import Image, Target, Wanted
from ringrig.plugin.progress import Progress
from ringrig.vm.lines import Lines

TIMES = 3
"""A case runs so often on each kernel: what differs between runs of one kernel decides nothing."""
_SIBLINGS = 6
"""So many other parametrizations are tried until one passes."""
_COUNTS, _TRACES = "ringrig.guest.calls", "ringrig.guest.trace"


def run(arguments: Sequence[str], *, root: Path) -> Explained:
    """CasePasses, and RigErrors of what it needs."""
    parser = argparse.ArgumentParser(
        prog="rig explain",
        description="Run a failing case again and name the function and line of the kernel that decided.",
    )
    add = parser.add_argument
    add("case", metavar="NODEID")
    add("--kernel", default="source:6.12", metavar="K", help="the kernel it fails on (default: source:6.12)")
    add("--guest", choices=["auto", "qemu", "uml"], default="auto")
    add("--config", action="append", default=[], metavar="NAME|FILE[,…]")
    add("--patch", action="append", default=[], metavar="FILE|DIR")
    add(
        "--good",
        metavar="K2",
        help="what to compare with, in User-Mode Linux: a kernel on which the case passes "
        "(default: K without the patches; without any, another parametrization)",
    )
    chosen = parser.parse_args(arguments)
    progress = Progress()
    try:
        return Explanation(
            case=_one(chosen.case, root),
            spec=runs.kernel_from_here(chosen.kernel),
            good=runs.kernel_from_here(chosen.good) if chosen.good else None,
            wanted=Wanted.of(guest=chosen.guest, configs=chosen.config, patches=chosen.patch),
            root=root,
            say=progress.say,
        ).find()
    finally:
        progress.done()


class Explanation:
    """One case on one kernel."""

    def __init__(
        self, *, case: str, spec: str, good: str | None, wanted: Wanted, root: Path, say: Say
    ) -> None:
        self._case, self._spec, self._good = case, spec, good
        self._wanted, self._root, self._say = wanted, root, say

    def find(self) -> Explained:
        """CasePasses, and RigErrors of what it needs."""
        built = self._spec.startswith(("source", "tree:"))
        return self._by_coverage() if built and self._wanted.guest != "qemu" else self._by_trace(built)

    def _bench(self, stack: ExitStack, target: Target, wanted: Wanted, plugin: str) -> Bench:
        job = again.bench(
            target, wanted, root=self._root, tops={_top(self._case)}, plugin=plugin, say=self._say
        )
        return stack.enter_context(job)

    def _by_coverage(self) -> Explained:
        wanted = _with(self._wanted, "gcov", guest="uml")
        target = resolve(self._spec, wanted=wanted, say=self._say)
        with ExitStack() as stack:
            bench = self._bench(stack, target, wanted, _COUNTS)
            mine = bench.times(self._case, TIMES)
            failing = _failing(mine, self._case, target.label)
            # A kernel that complained by itself needs no comparison.
            finding = of_splat(failing[0], _lines(target))
            good = self._passing(stack, bench, mine, target, wanted) if finding is None else None
        again.keep(
            bench.context.folder, {"failing": mine, **({"passing": good.runs} if good is not None else {})}
        )
        against = "not compared with anything"
        if good is not None:
            self._say("comparing what the runs executed")
            finding = Comparison(failing, good, target).finding()
            against = (
                f"compared with {good.words}, {len(good.runs)} runs, {len(failing)} of the one that fails"
            )
        assert finding is not None
        return Explained(
            case=self._case,
            label=target.label,
            folder=bench.context.folder,
            runs=tuple(mine),
            against=against,
            finding=finding,
            texts=again.texts_of(target),
        )

    def _passing(
        self, stack: ExitStack, bench: Bench, mine: Sequence[Run], target: Target, wanted: Wanted
    ) -> Passing:
        """Runs that pass, the nearest there are. BadSpec: there are none."""
        if self._good is None and (lucky := [run for run in mine if not run.failed]):
            return Passing(words="its own runs that passed", runs=tuple(lucky), target=target)
        plain = replace(wanted, patches=())
        if self._good is not None or self._wanted.patches:
            spec = self._good or self._spec
            other = resolve(spec, wanted=plain, say=self._say)
            found = self._bench(stack, other, plain, _COUNTS).times(self._case, TIMES)
            if not any(run.failed for run in found):
                words = other.label if self._good else f"{other.label}, without the patches"
                return Passing(words=words, runs=tuple(found), target=other)
            if self._good is not None:
                raise BadSpec(
                    f"{self._case} fails on {other.label}, too: {found[0].words.splitlines()[0]}",
                    next_step="name a kernel on which it passes with --good",
                )
            self._say("it fails without the patches, too; looking for another parametrization that passes")
        for sibling in _siblings(self._case, self._root)[:_SIBLINGS]:
            try:
                runs = bench.times(sibling, 1)
            except NothingRan:
                continue
            if not runs[0].failed:
                runs += bench.times(sibling, TIMES - 1)
                words = f"another parametrization on the same kernel: {sibling.rpartition('::')[2]}"
                return Passing(words=words, runs=tuple(runs), target=target, same_case=False)
        raise BadSpec(
            f"There is nothing to compare with: {self._case} has no other parametrization that passes on {target.label}.",
            next_step="name a kernel on which it passes with --good",
        )

    def _by_trace(self, built: bool) -> Explained:
        wanted = _with(self._wanted, "trace", guest="qemu") if built else self._wanted
        target = resolve(self._spec, wanted=wanted, say=self._say)
        with ExitStack() as stack:
            bench = self._bench(stack, target, wanted, _TRACES)
            mine = bench.times(self._case, 2)
            failing = _failing(mine, self._case, target.label)
        again.keep(bench.context.folder, {"failing": mine})
        files = sources(self._spec, wanted, say=self._say).files if built else {}
        texts = {name: source.text for name, source in files.items()}
        last = failing[-1]
        return Explained(
            case=self._case,
            label=target.label,
            folder=bench.context.folder,
            runs=tuple(mine),
            against=f"traced by {last.means}" if last.means else "not traced: the case's process was lost",
            finding=of_splat(last, _lines(target)) or traced(last, texts, _lines(target)),
            texts=texts,
        )


def _lines(target: Target) -> Lines:
    return Lines(target.vmlinux if isinstance(target, Image) else None)


def _with(wanted: Wanted, fragment: str, *, guest: str) -> Wanted:
    return replace(wanted, guest=guest, configs=tuple(dict.fromkeys((*wanted.configs, fragment))))


def _failing(runs: Sequence[Run], case: str, label: str) -> list[Run]:
    """CasePasses: there are none."""
    found = [run for run in runs if run.failed]
    if not found:
        raise CasePasses(
            f"{case} passes on {label}, {len(runs)} times of {len(runs)}: there is nothing to explain.",
            next_step="name the kernel and the patches with which it fails, as rig run had them",
        )
    return found


def _one(given: str, root: Path) -> str:
    """The node id of exactly one case. BadSpec: it is none, or several."""
    found = collect(runs.from_here([given]), root)
    if len(found) > 1:
        shown = "\n".join(f"    {nodeid}" for nodeid in found[:12])
        raise BadSpec(
            f"{given} stands for {len(found)} cases:\n{shown}", next_step="name one of them, in quotes"
        )
    return found[0]


def _siblings(case: str, root: Path) -> list[str]:
    """Other parametrizations of the same test, those with the most similar names first."""
    function = case.partition("[")[0]
    others = [nodeid for nodeid in collect([function], root) if nodeid != case]
    return sorted(others, key=lambda one: -difflib.SequenceMatcher(None, case, one).ratio())


def _top(case: str) -> str:
    """The folder of the clone that travels with the case."""
    parts = Path(case.partition("::")[0]).parts
    return parts[0] if parts[0] != "tests" else str(Path(*parts[:2]))
