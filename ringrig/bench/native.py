"""nops.c as a shared object, built here; loop.py loads it, here or in a guest.

cffi's out-of-line ABI mode: the compiler makes a plain shared object, which needs no Python.h and fits every Python, and cffi
writes a module of its declarations, which needs nothing but cffi's backend where it is loaded. A call lasts a
whole round, so that this mode's slower calls do not matter.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from ringrig import cache
from ringrig.bench.loop import DECLARATIONS, LIBRARY
from ringrig.errors import HostLacks

_FLAGS = ("-O2", "-shared", "-fPIC", "-std=gnu11", "-Wall", "-Werror")


def build(*, say: cache.Say) -> Path:
    """The cache folder with the shared object, its declarations and cffi's backend. HostLacks, NoSpace."""
    source, header = (Path(__file__).with_name(name) for name in ("nops.c", "nops.h"))
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise HostLacks(
            "The benchmark's hot loop is C, and there is no compiler here.",
            next_step="install one (Debian: apt-get install gcc libc6-dev)",
        )
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
    parts = [
        source.read_bytes(),
        header.read_bytes(),
        Path(__file__).read_bytes(),
        version,
        sys.version.encode(),
    ]
    name = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    return cache.entry("bench", name, make=lambda folder: _make(folder, compiler, source, header), say=say)


def _make(folder: Path, compiler: str, source: Path, header: Path) -> None:
    import _cffi_backend
    import cffi

    argv = [compiler, *_FLAGS, "-include", "stdint.h", "-o", str(folder / LIBRARY), str(source)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HostLacks(
            f"The benchmark's hot loop does not compile here:\n{done.stderr[-1500:]}",
            next_step="the C library's and the kernel's headers are needed (Debian: apt-get install libc6-dev)",
        )
    ffi = cffi.FFI()
    ffi.cdef(header.read_text())
    ffi.set_source(DECLARATIONS, None)
    with contextlib.redirect_stdout(None):  # it says what it writes
        ffi.emit_python_code(str(folder / f"{DECLARATIONS}.py"))
    backend = Path(_cffi_backend.__file__)
    shutil.copy(backend, folder / backend.name)
