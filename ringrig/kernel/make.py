"""`make` on a kernel, boxed: a series' Makefile is foreign code (design, law 11).

In the box there is no network and no $HOME; the source is read-only, the output and ccache's folder can be
written, and of the host only programs and libraries are seen. The paths in it are always the same, so builds of
different sources share ccache's results and equal inputs give equal images.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ringrig import cache
from ringrig.cache import Say
from ringrig.errors import BuildFailed, HostLacks
from ringrig.kernel.source import Origin
from ringrig.vm.box import end_box

SOURCE = "/build/src/"
"""Where the source lies in the box, and so in debug information and compiler messages."""
_STEP = re.compile(r"^  (?:CC|AS|HOSTCC|LD|AR|GEN|UPD|CHK|WRAP|HOSTLD|VDSO|LDS|OBJCOPY)\b")
# gcc, ld, kbuild and the shell, in the words they use for what stops a build.
_ERROR = re.compile(
    r"(?:: (?:fatal )?error: |undefined reference|multiple definition|: Error: |\bld: .*(?:error|cannot)|"
    r"No rule to make target|command not found|[Nn]o such file or directory|ERROR: modpost|^Makefile:\d+: \*\*\* )"
)
_SAID = 12
_NEWS_SECONDS = 10.0
_UNFINISHED = ".unfinished"
_TIMES = ".times"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What one run of make took: steps, and CPU time in seconds (user and system, of all its processes)."""

    steps: int
    cpu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One place to build: an origin's checkout, one output directory for an architecture and configuration."""

    origin: Origin
    arch: str
    out: Path
    log: Path
    ccache: bool = True
    variables: Mapping[str, str] = field(default_factory=dict)
    """What make is told beside the rig's own."""

    @property
    def _arch_name(self) -> str:
        return {"x86": "x86_64", "um": "um"}[self.arch]

    def open(self) -> None:
        """Make the output directory ready. What a build that was cut short left may be half a file: it goes."""
        if (self.out / _UNFINISHED).exists():
            shutil.rmtree(self.out)
        self.out.mkdir(parents=True, exist_ok=True)

    def run(self, *targets: str, flags: str = "", say: Say, expected: int = 0) -> Ran:
        """Runs make; `expected` steps are for the estimate. Raises BuildFailed, NoSpace.

        Killed with Ctrl-C it leaves nothing running, and the next build begins this output directory anew.
        """
        (self.out / _UNFINISHED).touch()
        steps, tail = 0, _Tail()
        process = subprocess.Popen(
            self._argv(targets, flags),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        try:
            news = _News(say, expected)
            with self.log.open("ab") as log:
                for line in process.stdout:
                    log.write(line)
                    text = line.decode(errors="replace").rstrip("\n")
                    tail.add(text)
                    if _STEP.match(text):
                        steps += 1
                        news.step(steps)
            status = process.wait()
        finally:
            end_box(process)
            process.stdout.close()
        if tail.full_disk:
            raise cache.full(f"building {self.origin.label}")
        # make itself has ended, so no file is half written.
        (self.out / _UNFINISHED).unlink()
        if status:
            failure = BuildFailed(
                f"{self.origin.label} does not build ({' '.join(targets)}, {self._arch_name}):\n{tail.errors()}",
                next_step=f"the whole log: {self.log}",
            )
            failure.log = self.log
            raise failure
        return Ran(steps=steps, cpu=_seconds((self.out / _TIMES).read_text()))

    def _argv(self, targets: Sequence[str], flags: str) -> list[str]:
        store = cache.folder() / "ccache"
        store.mkdir(parents=True, exist_ok=True)
        compiler = "ccache gcc" if self.ccache else "gcc"
        variables = {
            **self.variables,
            "O": "/build/out",
            "ARCH": self._arch_name,
            "CC": compiler,
            "HOSTCC": compiler,
            "LOCALVERSION": "",
            "KCFLAGS": flags,
            # What would make two builds of the same source differ.
            "KBUILD_BUILD_TIMESTAMP": "@0",
            "KBUILD_BUILD_USER": "ringrig",
            "KBUILD_BUILD_HOST": "ringrig",
            "KBUILD_BUILD_VERSION": "1",
        }
        jobs = f"-j{len(os.sched_getaffinity(0))}"
        make = ["make", "-C", "/build/src", jobs, *(f"{name}={value}" for name, value in variables.items())]
        # bubblewrap's own times do not include what ran in it.
        timed = f'"$@"; status=$?; times >/build/out/{_TIMES}; exit $status'
        return box(
            ["sh", "-c", timed, "sh", *make, *targets],
            readable={"/build/src": self.origin.place / "src"},
            writable={"/build/out": self.out, "/ccache": store},
            environment={
                "CCACHE_DIR": "/ccache",
                "CCACHE_NOHASHDIR": "1",
                "CCACHE_BASEDIR": "/build",
                "CCACHE_MAXSIZE": "5G",
            },
        )


def _seconds(times: str) -> float:
    """The shell's `times`: its own, then its children's user and system time, like 12m3.450s."""
    return sum(60 * int(minutes) + float(rest) for minutes, rest in re.findall(r"(\d+)m([\d.]+)s", times))


def box(
    command: Sequence[str],
    *,
    readable: Mapping[str, Path],
    writable: Mapping[str, Path],
    environment: Mapping[str, str],
) -> list[str]:
    """The bubblewrap command line for a build step. Raises HostLacks."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise HostLacks("Builds are boxed with bubblewrap.", next_step="apt-get install bubblewrap, or ./rig")
    out = [bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    out += _programs()
    out += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    for flag, mounts in (("--ro-bind", readable), ("--bind", writable)):
        for place, path in mounts.items():
            out += [flag, str(path), place]
    own = {"PATH": "/usr/bin:/bin:/usr/sbin", "HOME": "/tmp", "LC_ALL": "C", **environment}
    for name, value in own.items():
        out += ["--setenv", name, value]
    return [*out, "--chdir", "/build/out", "--", *command]


def _programs() -> list[str]:
    out = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            out += ["--symlink", str(path.readlink()), f"/{name}"]
        elif path.is_dir():
            out += ["--ro-bind", str(path), f"/{name}"]
    for name in ("alternatives", "ld.so.cache"):
        if (path := Path("/etc", name)).exists():
            out += ["--ro-bind", str(path), str(path)]
    return out


class _News:
    """Tells how far a build is, now and then, with an estimate of what is left."""

    def __init__(self, say: Say, expected: int) -> None:
        self._say, self._expected = say, expected
        self._began = self._told = time.monotonic()

    def step(self, steps: int) -> None:
        now = time.monotonic()
        if now - self._told < _NEWS_SECONDS:
            return
        self._told = now
        # Small builds on top of an earlier one do not take the steps of a whole one, so the estimate is an upper bound.
        total = max(self._expected, steps)
        left = (total - steps) * (now - self._began) / steps
        rest = f", at most {left / 60:.0f} min left" if left >= 90 else f", at most {left:.0f} s left"
        self._say(f"  {steps} of about {total} objects{rest if self._expected else ''}")


class _Tail:
    """The lines of a build's output that say why it failed."""

    def __init__(self) -> None:
        self._errors: list[str] = []
        self._last: list[str] = []
        self.full_disk = False

    def add(self, line: str) -> None:
        self.full_disk |= "No space left on device" in line
        self._last = [*self._last[-20:], line]
        if _ERROR.search(line) and not line.startswith("make["):
            # gcc says before an error which function it is in.
            before = self._last[-2] if len(self._last) > 1 and "In function" in self._last[-2] else None
            self._errors += [before, line] if before else [line]

    def errors(self) -> str:
        found: Iterator[str] = iter(self._errors or [line for line in self._last if line.strip()])
        shown = [
            line.replace(SOURCE, "").replace("../src/", "")
            for line, _ in zip(found, range(_SAID), strict=False)
        ]
        return "\n".join(f"    {line}" for line in shown)
