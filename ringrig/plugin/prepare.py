"""Before a run: the kernel found, its parts at hand, the run folder made; and all of it handed to pytest-xdist's workers."""

from __future__ import annotations

import atexit
import ctypes
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ringrig import cache, host, runs, vmimage
from ringrig.cache import Say
from ringrig.errors import BadSpec, RigError
from ringrig.guest.markers import MARKERS
from ringrig.kernel import config as kernel_config
from ringrig.kernel import resolve
from ringrig.kernel.build import patch_files
from ringrig.kernel.spec import Board, Image, Target, Wanted
from ringrig.plugin.progress import Progress
from ringrig.vm import board, pack, xstate
from ringrig.vm.link import Keys
from ringrig.vm.plan import Plan

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One run: its plan, its folder, and whether requirements could be checked before booting."""

    plan: Plan
    folder: Path
    notes: tuple[str, ...]
    """What the header says beyond the kernel's name: checks that could not be made."""


def prepare(config: pytest.Config, progress: Progress) -> Context:
    """Everything a run needs, or pytest.exit with the one message and the rig's exit code."""
    try:
        return _prepare(config, progress)
    except RigError as error:
        pytest.exit(str(error), returncode=error.exit_code)
    finally:
        progress.done()


def _prepare(config: pytest.Config, progress: Progress) -> Context:
    get = config.getoption
    wanted = Wanted.of(guest=get("guest"), configs=get("config"), patches=get("patch"))
    target = resolve(get("kernel"), wanted=wanted, say=progress.say)
    means = {name: get(name) for name in ("image", "accel", "cpus", "memory")}
    folder = Path(get("run_folder")).absolute() if get("run_folder") else None
    if folder is None and config.option.collectonly:
        folder = _scratch()  # no run: runs/latest stays what it is
    if folder is None and config.pluginmanager.hasplugin("ringrig.plugin.shell"):
        folder = runs.new_folder(config.rootpath, "shell")  # no more is a shell, but its guest has logs
    context = context_for(
        target, wanted, config.rootpath, _tops(config), folder=folder, say=progress.say, **means
    )
    if config.pluginmanager.hasplugin("ringrig.campaign.coverage_session"):
        context = replace(context, plan=replace(context.plan, gcov=True))
    if config.pluginmanager.hasplugin("ringrig.campaign.lines_session"):
        context = replace(context, plan=replace(context.plan, gcov=True, totals=True))
    if judge := get("judged_by"):
        context = replace(context, plan=replace(context.plan, profile=judge))
    if context.plan.kind == "image" and not config.option.collectonly:
        pack.rewritten(config.rootpath, context.plan.tops)
    pack_suite(context.plan, config.rootpath)
    if not config.option.xmlpath:
        config.option.xmlpath = str(context.folder / "junit.xml")
    return context


def context_for(
    target: Target,
    wanted: Wanted,
    root: Path,
    tops: Iterable[str],
    *,
    image: str = "host",
    accel: str = "auto",
    cpus: int = 2,
    memory: str = "1G",
    folder: Path | None = None,
    say: Say,
) -> Context:
    """A run of the clone `root` on a kernel: all that its guests need but the packed suite. Raises RigErrors.

    `folder`: its run folder; default: a new one in runs/.
    """
    notes: list[str] = []
    scratch = _scratch()
    plan = Plan(
        kind="host",
        spec=target.spec,
        label=target.label,
        release=getattr(target, "release", ""),
        folder="",
        scratch=str(scratch),
        suite=str(scratch / "suite.tar"),
        tops=tuple(sorted(tops)),
        pack="",
        accel=accel,
        cpus=cpus,
        memory=memory,
    )
    if isinstance(target, Image):
        if not kernel_config.requirements(target):
            notes.append("no config file beside the image: its options could not be checked before booting")
        if target.build_id is None:
            notes.append("the image shows no build-id: that it is the kernel that runs could not be checked")
        Keys.make(plan.keys)
        plan = replace(
            plan,
            kind="image",
            guest="uml" if target.arch == "um" else "qemu",
            path=str(target.path),
            libs=str(target.libs) if target.libs else None,
            preload=_preload(target, say),
            vmlinux=str(target.vmlinux) if target.vmlinux else None,
            profile=target.profile,
            lacks=target.lacks,
            modules=str(target.modules) if target.modules else None,
            build_id=target.build_id,
            sshd=str(host.sshd(say=say)),
            root=_root(image, say),
        )
    elif isinstance(target, Board):
        plan = replace(plan, kind="board", user=target.user or "", host=target.host, port=target.port or 22)
        plan = replace(plan, release=board.release(plan))
    if plan.kind != "host":
        plan = replace(plan, pack=str(pack.dependencies(say=say)))
    if folder is None:
        folder = _run_folder(root, target.spec)
    elif (folder / "results.jsonl").exists():
        raise BadSpec(f"{folder} holds a run already.", next_step="name another folder: --run-folder DIR")
    else:
        with cache.writing("the run folder", folder):
            folder.mkdir(parents=True, exist_ok=True)
    plan = replace(plan, folder=str(folder))
    if isinstance(target, Image) and target.config is not None:
        with cache.writing("the run folder", folder):
            shutil.copy(target.config, folder / "kernel.config")
            _keep_inputs(target, wanted, folder)
    return Context(plan=plan, folder=folder, notes=tuple(notes))


def pack_suite(plan: Plan, root: Path, *, cases: Sequence[str] = (), files: Path | None = None) -> None:
    """The tar that travels to the plan's guests, with what pack.suite() lets go along. NoSpace."""
    with cache.writing("the packed suite"):
        pack.suite(root, plan.tops, _ini(), Path(plan.suite), cases=cases, files=files)


def _keep_inputs(image: Image, wanted: Wanted, folder: Path) -> None:
    """What a kernel was built from: its facts (source, tree object, compiler) and the patches."""
    built = image.path.parents[1] / "built.json"
    if built.is_file():
        shutil.copy(built, folder / "kernel.json")
    keep_patches(wanted.patches, folder)


def keep_patches(patches: Sequence[str], folder: Path) -> None:
    """Copies of the patches that a kernel was built with, into a run folder."""
    for number, given in enumerate(map(Path, patches), start=1):
        for file in patch_files(given):
            place = folder / "patches" / f"{number}-{given.name}" / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)


def _tops(config: pytest.Config) -> set[str]:
    """The folders (below the root) that hold the cases: `suites`, and whatever other paths were named."""
    tops = {"suites"}
    for arg in config.args:
        path = (config.invocation_params.dir / arg.split("::", 1)[0]).resolve()
        if path.is_relative_to(config.rootpath) and path != config.rootpath:
            relative = path.relative_to(config.rootpath)
            tops.add(relative.parts[0] if relative.parts[0] != "tests" else str(Path(*relative.parts[:2])))
    return {top for top in tops if (config.rootpath / top).exists()}


def _ini() -> str:
    return "[pytest]\naddopts = --import-mode=importlib --strict-markers\nmarkers =\n" + "".join(
        f"    {marker}\n" for marker in MARKERS
    )


def _preload(image: Image, say: Say) -> str | None:
    library = xstate.preload(say=say) if image.arch == "um" else None
    return str(library) if library else None


def _root(name: str, say: Say) -> str | None:
    root = vmimage.build(name, say=say)
    return None if root == Path("/") else str(root)


def _scratch() -> Path:
    """A folder for sockets, keys and the packed suite, gone when this process ends; left-overs of killed runs go too."""
    base = cache.folder() / "live"
    with cache.writing("the cache folder"):
        base.mkdir(parents=True, exist_ok=True)
        for old in base.glob("*-*"):
            if not Path("/proc", old.name.split("-")[0]).exists():
                shutil.rmtree(old, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=base))
    owner = os.getpid()
    atexit.register(lambda: shutil.rmtree(scratch, ignore_errors=True) if os.getpid() == owner else None)
    return scratch


def _run_folder(root: Path, spec: str) -> Path:
    """runs/<time>_<kernel>, and runs/latest pointing to it. NoSpace: it cannot be made."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", spec).strip("-")[-60:]
    folder = runs.new_folder(root, name)
    with cache.writing("runs/latest", folder.parent):
        latest = folder.parent / f".latest-{os.getpid()}"
        latest.symlink_to(folder.name)
        latest.replace(folder.parent / "latest")
    return folder


class ForWorkers:
    """Hands the context to each pytest-xdist worker."""

    def __init__(self, context: Context) -> None:
        self.context = context

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: object) -> None:
        node.workerinput["ringrig"] = self.context.plan.to_json()  # type: ignore[attr-defined]


def of_worker(config: pytest.Config) -> Context:
    # A worker notices a controller that was killed only after seconds, and its guest with it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    plan = Plan.from_json(config.workerinput["ringrig"])  # type: ignore[attr-defined]
    return Context(plan=plan, folder=Path(plan.folder), notes=())
