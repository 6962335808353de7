"""`rig mutate`: how good is the suite? One kernel with all mutants, and what notices them."""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import hashlib
import io
import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ringrig import cache, runs
from ringrig.cache import Say
from ringrig.campaign import baseline as baselines
from ringrig.campaign import kernel, mutants
from ringrig.campaign.alone import compare
from ringrig.campaign.baseline import Baseline, Docket
from ringrig.campaign.generate import generate
from ringrig.campaign.guests import Guests
from ringrig.campaign.mutants import Mutant
from ringrig.campaign.result import Campaign
from ringrig.campaign.trial import Court, Verdict
from ringrig.errors import BadSpec
from ringrig.kernel.spec import Wanted
from ringrig.plugin import prepare
from ringrig.plugin.keeper import Manner
from ringrig.plugin.known_issues import KnownIssues
from ringrig.plugin.progress import Progress
from ringrig.vm import pack

_CASE_SECONDS = 20.0
"""Deadline of a case on the unchanged kernel, at native speed."""
_MOST_FILES = 256 << 20
_NEWS = 20
_FRAGMENT = {
    "kasan": "kasan",
    "kmemleak": "kmemleak",
    "kcsan": "kcsan",
    "lockdep": "debug",
    "preempt": "preempt",
    "faults": "faults",
    "disks": "disks",
}
"""The fragment that brings a mutant's tool."""


def run(arguments: Sequence[str], *, root: Path) -> Campaign:
    """The whole campaign, with its results in its run folder as they came. Raises RigErrors."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.guests < 1 or chosen.alone < 0:
        parser.error("-n takes at least 1, and --alone no less than 0")
    if chosen.command and chosen.alone:
        parser.error(
            "--alone is for the suite: a kernel of its own is judged by rig run, which knows no --command"
        )
    wanted = Wanted.of(guest=chosen.guest, configs=chosen.config, patches=chosen.patch)
    began, progress = time.monotonic(), Progress()
    try:
        campaign = _campaign(chosen, wanted, root, progress.say)
    finally:
        progress.done()
    campaign.seconds = round(time.monotonic() - began, 1)
    return campaign


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rig mutate",
        description="Build a kernel with mutants of io_uring in it, and see which ones the suite notices.",
    )
    add = parser.add_argument
    add("paths", nargs="*", default=["suites"], help="cases, as pytest takes them (default: suites)")
    add(
        "--kernel",
        default="source:6.12",
        metavar="K",
        help="source:X.Y or tree:PATH[@REV] (default: source:6.12)",
    )
    add("--guest", choices=["auto", "qemu", "uml"], default="auto")
    add("--config", action="append", default=[], metavar="NAME|FILE[,…]", help="configuration fragments")
    add("--patch", action="append", default=[], metavar="FILE|DIR", help="patches below the mutants")
    add("--catalogue", action="append", default=[], metavar="FILE", help="mutants (default: mutants/X.Y/)")
    add(
        "--generate",
        action="store_true",
        help="also mutants made mechanically, over all provided-buffer code",
    )
    add(
        "--only",
        action="append",
        default=[],
        metavar="GLOB|TOOL",
        help="try only mutants whose id matches, or that need this tool",
    )
    add(
        "--command",
        action="append",
        default=[],
        metavar="CMD",
        help="judge this program by its exit status, instead of the suite",
    )
    add("--full", action="store_true", help="name all cases that notice a mutant; try equivalent ones too")
    add(
        "--alone",
        type=int,
        default=0,
        metavar="N",
        help="then build N mutants as kernels of their own, and compare",
    )
    add(
        "-n",
        type=int,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        dest="guests",
        help="guests at a time",
    )
    return parser


def _campaign(chosen: argparse.Namespace, wanted: Wanted, root: Path, say: Say) -> Campaign:
    spec = runs.kernel_from_here(chosen.kernel)
    paths = runs.from_here(chosen.paths)
    docket = Docket(cases=chosen.command or collect(paths, root), commands=bool(chosen.command))
    unchanged = kernel.sources(spec, wanted, say=say)
    catalogue = _catalogue(chosen, unchanged, root)
    trial = kernel.make(
        catalogue, unchanged, wanted, forgiving=lambda one: one.origin == "generated", say=say
    )
    options = [
        *(f"--config={name}" for name in wanted.configs),
        *(f"--patch={name}" for name in wanted.patches),
    ]
    context = prepare.context_for(trial.image, wanted, root, {"suites"}, say=say)
    plan = context.plan
    pack.rewritten(root, plan.tops)
    if docket.commands:
        prepare.pack_suite(plan, root, files=_here())
    else:
        prepare.pack_suite(plan, root, cases=docket.cases)
    manner = Manner(timeout=_CASE_SECONDS, fresh=False, options=("--tb=line", "-qq"))
    with (
        (context.folder / "guests.log").open("a") as log,
        Guests(
            plan, count=chosen.guests, manner=manner, say=lambda line: print(line, file=log, flush=True)
        ) as guests,
    ):
        began = time.monotonic()
        known = KnownIssues.load(root / "suites/known-issues.toml", plan)
        base = _baseline(trial, docket=docket, known=known, guests=guests, root=root, say=say)
        campaign = Campaign(
            folder=context.folder,
            label=trial.image.label,
            guest=plan.guest,
            rerun=(f"--kernel={spec}", f"--guest={plan.guest}", *runs.from_here(options)),
            texts={name: source.text for name, source in unchanged.files.items()},
            spots=trial.placed.spots,
            ids={number: one.id for number, one in trial.placed.mutants.items()},
            baseline=base,
            baseline_seconds=round(time.monotonic() - began, 1),
        )
        _write_patches(campaign, trial)
        _judge(
            campaign,
            docket=docket,
            known=known,
            chosen=chosen,
            wanted=wanted,
            trial=trial,
            guests=guests,
            say=say,
        )
        campaign.boots = guests.boots
    for one in (one for one in catalogue if _wanted(one, chosen)):
        if why := trial.placed.stale.get(one.id):
            campaign.add(Verdict(mutant=one, result="stale", why=why))
        elif why := trial.refused.get(one.id):
            campaign.add(Verdict(mutant=one, result="refused", why=why))
    if chosen.alone and not campaign.untried:
        campaign.alone = compare(
            campaign, chosen.alone, paths=paths, guests=chosen.guests, root=root, say=say
        )
    return campaign


def _judge(
    campaign: Campaign,
    *,
    docket: Docket,
    known: KnownIssues,
    chosen: argparse.Namespace,
    wanted: Wanted,
    trial: kernel.Trial,
    guests: Guests,
    say: Say,
) -> None:
    tools = {Path(name).name for name in wanted.configs}
    on_trial = {number: one for number, one in trial.placed.mutants.items() if _wanted(one, chosen)}
    apart = {
        number: Verdict(
            mutant=one, result="equivalent" if one.equivalent else "needs", why=one.equivalent or one.needs
        )
        for number, one in on_trial.items()
        if (one.equivalent and not chosen.full) or (one.needs and _FRAGMENT[one.needs] not in tools)
    }
    history = cache.folder() / f"kills-{trial.sources.series}.json"
    before: dict[str, str] = json.loads(history.read_text()) if history.exists() else {}
    court = Court(campaign.baseline, docket, on_trial, known=known, before=before, full=chosen.full)
    queue = [number for number in on_trial if number not in apart]
    say(f"{len(queue)} mutants on trial")
    began = time.monotonic()
    try:
        for count, verdict in enumerate(guests.map(court.judge, queue), start=1):
            campaign.add(verdict)
            if count % _NEWS == 0 or count == len(queue):
                left = (time.monotonic() - began) * (len(queue) - count) / count
                rest = f"; about {left / 60:.0f} min left" if left >= 60 else ""
                say(
                    f"  {count} of {len(queue)} mutants, {count - campaign.count()['killed']} not killed{rest}"
                )
    except KeyboardInterrupt:  # what is known by now is worth a report
        campaign.untried = len(queue) - len(campaign.verdicts)
    campaign.judging_seconds = round(time.monotonic() - began, 1)
    for verdict in apart.values():
        campaign.add(verdict)
    if not docket.commands:
        found = {one.mutant.id: one.kills[0].case for one in campaign.verdicts if one.kills}
        with cache.writing("what killed which mutant"):
            new = history.with_name(f".{history.name}.{os.getpid()}")
            new.write_text(json.dumps(before | found))
            new.replace(history)  # another campaign may be reading it


def _baseline(
    trial: kernel.Trial,
    *,
    docket: Docket,
    known: KnownIssues,
    guests: Guests,
    root: Path,
    say: Say,
) -> Baseline:
    """As it was taken before of the same kernel, suite and cases; foreign commands are always run."""
    saved = cache.folder() / "baselines" / f"{_identity(trial, docket.cases, root)}.json"
    found = None if docket.commands else Baseline.load(saved)
    if found is None:
        found = baselines.take(guests, docket, known, say=say)
        if not docket.commands:
            found.save(saved)
    return found


def _identity(trial: kernel.Trial, cases: Sequence[str], root: Path) -> str:
    """Of the kernel, the cases, and everything in the suite that can change what they do."""
    told = hashlib.sha256(f"{trial.image.build_id}\0{trial.image.profile}\0{cases}".encode())
    for part in ("suites", "ringrig/uring", "ringrig/model", "ringrig/guest"):
        for file in sorted((root / part).rglob("*")):
            if file.suffix in (".py", ".toml", ".sh"):
                told.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return told.hexdigest()[:20]


def _catalogue(chosen: argparse.Namespace, unchanged: kernel.Sources, root: Path) -> list[Mutant]:
    """What the options ask for. Raises BadCatalogue, BadSpec."""
    given = [Path(name) for name in chosen.catalogue] or [_nearest(unchanged.series, root)]
    found = mutants.load(given)
    if chosen.generate:
        found += generate(unchanged.files)
    if not any(_wanted(one, chosen) for one in found):
        raise BadSpec(
            f"No mutant's id or tool matches {' or '.join(chosen.only)}.",
            next_step=f"ids are in mutants/*/*.toml; tools: {', '.join(_FRAGMENT)}",
        )
    return found


def _wanted(mutant: Mutant, chosen: argparse.Namespace) -> bool:
    """The whole catalogue is in the kernel, which so is built once; --only says which mutants are on trial."""
    return not chosen.only or any(
        fnmatch.fnmatchcase(mutant.id, asked) or asked == mutant.needs for asked in chosen.only
    )


def _nearest(series: str, root: Path) -> Path:
    """The catalogue of that series, or of the newest before it, or of the oldest."""

    def number(name: str) -> tuple[int, ...]:
        return tuple(map(int, name.split(".")))

    folders = [folder for folder in (root / "mutants").iterdir() if re.fullmatch(r"\d+\.\d+", folder.name)]
    folders.sort(key=lambda folder: number(folder.name))
    older = [folder for folder in folders if number(folder.name) <= number(series)]
    return older[-1] if older else folders[0]


def collect(paths: Sequence[str], root: Path) -> list[str]:
    """The node ids of the cases there. Raises BadSpec with pytest's words."""
    found: list[str] = []

    class Collected:
        def pytest_collection_finish(self, session: pytest.Session) -> None:
            found.extend(item.nodeid for item in session.items)

    said = io.StringIO()
    words = [
        "--collect-only",
        "-qq",
        "-pno:cacheprovider",
        f"--rootdir={root}",
        "-c",
        str(root / "pyproject.toml"),
    ]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), contextlib.chdir(root):
        code = pytest.main([*words, *paths], plugins=[Collected()])
    if code != pytest.ExitCode.OK:
        raise BadSpec(
            f"There are no such cases: {said.getvalue()[-600:].strip()}", next_step="check the paths"
        )
    return found


def _here() -> Path:
    """The current folder, which goes along with foreign commands. Raises BadSpec where it is too large to travel."""
    size = sum(file.stat().st_size for file in Path.cwd().rglob("*") if file.is_file())
    if size > _MOST_FILES:
        raise BadSpec(
            f"The current folder travels to the guests with --command, and it has {size / 1e6:.0f} MB.",
            next_step="start from a folder with the program and what it needs, and nothing else",
        )
    return Path.cwd()


def _write_patches(campaign: Campaign, trial: kernel.Trial) -> None:
    folder = campaign.folder / "patches"
    with cache.writing("the mutants' patches", folder):
        folder.mkdir(exist_ok=True)
        for one in trial.placed.mutants.values():
            (folder / f"{one.id}.patch").write_text(kernel.patch(one, trial.sources, trial.placed))
