"""`rig doctor`: what this machine has, what it lacks, and what follows from each. Nothing is changed."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ringrig import cache
from ringrig.errors import HostLacks, RigError

_GIB = 1 << 30
_IO_URING_SETUP = 425
_MARKS = {"ok": "ok  ", "note": "note", "lack": "LACK"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing about the machine: `grade` is ok, note (works, but) or lack (guests cannot run)."""

    grade: str
    name: str
    what: str
    follows: str = ""


def main(*, root: Path) -> int:
    """Prints the facts; 0, or HostLacks' code if something is missing that guests need."""
    found = list(facts(root=root))
    for fact in found:
        follows = f"\n{'':23}→ {fact.follows}" if fact.follows else ""
        print(f"{_MARKS[fact.grade]}  {fact.name:15}  {fact.what}{follows}")
    lacks = [fact.name for fact in found if fact.grade == "lack"]
    if lacks:
        print(f"\nguests cannot run here for want of: {', '.join(lacks)}")
        return HostLacks.exit_code
    print("\nguests can run here")
    return 0


def facts(*, root: Path) -> Iterator[Fact]:
    """Everything that decides how, and whether, guests run on this machine."""
    yield Fact(grade="ok", name="python", what=f"{platform.python_version()}, environment {root / '.venv'}")
    yield from _programs()
    yield _box()
    yield _builders()
    yield _kvm()
    yield _size()
    yield from _space(root)
    yield _archive()
    yield _io_uring()
    yield _kernel_log()
    yield _kernels()


def _programs() -> Iterator[Fact]:
    yield _program("qemu", "qemu-system-x86_64", "qemu-system-x86", version="--version")
    yield _program("file", "file", "file", why="virtme-ng reads a kernel's version with it")
    yield _program("depmod", "depmod", "kmod", why="a kernel's modules are indexed with it")
    busybox = [Path(place, "busybox") for place in ("/usr/local/bin", "/usr/bin", "/bin")]
    if any(_is_static(path) for path in busybox):
        yield Fact(grade="ok", name="busybox", what="static")
    else:
        yield Fact(
            grade="lack",
            name="busybox",
            what="no static busybox",
            follows="initramfs needs the package busybox-static",
        )
    virtiofsd = next(
        (p for p in ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd") if Path(p).exists()), None
    )
    yield Fact(
        grade="ok", name="virtiofsd", what=virtiofsd or "none", follows="guests get their root over 9p anyhow"
    )


def _program(name: str, program: str, package: str, *, version: str = "", why: str = "") -> Fact:
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        return Fact(
            grade="lack",
            name=name,
            what=f"no {program}",
            follows=f"install {package}{f': {why}' if why else ''}",
        )
    return Fact(grade="ok", name=name, what=_first_line([path, version]) if version else path)


def _is_static(path: Path) -> bool:
    if not path.exists():
        return False
    return subprocess.run(["/lib64/ld-linux-x86-64.so.2", "--verify", str(path)], check=False).returncode == 1


def _box() -> Fact:
    path = shutil.which("bwrap")
    if path is None:
        return Fact(
            grade="lack",
            name="bubblewrap",
            what="no bwrap",
            follows="guests are boxed with it: install bubblewrap",
        )
    tried = subprocess.run(
        [path, "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "--proc", "/proc", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        return Fact(
            grade="lack",
            name="bubblewrap",
            what=f"cannot make a box: {tried.stderr.strip()[-200:]}",
            follows="allow user namespaces (sysctl kernel.unprivileged_userns_clone=1), or run as root",
        )
    return Fact(grade="ok", name="bubblewrap", what=_first_line([path, "--version"]))


def _builders() -> Fact:
    from ringrig.kernel import toolchain

    if packages := toolchain.missing():
        return Fact(
            grade="note",
            name="builds",
            what=f"missing: {', '.join(packages)}",
            follows="source: and tree: kernels are built with them; ./rig installs them when one is asked for",
        )
    return Fact(grade="ok", name="builds", what=toolchain.name())


def _kvm() -> Fact:
    if not Path("/dev/kvm").exists():
        what, follows = (
            "there is no /dev/kvm",
            "QEMU emulates (TCG, a boot takes 10 to 30 s); --guest uml runs at native speed",
        )
    elif not os.access("/dev/kvm", os.R_OK | os.W_OK):
        what, follows = (
            "/dev/kvm may not be opened",
            "join the group kvm, else guests run under emulation (TCG)",
        )
    else:
        what = "/dev/kvm opens, which proves nothing"
        follows = (
            "the first boot tries it, falls back to emulation (TCG) if the guest stays silent, and remembers"
        )
    with_memory = cache.folder() / "accel.json"
    try:
        known = json.loads(with_memory.read_text())
        what += f"; remembered from a boot: {known['kind']} ({known['why']})"
        follows = f"to have it tried again: rig cache clear {with_memory.name}"
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nothing remembered yet
    return Fact(grade="note", name="kvm", what=what, follows=follows)


def _size() -> Fact:
    cores = len(os.sched_getaffinity(0))
    memory = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    free = int(memory[1]) * 1024 / _GIB if memory else 0.0
    guests = max(1, min(cores, int(free / 1.5)))
    grade = "ok" if free >= 1.5 else "note"
    follows = f"-n {guests} is the most guests at once that make sense; each takes 1 GiB"
    return Fact(
        grade=grade, name="size", what=f"{cores} cores, {free:.1f} GiB of memory free", follows=follows
    )


def _space(root: Path) -> Iterator[Fact]:
    for name, place in (("cache", cache.folder()), ("clone", root)):
        there = next(path for path in (place, *place.parents) if path.exists())
        free = shutil.disk_usage(there).free / _GIB
        what = f"{place}: {free:.1f} GiB free"
        if not os.access(there, os.W_OK):
            yield Fact(
                grade="lack", name=name, what=f"{place} cannot be written", follows="see XDG_CACHE_HOME"
            )
        elif free < 1:
            yield Fact(grade="note", name=name, what=what, follows="a Debian kernel takes up to 0.5 GiB")
        else:
            yield Fact(grade="ok", name=name, what=what)


def _archive() -> Fact:
    from ringrig.kernel import apt

    try:
        mirror = apt.configured()
    except RigError as error:
        return Fact(grade="note", name="apt", what=error.what, follows=error.next_step)
    if mirror is None:
        return Fact(
            grade="note",
            name="apt",
            what="no package lists of a Debian mirror",
            follows="debian:X.Y kernels need one: apt-get update (./rig run fetches lists of its own)",
        )
    limits = ("Acquire::Retries=0", "Acquire::http::Timeout=5", "APT::Sandbox::User=root")
    with tempfile.TemporaryDirectory() as scratch:
        tried = subprocess.run(
            [
                "/usr/lib/apt/apt-helper",
                *(f"-o{limit}" for limit in limits),
                "download-file",
                f"{mirror.uri.rstrip('/')}/dists/{apt.release()}/Release",
                f"{scratch}/Release",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    if tried.returncode:
        return Fact(
            grade="note",
            name="apt",
            what="the mirror is not reached",
            follows="only kernels that are cached, and files",
        )
    return Fact(grade="ok", name="apt", what=f"the mirror of {apt.release()} answers")


def _io_uring() -> Fact:
    # Zero entries are refused with EINVAL, but only to those who may use io_uring at all.
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(_IO_URING_SETUP, 0, None)
    if ctypes.get_errno() in {errno.EINVAL, errno.EFAULT}:
        return Fact(grade="ok", name="io_uring", what=f"open to this user on {platform.release()}")
    switch = Path("/proc/sys/kernel/io_uring_disabled")
    value = switch.read_text().strip() if switch.exists() else "absent"
    return Fact(
        grade="note",
        name="io_uring",
        what=f"{os.strerror(ctypes.get_errno())} (kernel.io_uring_disabled: {value})",
        follows="--kernel host cannot run; guests are not concerned",
    )


def _kernel_log() -> Fact:
    try:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.read(log, 8192)
        os.close(log)
    except BlockingIOError:
        os.close(log)
    except OSError as error:
        return Fact(
            grade="note",
            name="kernel log",
            what=f"/dev/kmsg cannot be read: {error.strerror}",
            follows="--kernel host runs without watching for splats; guests are not concerned",
        )
    return Fact(grade="ok", name="kernel log", what="/dev/kmsg can be read")


def _kernels() -> Fact:
    facts = [path.read_text().split() for path in sorted((cache.folder() / "kernels").glob("[!.]*/package"))]
    names = ", ".join(f"debian:{series} ({version})" for _, version, series, _ in facts)
    return Fact(grade="ok", name="kernels", what=f"in the cache: {names}" if names else "none in the cache")


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).partition("\n")[0]
