"""Build the module `ringrig_disaster` for one kernel, with that kernel's headers from the machine's apt.

The header packages are downloaded and unpacked into a cache folder, never installed. Run as a program:
`python tests/disasters/build_module.py RELEASE CACHE` prints the path of the module.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ringrig.errors import HostLacks, KernelUnavailable, RigError

NAME = "ringrig_disaster"
PROC_FILE = f"/proc/{NAME}"
_SOURCE = Path(__file__).parent / "module"
# What the headers need at build time and what this machine may have in their stead.
_PROGRAMS = {"make": "make", "apt-get": "apt", "dpkg-deb": "dpkg", "ld": "binutils"}


def build_module(headers_for: str, cache: Path) -> Path:
    """`ringrig_disaster.ko` for the release `headers_for` (uname -r), built at most once for each source.

    Needs apt lists that know the release, and the network the first time. Raises HostLacks without make, the
    kernel's compiler or apt, KernelUnavailable when apt has no headers of that release, RigError when the
    build fails.
    """
    home = cache / "disaster-module" / headers_for
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RigError(
            f"Cannot make the cache folder {home}: {error}", next_step="free it or name another"
        ) from error
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = home / _source_digest() / f"{NAME}.ko"
        if not built.exists():
            _require_programs()
            headers = home / "headers"
            # The Makefiles hold absolute paths, so headers that were moved are not usable.
            complete = headers / "complete"
            if not complete.exists() or complete.read_text() != str(headers):
                _fetch_headers(headers_for, headers)
            _compile(headers_for, headers, built)
    return built


def _source_digest() -> str:
    parts = (path.read_bytes() for path in _sources())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def _sources() -> list[Path]:
    return [_SOURCE / "Kbuild", _SOURCE / f"{NAME}.c"]


def _require_programs() -> None:
    missing = sorted(package for program, package in _PROGRAMS.items() if shutil.which(program) is None)
    if missing:
        raise HostLacks(
            f"A kernel module cannot be built here: {', '.join(missing)} missing.",
            next_step=f"apt-get install {' '.join(missing)}",
        )


def _fetch_headers(release: str, headers: Path) -> None:
    """Unpack the header packages of `release` into `headers`, pointing there instead of at /usr/src."""
    with tempfile.TemporaryDirectory(dir=headers.parent) as scratch:
        debs, tree = Path(scratch) / "debs", Path(scratch) / "tree"
        debs.mkdir()
        main = _download(f"linux-headers-{release}", debs)
        depends = _run(["dpkg-deb", "--field", str(main), "Depends"]).stdout
        for package in re.findall(r"\blinux-(?:headers|kbuild)-[\w.+~-]+", depends):
            _download(package, debs)
        for deb in debs.glob("*.deb"):
            _run(["dpkg-deb", "--extract", str(deb), str(tree)])
        shutil.rmtree(headers, ignore_errors=True)
        tree.rename(headers)
    for makefile in (headers / "usr/src").glob("linux-headers-*/Makefile"):
        text = makefile.read_text()
        makefile.write_text(text.replace("/usr/src/linux-", f"{headers}/usr/src/linux-"))
    (headers / "complete").write_text(str(headers))


def _download(package: str, into: Path) -> Path:
    before = set(into.iterdir())
    done = _run(["apt-get", "download", "-q", package], cwd=into, check=False)
    fetched = set(into.iterdir()) - before
    if done.returncode or not fetched:
        raise KernelUnavailable(
            f"apt cannot download {package}: {_last_line(done.stderr)}",
            next_step="apt-get update; is the release spelt as `uname -r` says it?",
        )
    return fetched.pop()


def _compile(release: str, headers: Path, built: Path) -> None:
    tree = headers / "usr/src" / f"linux-headers-{release}"
    compiler = _compiler(tree / ".config")
    with tempfile.TemporaryDirectory(dir=built.parent.parent) as scratch:
        for source in _sources():
            shutil.copy(source, scratch)
        # BTF would want pahole; the prefix map keeps the scratch folder's name out of the WARNINGs.
        settings = [
            f"CC={compiler}",
            "CONFIG_DEBUG_INFO_BTF_MODULES=",
            f"KCFLAGS=-fmacro-prefix-map={scratch}/=",
        ]
        make = ["make", "-s", "-C", str(tree), f"M={scratch}", *settings, "modules"]
        done = _run(make, check=False)
        if done.returncode:
            first = re.search(r"^.*(?:error:|not found).*$", done.stderr, re.MULTILINE)
            raise RigError(
                f"{NAME} does not compile for {release}: {first[0] if first else _last_line(done.stderr)}",
                next_step=f"in a copy of {_SOURCE}: make -C {tree} M=$PWD {' '.join(settings)} modules",
            )
        built.parent.mkdir(exist_ok=True)
        (Path(scratch) / f"{NAME}.ko").replace(built)


def _compiler(config: Path) -> str:
    """The compiler that the kernel was built with, or any gcc of its major version or later."""
    match = re.search(
        r'^CONFIG_CC_VERSION_TEXT="(?:[\w-]*-)?(gcc)(?:-(\d+))?', config.read_text(), re.MULTILINE
    )
    wanted = "gcc" if match is None or match[2] is None else f"gcc-{match[2]}"
    for candidate in (wanted, "gcc"):
        if shutil.which(candidate):
            return candidate
    raise HostLacks(f"This kernel's modules need {wanted}.", next_step=f"apt-get install {wanted}")


def _run(
    command: Sequence[str], *, cwd: Path | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        raise RigError(
            f"{command[0]} failed: {_last_line(done.stderr)}", next_step=f"by hand: {' '.join(command)}"
        )
    return done


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


if __name__ == "__main__":
    print(build_module(sys.argv[1], Path(sys.argv[2]).absolute()))
