"""`rig mutate`: how good is the suite? One kernel with all mutants, and what notices them."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import fnmatch
import hashlib
import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from ringrig import cache, runs
from ringrig.cache import Say
from ringrig.campaign import baseline as baselines
from ringrig.campaign import kernel, mutants, mutate_asked, nearest
from ringrig.campaign.alone import compare
from ringrig.campaign.baseline import Baseline, Docket
from ringrig.campaign.generate import generate
from ringrig.campaign.guests import Guests
from ringrig.campaign.mutants import Mutant
from ringrig.campaign.mutate_asked import Asked
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
    "memcg": "faults",
    "disks": "disks",
    "compat32": "compat32",
    "x86": "x86",
}
"""The fragment that brings a mutant's tool, or the architecture that is one."""


def run(arguments: Sequence[str], *, root: Path) -> Campaign:
    """The whole campaign, with its results in its run folder as they came. Raises RigErrors."""
    asked = mutate_asked.ask(arguments)
    began, progress = time.monotonic(), Progress()
    try:
        with contextlib.chdir(asked.where):
            campaign = _campaign(asked, root, progress.say)
    finally:
        progress.done()
    campaign.seconds = round(time.monotonic() - began, 1)
    return campaign


def _campaign(asked: Asked, root: Path, say: Say) -> Campaign:
    chosen = asked.chosen
    wanted = Wanted.of(guest=chosen.guest, configs=chosen.config, patches=chosen.patch)
    spec = runs.kernel_from_here(chosen.kernel)
    _are_no_mutants(chosen, root)
    paths = runs.from_here(chosen.paths)
    docket = Docket(cases=chosen.command or nearest.known(paths, root=root), commands=bool(chosen.command))
    unchanged = kernel.sources(spec, wanted, say=say)
    catalogue = _catalogue(chosen, unchanged, root)
    trial = kernel.make(
        catalogue, unchanged, wanted, forgiving=lambda one: one.origin == "generated", say=say
    )
    options = [
        *(f"--config={name}" for name in wanted.configs),
        *(f"--patch={name}" for name in wanted.patches),
    ]
    context = prepare.context_for(trial.image, wanted, root, {"suites"}, folder=asked.folder, say=say)
    identity = _identity(trial, docket, root)
    mutate_asked.store(asked, context.folder, identity)
    plan = context.plan
    pack.rewritten(root, plan.tops)
    if docket.commands:
        prepare.pack_suite(plan, root, files=_here())
    else:
        prepare.pack_suite(plan, root, cases=docket.cases)
    manner = Manner(timeout=_CASE_SECONDS, fresh=False, options=("--tb=line", "-qq"))
    with (
        mutate_asked.resumable(context.folder, say),
        (context.folder / "guests.log").open("a") as log,
        Guests(
            plan, count=chosen.guests, manner=manner, say=lambda line: print(line, file=log, flush=True)
        ) as guests,
    ):
        began = time.monotonic()
        known = KnownIssues.load(root / "suites/known-issues.toml", plan)
        base = _baseline(identity, docket=docket, known=known, guests=guests, say=say)
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
        campaign.take_up(trial.placed.mutants.values())
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
    tools = {Path(name).name for name in wanted.configs} | {trial.image.arch}
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
    judged = {one.mutant.id for one in campaign.verdicts}
    queue = [number for number, one in on_trial.items() if number not in apart and one.id not in judged]
    total = len(judged) + len(queue)
    say(f"{total} mutants on trial{f', {len(judged)} of them judged before' if judged else ''}")
    began = time.monotonic()
    try:
        for count, verdict in enumerate(guests.map(court.judge, queue), start=1):
            campaign.add(verdict)
            done = len(campaign.verdicts)
            if done % _NEWS == 0 or done == total:
                left = (time.monotonic() - began) * (total - done) / count
                rest = f"; about {left / 60:.0f} min left" if left >= 60 else ""
                say(f"  {done} of {total} mutants, {done - campaign.count()['killed']} not killed{rest}")
    except KeyboardInterrupt:  # what is known by now is worth a report
        campaign.untried = total - len(campaign.verdicts)
    campaign.judging_seconds = round(time.monotonic() - began, 1)
    for verdict in apart.values():
        campaign.add(verdict)
    if not docket.commands:
        found = {one.mutant.id: one.kills[0].case for one in campaign.verdicts if one.kills}
        with cache.writing("what killed which mutant"):
            new = history.with_name(f".{history.name}.{os.getpid()}")
            new.write_text(json.dumps(before | found))
            new.replace(history)  # another campaign may be reading it


def _baseline(identity: str, *, docket: Docket, known: KnownIssues, guests: Guests, say: Say) -> Baseline:
    """As it was taken before of the same kernel, suite and cases; foreign commands are always run."""
    saved = cache.folder() / "baselines" / f"{identity}.json"
    found = None if docket.commands else Baseline.load(saved)
    if found is None:
        found = baselines.take(guests, docket, known, say=say)
        if not docket.commands:
            found.save(saved)
    return found


def _identity(trial: kernel.Trial, docket: Docket, root: Path) -> str:
    """Of the kernel, the cases, and everything that can change what they do: in the suite, or beside a command."""
    told = hashlib.sha256(f"{trial.image.build_id}\0{trial.image.profile}\0{docket.cases}".encode())
    base = _here() if docket.commands else root
    for part in ("",) if docket.commands else ("suites", "ringrig/uring", "ringrig/model", "ringrig/guest"):
        for file in sorted((base / part).rglob("*")):
            if file.suffix in (".py", ".toml", ".sh") or (docket.commands and file.is_file()):
                told.update(f"{file.relative_to(base)}\0".encode() + file.read_bytes())
    return told.hexdigest()[:20]


def _catalogue(chosen: argparse.Namespace, unchanged: kernel.Sources, root: Path) -> list[Mutant]:
    """What the options ask for. Raises BadCatalogue, BadSpec."""
    given = [Path(name) for name in chosen.catalogue] or [_nearest(unchanged.series, root)]
    found = mutants.load(given)
    if chosen.generate:
        found += generate(unchanged.files)
    for asked in chosen.only:
        if not any(_meant(asked, one) for one in found):
            near = difflib.get_close_matches(asked, [*(one.id for one in found), *_FRAGMENT], n=4)
            raise BadSpec(
                f"No mutant's id or tool matches {asked!r}.",
                next_step="the nearest are\n" + "\n".join(f"    {name}" for name in near)
                if near
                else f"ids are in {', '.join(map(str, given))}; tools: {', '.join(_FRAGMENT)}",
            )
    return found


def _wanted(mutant: Mutant, chosen: argparse.Namespace) -> bool:
    """The whole catalogue is in the kernel, which so is built once; --only says which mutants are on trial."""
    return not chosen.only or any(_meant(asked, mutant) for asked in chosen.only)


def _are_no_mutants(chosen: argparse.Namespace, root: Path) -> None:
    """BadSpec: a mutant's id stands where cases do, as behind an --only that was meant for several."""
    strange = [path for path in chosen.paths if "/" not in path and not Path(path).exists()]
    if not strange:
        return
    folders = [Path(name) for name in chosen.catalogue] or [*(root / "mutants").glob("*.*/")]
    if ids := {one.id for folder in folders for one in mutants.load([folder])} & set(strange):
        raise BadSpec(
            f"{min(ids)} is a mutant, and no case.",
            next_step=f"--only takes one word, and may stand again: --only {' --only '.join(sorted(ids))}",
        )


def _meant(asked: str, mutant: Mutant) -> bool:
    return fnmatch.fnmatchcase(mutant.id, asked) or asked == mutant.needs


def _nearest(series: str, root: Path) -> Path:
    """The catalogue of that series, or of the newest before it, or of the oldest."""

    def number(name: str) -> tuple[int, ...]:
        return tuple(map(int, name.split(".")))

    folders = [folder for folder in (root / "mutants").iterdir() if re.fullmatch(r"\d+\.\d+", folder.name)]
    folders.sort(key=lambda folder: number(folder.name))
    older = [folder for folder in folders if number(folder.name) <= number(series)]
    return older[-1] if older else folders[0]


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
