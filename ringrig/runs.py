"""`rig run`: one pytest session for each kernel, one after the other."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from ringrig.cache import writing
from ringrig.errors import BadSpec

_PR_SET_PDEATHSIG = 1
_SI_KERNEL = 0x80
_INTERRUPTED = 2


def run(arguments: Sequence[str], *, root: Path) -> int:
    """Runs pytest on each `--kernel` in turn; the exit code is the first in order that is not 0.

    After Ctrl-C (pytest's exit code 2) the kernels that are left are not run, and named.
    """
    kernels, others = split(arguments)
    kernels = [kernel_from_here(spec) for spec in kernels] or ["debian"]
    others = from_here(others)
    os.chdir(root)
    if len(kernels) == 1:
        sys.stdout.flush()
        os.execv(sys.executable, _pytest(kernels[0], others))
    codes: list[int] = []
    for number, kernel in enumerate(kernels, start=1):
        print(f"\nrig: kernel {number} of {len(kernels)}: {kernel}", flush=True)
        codes.append(wait_for(_pytest(kernel, others)))
        if codes[-1] in {_INTERRUPTED, 128 + signal.SIGINT, 128 + signal.SIGTERM}:
            break
    print("\nrig: verdicts")
    for kernel, code in zip(kernels, codes, strict=False):
        print(f"  {kernel:30} {'passed' if code == 0 else f'exit code {code}'}")
    for kernel in kernels[len(codes) :]:
        print(f"  {kernel:30} not run")
    return next((code for code in codes if code), 0)


def new_folder(root: Path, name: str) -> Path:
    """Makes runs/<time>_<name>, with a number behind it where that is taken. NoSpace: it cannot be made."""
    with writing("a folder below runs", root / "runs"):
        base = root / "runs"
        base.mkdir(exist_ok=True)
        stamp = time.strftime("%Y-%m-%dT%H-%M-%S")
        folder, number = base / f"{stamp}_{name}", 1
        while True:
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
            number += 1
            folder = base / f"{stamp}_{name}-{number}"


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The kernels named by `--kernel K` and `--kernel=K`, and the arguments that are left, both in order."""
    kernels: list[str] = []
    others: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--kernel":
            kernel = next(rest, None)
            if kernel is None:
                raise BadSpec(
                    "--kernel needs a kernel.", next_step="for example: rig run --kernel debian:6.12"
                )
            kernels.append(kernel)
        elif argument.startswith("--kernel="):
            kernels.append(argument.removeprefix("--kernel="))
        else:
            others.append(argument)
    return kernels, others


def kernel_from_here(spec: str) -> str:
    """A path is made absolute, for pytest runs in the clone; any other spec stays as it is."""
    from ringrig.kernel.files import looks_like_path
    from ringrig.kernel.spec import debian_series

    if spec.startswith("tree:"):
        return f"tree:{_absolute(spec.removeprefix('tree:'))}"
    if (
        spec == "host"
        or spec.startswith("ssh:")
        or debian_series(spec) is not None
        or not looks_like_path(spec)
    ):
        return spec
    return _absolute(spec)


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def from_here(arguments: Sequence[str]) -> list[str]:
    """Arguments that name a file or a case where the user stands, made absolute; -k and -m take words.

    --config and --patch become one word each, as --kernel does (see _pytest()).
    """
    found: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        option, equals, value = argument.partition("=")
        if option in {"--config", "--patch"} and (equals or (value := next(rest, ""))):
            if option == "--patch":
                value = _absolute(value)
            else:  # a name of kconfigs/ is no path, even where a file of that name lies about
                value = ",".join(_absolute(part) if "/" in part else part for part in value.split(","))
            found.append(f"{option}={value}")
            continue
        path, colons, node = argument.partition("::")
        is_file = path and not argument.startswith("-") and Path(path).exists()
        named = is_file and (not found or found[-1] not in {"-k", "-m"})
        found.append(f"{_absolute(path)}{colons}{node}" if named else argument)
    return found


def configs_from_here(configs: Sequence[str]) -> tuple[str, ...]:
    """What --config was given, with files in it made absolute. BadSpec, BadConfig: a part of it is no fragment."""
    from ringrig.kernel import fragments

    def placed(part: str) -> str:
        own = fragments.find(part).path == fragments.FOLDER / part
        return part if own else _absolute(part)

    return tuple(",".join(placed(part) for part in one.split(",") if part) for one in configs)


def command(kernel: str, others: Sequence[str]) -> list[str]:
    """pytest's command line, to be run in the clone, for a kernel and arguments named where the user stands."""
    return _pytest(kernel_from_here(kernel), from_here(others))


def _pytest(kernel: str, others: Sequence[str]) -> list[str]:
    # One word: before pytest knows the option it would take a path that stands alone for a test path, and
    # from that for its root directory.
    return [sys.executable, "-m", "pytest", f"--kernel={kernel}", *others]


def wait_for(command: list[str], *, cwd: Path | None = None, output: BinaryIO | None = None) -> int:
    """Runs a child and passes signals on to it; returns its exit code, 128 + N if signal N ended it.

    `output`: where what it prints goes.
    """
    passed_on = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {*passed_on, signal.SIGCHLD})

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
        # Should this process be killed outright, the run ends as after Ctrl-C: guests gone, results kept.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)

    try:
        child = subprocess.Popen(
            command,
            preexec_fn=prepare,  # noqa: PLW1509 -- there are no threads here
            cwd=cwd,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
        )
        while child.poll() is None:
            news = signal.sigtimedwait({*passed_on, signal.SIGCHLD}, 1)
            # A terminal's Ctrl-C reaches the child by itself, and pytest takes a second one for impatience.
            if news and news.si_signo in passed_on and news.si_code != _SI_KERNEL:
                child.send_signal(news.si_signo)
        return child.returncode if child.returncode >= 0 else 128 - child.returncode
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
