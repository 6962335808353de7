"""What the five patches of five_patches.py cost without the rig: a cold `vng --build` and a boot for each.

    python tests/long/vng_cold.py FOLDER [NUMBER…]

FOLDER is what five_patches.py made; numbers choose patches. Each kernel is built in a checkout of its own, without
ccache, with the rig's lean configuration for x86 (virtme-ng's own has about twice as many objects). A line for each
goes to stdout: seconds of the build, its CPU seconds, seconds of `vng --exec true`.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Container
from pathlib import Path

from ringrig.kernel import fragments
from ringrig.kernel.repo import git

_TOOLS = Path(sys.executable).parent
_PATCHES = 5
_LOG = "cold.log"


def main(folder: Path, numbers: list[int]) -> None:
    """A line for each patch that is asked for."""
    print("patch\tbuild\tcpu\tboot", flush=True)
    tree = folder / "cold"
    (folder / _LOG).unlink(missing_ok=True)
    for booted, number in enumerate(numbers, start=1):
        shutil.rmtree(tree, ignore_errors=True)
        git(["worktree", "prune"], where=folder / "linux")
        git(
            ["worktree", "add", "-q", "--detach", str(tree), f"v2~{_PATCHES - number}"],
            where=folder / "linux",
        )
        _configure(tree)
        build, cpu = _timed(["vng", "--build", "-j", str(os.cpu_count())], tree)
        # The rig's configuration has no udev's devices, by which vng would learn of the exit status: the console says it.
        boot, _ = _timed(
            ["vng", "--verbose", "--disable-kvm", "-r", ".", "--exec", "true"], tree, codes={0, 255}
        )
        assert (folder / _LOG).read_bytes().count(b"script exited with code 0") == booted
        print(f"{number}\t{build:.0f}\t{cpu:.0f}\t{boot:.1f}", flush=True)


def _configure(tree: Path) -> None:
    """The .config that `vng --build` finds, and leaves as it is."""
    requested = fragments.merge(fragments.gather((), "x86"), "x86")
    (tree / "requested").write_text(fragments.text(requested))
    _timed(["make", "KCONFIG_ALLCONFIG=requested", requested.target], tree)


def _timed(argv: list[str], where: Path, *, codes: Container[int] = (0,)) -> tuple[float, float]:
    """Seconds by the clock, and of CPU in all its processes. What it says goes to FOLDER/cold.log."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with (where.parent / _LOG).open("ab") as log:
        ended = subprocess.run(
            argv,
            cwd=where,
            env={**os.environ, "PATH": f"{_TOOLS}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=False,
        )
    assert ended.returncode in codes, argv
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, cpu


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), [int(word) for word in sys.argv[2:]] or list(range(1, _PATCHES + 1)))
