"""What travels to a guest: the suite as a tar, pytest (and the interpreter's own library) as zip files.

A guest's root is 9p, where each import costs a dozen round trips: from a zip in the guest's memory pytest is imported
several times faster. Zips are kept in the cache by their content's versions; the suite is packed for each run.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from py_compile import PycInvalidationMode, compile

import pytest

from ringrig import cache

_PARTS = ("ringrig/__init__.py", "ringrig/uring", "ringrig/model", "ringrig/guest")
# What the agent, the cases and pytest import, found out by importing it all in a clean interpreter.
_IMPORTS = """
import importlib, json, sys
import pytest, _pytest.config
for name in _pytest.config.default_plugins:
    importlib.import_module("_pytest." + name)
import array, ast, ctypes, ctypes.util, difflib, enum, errno, fcntl, itertools, mmap, random, resource, select, signal, socket
import struct, subprocess, tempfile, threading, tomllib, traceback, fnmatch, platform, importlib.resources
print(json.dumps([[name, getattr(module, "__file__", None)] for name, module in list(sys.modules.items())]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Files to put on a guest's Python path, first to last; `library` only where the guest has this very interpreter."""

    folder: Path
    library: str = "library.zip"
    packages: str = "packages.zip"


def dependencies(*, say: cache.Say) -> Pack:
    """pytest and what it needs as zip files in the cache. NoSpace."""
    identity = f"3{sys.version}{MAGIC_NUMBER!r}{pytest.__version__}{_IMPORTS}{sys.prefix}"
    name = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return Pack(folder=cache.entry("pack", name, make=_make, say=say))


def _make(folder: Path) -> None:
    out = subprocess.run(
        [sys.executable, "-I", "-c", _IMPORTS], check=True, capture_output=True, text=True
    ).stdout
    files = {Path(file) for _, file in json.loads(out) if file}
    library, site = Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))
    # What pytest imports late must be there too; of the rest (Pygments has 300 lexers) what was imported will do.
    whole = {site / name for name in ("pytest", "_pytest", "pluggy", "iniconfig", "packaging")}
    used = {file for file in files if file.is_relative_to(site) and not whole & set(file.parents)}
    with tempfile.TemporaryDirectory() as scratch:
        _zip(
            folder / "packages.zip",
            site,
            [*_sources(whole), *_sources(used)],
            Path(scratch),
            with_source=True,
        )
        with zipfile.ZipFile(folder / "packages.zip", "a") as packages:
            for about in site.glob("*.dist-info/METADATA"):
                packages.write(about, str(about.relative_to(site)))
        # A package must come whole: what is missing in the zip would not be looked for elsewhere.
        tops = {
            library / file.relative_to(library).parts[0] for file in files if file.is_relative_to(library)
        }
        own = [
            file
            for file in _sources(tops - {site.parent, library / "lib-dynload"})
            if "test" not in file.parts
        ]
        _zip(folder / "library.zip", library, own, Path(scratch), with_source=False)


def _sources(tops: Iterable[Path]) -> Iterator[Path]:
    for top in sorted(tops):
        yield from sorted(top.rglob("*.py")) if top.is_dir() else [top] if top.suffix == ".py" else []


def _zip(path: Path, base: Path, files: Iterable[Path], scratch: Path, *, with_source: bool) -> None:
    # Stored, not deflated: at start-up there is no zlib yet, and a guest has little time to inflate.
    with zipfile.ZipFile(path, "w") as out:
        for file in files:
            inside = file.relative_to(base)
            compiled = scratch / "module.pyc"
            compile(
                str(file),
                str(compiled),
                dfile=str(inside),
                doraise=True,
                invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
            )
            out.write(compiled, str(inside.with_suffix(".pyc")))
            if with_source:
                out.write(file, str(inside))


def suite(root: Path, tops: Iterable[str], ini: str, path: Path) -> None:
    """A tar of the test folders `tops` (below `root`), of what of ringrig travels, and of pytest's `ini`, at `path`.

    pytest's rewritten modules in __pycache__ go along: they are valid as long as the sources' times travel too.
    """
    with tarfile.open(path, "w") as out:
        for top in [*_PARTS, *sorted(set(tops))]:
            if (root / top).exists():
                out.add(root / top, top)
        with tempfile.NamedTemporaryFile("w", suffix=".ini") as file:
            file.write(ini)
            file.flush()
            out.add(file.name, "pytest.ini")
