"""Source, configuration, patches → a bootable image, kept by what it was made of."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from ringrig import cache
from ringrig.cache import Say
from ringrig.errors import BadPatch
from ringrig.kernel import fragments, toolchain
from ringrig.kernel.buildid import of_vmlinux
from ringrig.kernel.fragments import Requested
from ringrig.kernel.make import Bench
from ringrig.kernel.source import Origin
from ringrig.kernel.spec import Image, Wanted
from ringrig.vm import accel

KIND = "builds"
_BASIS = ("base", "um")
_KEPT = 24
_OUTS_KEPT = 4
_RECIPE = "1"
"""Changes when this module makes another image of the same inputs."""
_IMAGES = {"x86": "arch/x86/boot/bzImage", "um": "linux"}
TARGETS = {"x86": "bzImage", "um": "linux"}
# Line tables alone: enough for file:line in splats, and little to build. They change no code.
LINE_TABLES = "-g1"
_STEPS_AN_OPTION = 5.4
"""Steps of make for each option that is on, for the first estimate of an unknown build (measured on base)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """Everything that decides what comes out."""

    origin: Origin
    tree: str
    arch: str
    requested: Requested

    @property
    def settings(self) -> str:
        """Identifies architecture and configuration, whatever the source: one output directory each."""
        told = "".join(f"{name}={value}\n" for name, value in self.requested.variables.items())
        return (
            f"{self.arch}-{hashlib.sha256((fragments.text(self.requested) + told).encode()).hexdigest()[:12]}"
        )

    @property
    def key(self) -> str:
        facts = "\0".join([self.tree, self.settings, toolchain.identity(), _RECIPE])
        return f"{self.arch}-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"


def image(origin: Origin, wanted: Wanted, *, say: Say) -> Image:
    """The image of a source with configuration fragments and patches; built unless it is in the cache.

    Raises HostLacks, BadConfig, BadPatch, BuildFailed, NoSpace.
    """
    toolchain.check()
    arch = _arch(wanted.guest, say=say)
    parts = fragments.gather(wanted.configs, arch)
    requested = fragments.merge(parts, arch)
    tree, profile = patched(origin, wanted, say=say)
    job = _Job(origin=origin, tree=tree, arch=arch, requested=requested)
    place = cache.entry(KIND, job.key, make=lambda folder: _make(job, folder, say=say), say=say)
    cache.prune(KIND, keep=_KEPT)
    facts = json.loads((place / "built.json").read_text())
    basis = tuple(str(option) for one in parts if one.name in _BASIS for option in one.options)
    extras = [one.name for one in parts if one.name not in _BASIS]
    about = ", ".join(
        [{"um": "uml", "x86": "qemu"}[arch], *extras, *(f"+{Path(given).name}" for given in wanted.patches)]
    )
    return Image(
        spec=origin.spec,
        label=f"{origin.label} [{about}]",
        path=place / "boot" / facts["image"],
        release=facts["release"],
        build_id=facts["build_id"],
        modules=None,
        config=place / "boot" / f"config-{facts['release']}",
        package=None,
        arch=arch,
        vmlinux=place / "vmlinux",
        profile=profile,
        # What base asks for shows in the cases that are left out; what was asked for by name must be said.
        lacks=tuple(lack for lack in facts["lacks"] if not lack.startswith(basis)),
    )


def patched(origin: Origin, wanted: Wanted, *, say: Say) -> tuple[str, str | None]:
    """The source's tree with the patches applied, and the model's profile that they ask for. Raises BadPatch."""
    tree, profile = origin.tree, None
    for given in map(Path, wanted.patches):
        files = patch_files(given)
        say(f"applying {len(files)} patches of {given}" if len(files) > 1 else f"applying {given}")
        for file in files:
            tree = origin.repo.apply(tree, file, to=origin.label)
        profile = _profile(given) or profile
    return tree, profile


def _arch(guest: str, *, say: Say) -> str:
    if guest == "auto":
        guest = "qemu" if accel.kvm_works(say) else "uml"
    return {"qemu": "x86", "uml": "um"}[guest]


def patch_files(given: Path) -> list[Path]:
    """The patches of a file or of a directory, in their order. Raises BadPatch."""
    if given.is_dir():
        found = sorted([*given.glob("*.patch"), *given.glob("*.diff")])
        if not found:
            raise BadPatch(f"{given} holds no *.patch and no *.diff.", next_step="check the path")
        return found
    if not given.is_file():
        raise BadPatch(
            f"There is no {given}.", next_step="check the path: --patch takes a file or a directory"
        )
    return [given]


def _profile(given: Path) -> str | None:
    """The model's profile that a directory of patches asks to be judged by, in its file `profile`."""
    file = given / "profile"
    return file.read_text().strip() if file.is_file() else None


def _make(job: _Job, folder: Path, *, say: Say) -> None:
    log = cache.folder() / "build-logs" / f"{job.key}.log"
    log.parent.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    with cache.locked(job.origin.lock, say=say):
        began = time.monotonic()
        _prune_outs(job)
        job.origin.repo.checkout(job.tree, job.origin.place / "src", index=job.origin.place / "git/src.index")
        bench = Bench(
            origin=job.origin,
            arch=job.arch,
            out=job.origin.place / "out" / job.settings,
            log=log,
            variables=job.requested.variables,
        )
        bench.open()
        lacks = _configure(job, bench, say=say)
        text = (bench.out / ".config").read_text()
        expected = _expected(job, text)
        say(
            f"building {job.origin.label} for {job.arch} (about {expected} objects where ccache and earlier builds do not help)"
        )
        flags = "" if re.search(r"^CONFIG_DEBUG_INFO=y", text, re.MULTILINE) else LINE_TABLES
        ran = bench.run(TARGETS[job.arch], flags=flags, say=say, expected=expected)
        _remember(job, ran.steps)
        release = (bench.out / "include/config/kernel.release").read_text().strip()
        built = bench.out / _IMAGES[job.arch]
        name = f"{'linux' if job.arch == 'um' else 'vmlinuz'}-{release}"
        (folder / "boot").mkdir()
        shutil.copy(built, folder / "boot" / name)
        shutil.copy(bench.out / "vmlinux", folder / "vmlinux")
        (folder / "boot" / f"config-{release}").write_text(text)
        _keep_notes(bench, folder)
    shutil.copy(log, folder / "build.log")
    facts = {
        "source": job.origin.label,
        "tree": job.tree,
        "arch": job.arch,
        "image": name,
        "release": release,
        "build_id": of_vmlinux(folder / "vmlinux"),
        "lacks": lacks,
        "toolchain": toolchain.name(),
        "steps": ran.steps,
        "seconds": round(time.monotonic() - began, 1),
        "cpu seconds": round(ran.cpu, 1),
    }
    (folder / "built.json").write_text(json.dumps(facts, indent=1) + "\n")
    say(f"built {release} in {facts['seconds']} s ({ran.cpu / 60:.1f} CPU-minutes)")


def _keep_notes(bench: Bench, folder: Path) -> None:
    """What gives gcov's counters a meaning: the compiler's notes, and the sources they speak of."""
    if notes := list(bench.out.glob("io_uring/*.gcno")):
        (folder / "gcov").mkdir()
        for file in (*notes, *(bench.origin.place / "src").glob("io_uring/*.[ch]")):
            shutil.copy(file, folder / "gcov" / file.name)


def _configure(job: _Job, bench: Bench, *, say: Say) -> tuple[str, ...]:
    """Writes .config and holds it against what was asked for; the options that this architecture has not."""
    say(f"configuring {job.origin.label} for {job.arch}")
    write_config(bench, job.requested, say=say)
    found = (bench.out / ".config").read_text()
    return fragments.verify(job.requested, found, job.origin.place / "src", job.arch)


def write_config(bench: Bench, requested: Requested, *, say: Say) -> float:
    """Makes the .config of what was requested; the CPU time it took, in seconds. Raises BuildFailed, NoSpace."""
    (bench.out / "requested").write_text(fragments.text(requested))
    first = bench.run("KCONFIG_ALLCONFIG=/build/out/requested", requested.target, say=say)
    return first.cpu + bench.run("olddefconfig", say=say).cpu


def _prune_outs(job: _Job) -> None:
    """An output directory takes some hundred MB; those used last stay, for builds on top of them."""
    outs = sorted(job.origin.place.glob("out/*/"), key=lambda out: out.stat().st_mtime, reverse=True)
    for old in [out for out in outs if out.name != job.settings][_OUTS_KEPT - 1 :]:
        shutil.rmtree(old)
    if (own := job.origin.place / "out" / job.settings).is_dir():
        os.utime(own)


def _totals(job: _Job) -> Path:
    return job.origin.place / "steps.json"


def _expected(job: _Job, text: str) -> int:
    """Steps of a build from nothing: as the last time, or guessed from the number of options."""
    known: dict[str, int] = json.loads(_totals(job).read_text()) if _totals(job).exists() else {}
    return known.get(job.settings) or int(len(re.findall("=y$", text, re.MULTILINE)) * _STEPS_AN_OPTION)


def _remember(job: _Job, steps: int) -> None:
    known: dict[str, int] = json.loads(_totals(job).read_text()) if _totals(job).exists() else {}
    # A build on top of an earlier one takes fewer.
    known[job.settings] = max(steps, known.get(job.settings, 0))
    _totals(job).write_text(json.dumps(known) + "\n")
