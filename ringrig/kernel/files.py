"""A path → an image to boot: a bzImage or vmlinuz file, or a built kernel tree.

Both are snapshots in the cache: a tree that is built again while guests run must not change under them,
depmod and virtme-ng write where they find modules, and the user's files are not theirs to write.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from ringrig import cache
from ringrig.cache import Say
from ringrig.errors import KernelUnavailable, NotAKernel
from ringrig.kernel import bootimage, uml
from ringrig.kernel.buildid import build_id, digest, of_vmlinux
from ringrig.kernel.modules import index
from ringrig.kernel.spec import Image

_IN_TREE = Path("arch/x86/boot/bzImage")
_KEPT = 6


def looks_like_path(spec: str) -> bool:
    """Whether a spec is meant as a path, be it there or not."""
    return spec.startswith(("/", "./", "../", "~")) or spec in {".", ".."} or Path(spec).exists()


def resolve(spec: str, *, say: Say) -> Image:
    """The image that a path stands for. Raises KernelUnavailable, NotAKernel, HostLacks, NoSpace."""
    path = Path(spec).expanduser().absolute()
    if not path.exists():
        raise KernelUnavailable(f"There is no {path}.", next_step="check the path")
    executable = path / "linux" if path.is_dir() and not (path / _IN_TREE).is_file() else path
    if executable.is_file() and uml.is_executable(executable):
        return uml.from_file(spec, executable, say=say)
    if path.is_dir():
        return _tree(spec, path, say=say)
    tree = path.parents[len(_IN_TREE.parts) - 1] if path.parts[-4:] == _IN_TREE.parts else None
    if path.name == "vmlinux" and (path.parent / _IN_TREE).is_file():
        _same_build(path, path.parent / _IN_TREE)
        tree = path.parent
    if tree and (tree / ".config").is_file():
        return _tree(spec, tree, say=say)
    return _file(spec, path, say=say)


def _same_build(vmlinux: Path, image: Path) -> None:
    if of_vmlinux(vmlinux) != build_id(image):
        raise NotAKernel(
            f"{vmlinux} is of another build than {image} beside it.",
            next_step="run make bzImage, or give the bzImage",
        )


def _file(spec: str, path: Path, *, say: Say) -> Image:
    boot = bootimage.read(path)
    places = (parent / usr for parent in path.resolve().parents for usr in ("lib/modules", "usr/lib/modules"))
    modules = next((place / boot.release for place in places if (place / boot.release).is_dir()), None)
    configs = [path.with_name(f"config-{boot.release}"), *([modules / "config"] if modules else [])]
    config = next((file for file in configs if file.is_file() and os.access(file, os.R_OK)), None)

    def make(folder: Path) -> None:
        _snapshot(folder, boot, config)
        if modules:
            _copy_modules(folder, boot.release, modules.rglob("*"), base=modules, say=say)

    files = modules.rglob("*.ko*") if modules else []
    return _image(spec, boot, _key(boot, files, config), make, say=say)


def _tree(spec: str, tree: Path, *, say: Say) -> Image:
    image = tree / _IN_TREE
    if not image.is_file():
        built = "no arch/x86/boot/bzImage in it" if (tree / "Kbuild").exists() else "it is no kernel tree"
        raise KernelUnavailable(
            f"{tree} cannot be booted: {built}.",
            next_step="give a built tree (make bzImage modules), or a bzImage file",
        )
    boot = bootimage.read(image)
    order = tree / "modules.order"
    named = order.read_text().split() if order.is_file() else []
    # Before 6.2 the names in modules.order began with kernel/.
    modules = [tree / name.removeprefix("kernel/") for name in named]
    absent = [file for file in modules if not file.is_file()]
    if absent:
        raise KernelUnavailable(
            f"{tree} is half built: {len(absent)} of {len(modules)} modules are missing.",
            next_step=f"make -C {tree} modules",
        )
    config = tree / ".config"
    described = [tree / name for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo")]

    def make(folder: Path) -> None:
        _snapshot(folder, boot, config if config.is_file() else None)
        if modules:
            _copy_modules(folder, boot.release, modules, base=tree, say=say, below="kernel")
            for file in described:
                if file.is_file():
                    shutil.copyfile(file, folder / "lib/modules" / boot.release / file.name)
            index(folder, boot.release)

    return _image(spec, boot, _key(boot, modules, config), make, say=say)


def _key(boot: bootimage.BootImage, modules: Iterable[Path], config: Path | None) -> str:
    """Changes when the image, a module or the configuration does."""
    facts = hashlib.sha256(digest(boot.path).encode())
    for file in sorted(modules):
        stat = file.stat()
        facts.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    if config and config.is_file():
        facts.update(config.read_bytes())
    return f"{boot.release}-{facts.hexdigest()[:16]}"


def _snapshot(folder: Path, boot: bootimage.BootImage, config: Path | None) -> None:
    (folder / "boot").mkdir()
    shutil.copyfile(boot.path, folder / "boot" / f"vmlinuz-{boot.release}")
    if config:
        shutil.copyfile(config, folder / "boot" / f"config-{boot.release}")


def _copy_modules(
    folder: Path, release: str, files: Iterable[Path], *, base: Path, say: Say, below: str = ""
) -> None:
    wanted = [file for file in files if file.is_file() and (below or not _leads_out(file, base))]
    size = sum(file.stat().st_size for file in wanted)
    cache.need_space(f"Copying the modules of {release}", size)
    say(f"copying the modules of {release} ({size / 1e6:.0f} MB)")
    target = folder / "lib" / "modules" / release
    for file in wanted:
        place = target / below / file.relative_to(base)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    if not below and not (target / "modules.dep").exists():
        index(folder, release)


def _leads_out(file: Path, base: Path) -> bool:
    """lib/modules/R/build and /source lead to headers and sources, which no guest needs."""
    return file.relative_to(base).parts[0] in {"build", "source"}


def _image(spec: str, boot: bootimage.BootImage, key: str, make: cache.Make, *, say: Say) -> Image:
    root = cache.entry("images", key, make=make, say=say)
    cache.prune("images", keep=_KEPT)
    path = root / "boot" / f"vmlinuz-{boot.release}"
    config = root / "boot" / f"config-{boot.release}"
    return Image(
        spec=spec,
        label=f"{spec} ({boot.release})",
        path=path,
        release=boot.release,
        build_id=build_id(path),
        modules=root if (root / "lib/modules" / boot.release).is_dir() else None,
        config=config if config.is_file() else None,
        package=None,
    )
