"""What travels to a guest: the suite as a tar; pytest, hypothesis (and the interpreter's own library) as zip files.

A guest's root is 9p, where each import costs a dozen round trips: from a zip in the guest's memory pytest is imported
several times faster. Zips are kept in the cache by their content's versions; the suite is packed for each run.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from py_compile import PycInvalidationMode, compile

import pytest
from _pytest.assertion.rewrite import PYC_TAIL

from ringrig import cache
from ringrig.guest.command import FOLDER
from ringrig.guest.wire import CASES

_PARTS = ("ringrig/__init__.py", "ringrig/uring", "ringrig/model", "ringrig/guest")
_HYPOTHESIS = ("hypothesis", "_hypothesis_globals.py", "_hypothesis_ftz_detector.py")
_LOOKS_FOR_COMPILED = "_pytest/assertion/rewrite.py"
"""Without its asserts it would look for .pyo files (PYC_EXT), and rewrite each case anew in the guest."""
# What the agent, the cases and pytest import, found out by importing it all in a clean interpreter.
_IMPORTS = """
import importlib, json, sys
import pytest, _pytest.config
for name in _pytest.config.default_plugins:
    importlib.import_module("_pytest." + name)
import array, ast, ctypes, ctypes.util, difflib, enum, errno, fcntl, itertools, mmap, random, resource, select, signal, socket
import struct, subprocess, tempfile, threading, tomllib, traceback, fnmatch, platform, importlib.resources
import hypothesis.stateful
print(json.dumps([[name, getattr(module, "__file__", None)] for name, module in list(sys.modules.items())]))
"""


def dependencies(*, say: cache.Say) -> Path:
    """The cache folder with pytest and what it needs as zip files. NoSpace.

    library.zip and packages.zip are compiled for this very interpreter, which a guest on this machine's root
    has; sources.zip has the packages for any other.
    """
    identity = f"{sys.version}{MAGIC_NUMBER!r}{pytest.__version__}{version('hypothesis')}{sys.prefix}{Path(__file__).read_text()}"
    return cache.entry("pack", hashlib.sha256(identity.encode()).hexdigest()[:16], make=_make, say=say)


def _make(folder: Path) -> None:
    out = subprocess.run(
        [sys.executable, "-I", "-c", _IMPORTS], check=True, capture_output=True, text=True
    ).stdout
    files = {Path(file) for _, file in json.loads(out) if file}
    library, site = Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))
    # What pytest imports late must be there too; of Pygments, which has 300 lexers, what was imported will do.
    whole = {site / name for name in ("pytest", "_pytest", "py.py", "pluggy", "iniconfig", "packaging")}
    whole |= {site / name for name in ("sortedcontainers", *_HYPOTHESIS)}
    used = {file for file in files if file.is_relative_to(site / "pygments")}
    packages = [*_sources(whole), *_sources(used)]
    # A package must come whole: what is missing in the zip would not be looked for elsewhere.
    tops = {library / file.relative_to(library).parts[0] for file in files if file.is_relative_to(library)}
    own = [
        file
        for file in _sources(tops - {site.parent, site, library / "lib-dynload"})
        if "test" not in file.parts
    ]
    about = [site / f"{name}-{version(name)}.dist-info" / "METADATA" for name in ("pytest", "pluggy")]
    with tempfile.TemporaryDirectory() as scratch:
        _zip(folder / "library.zip", library, own, compiled_in=Path(scratch))
        _zip(folder / "packages.zip", site, packages, compiled_in=Path(scratch))
    _zip(folder / "sources.zip", site, packages)
    for name in ("packages.zip", "sources.zip"):
        with zipfile.ZipFile(folder / name, "a") as packed:
            for file in about:
                packed.write(file, str(file.relative_to(site)))


def _sources(tops: Iterable[Path]) -> Iterator[Path]:
    for top in sorted(tops):
        yield from sorted(top.rglob("*.py")) if top.is_dir() else [top] if top.suffix == ".py" else []


def _zip(path: Path, base: Path, files: Iterable[Path], *, compiled_in: Path | None = None) -> None:
    with zipfile.ZipFile(path, "w", compresslevel=9) as out:
        for file in files:
            inside, source = file.relative_to(base), file
            if compiled_in is not None:
                source = compiled_in / "module.pyc"
                inside = inside.with_suffix(".pyc")
                compile(
                    str(file),
                    str(source),
                    dfile=str(file.relative_to(base)),
                    doraise=True,
                    # Without docstrings there is a third less to load.
                    optimize=0 if file.match(_LOOKS_FOR_COMPILED) else 2,
                    invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
                )
            # Until it can decode file names the interpreter has no zlib; for the rest, 9p is slower than inflating.
            early = inside.parts[0] in ("encodings", "codecs.pyc", "io.pyc", "abc.pyc")
            out.write(source, str(inside), zipfile.ZIP_STORED if early else zipfile.ZIP_DEFLATED)


def rewritten(root: Path, tops: Iterable[str]) -> None:
    """Have pytest compile the cases here, once: an emulated guest needs a quarter of a minute for it."""
    for file in (file for top in tops for file in (root / top).rglob("test_*.py")):
        compiled = file.parent / "__pycache__" / f"{file.stem}{PYC_TAIL}"
        if not compiled.exists() or compiled.stat().st_mtime < file.stat().st_mtime:
            argv = [
                sys.executable,
                "-m",
                "pytest",
                "--collect-only",
                "-qq",
                "-pno:cacheprovider",
                "--kernel=host",
                *tops,
            ]
            # Where the user wants no bytecode of his own programs it would be made anew each time, and by the guest again.
            env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
            subprocess.run(argv, cwd=root, env=env, capture_output=True, check=False)
            return


def suite(
    root: Path,
    tops: Iterable[str],
    ini: str,
    path: Path,
    *,
    cases: Sequence[str] = (),
    files: Path | None = None,
) -> None:
    """A tar of the test folders `tops` (below `root`), of what of ringrig travels, and of pytest's `ini`, at `path`.

    `cases` are node ids that a host will name by their numbers; `files` is a folder that goes along (ringrig/guest/command.py).

    pytest's rewritten modules in __pycache__ go along: they are valid as long as the sources' times travel too.
    """
    with tarfile.open(path, "w") as out:
        for top in [*_PARTS, *sorted(set(tops))]:
            if (root / top).exists():
                out.add(root / top, top)
        if files is not None:
            out.add(files, FOLDER)
        for name, text in (("pytest.ini", ini), (CASES, json.dumps(list(cases)))):
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(text)
                file.flush()
                out.add(file.name, name)
