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
from pathlib import Path

from five_patches import PATCHES

from ringrig.kernel import fragments
from ringrig.kernel.repo import git

_TOOLS = Path(sys.executable).parent
_LOG = "cold.log"


def main(folder: Path, numbers: list[int]) -> None:
    """A line for each patch that is asked for."""
    print("patch\tbuild\tcpu\tboot", flush=True)
    tree = folder / "cold"
    (folder / _LOG).unlink(missing_ok=True)
    for number in numbers:
        shutil.rmtree(tree, ignore_errors=True)
        git(["worktree", "prune"], where=folder / "linux")
        git(
            ["worktree", "add", "-q", "--detach", str(tree), f"v2~{len(PATCHES) - number}"],
            where=folder / "linux",
        )
        _configure(tree)
        build, cpu = _timed(["vng", "--build", "-j", str(os.cpu_count())], tree)
        # The rig's configuration has no udev's devices, by which vng would learn of the exit status: the console says it.
        boot, _ = _timed(
            ["vng", "--verbose", "--disable-kvm", "-r", ".", "--exec", "true"],
            tree,
            says=b"script exited with code 0",
        )
        print(f"{number}\t{build:.0f}\t{cpu:.0f}\t{boot:.1f}", flush=True)


def _configure(tree: Path) -> None:
    """The .config that `vng --build` finds, and leaves as it is."""
    requested = fragments.merge(fragments.gather((), "x86"), "x86")
    (tree / "requested").write_text(fragments.text(requested))
    _timed(["make", "KCONFIG_ALLCONFIG=requested", requested.target], tree)


def _timed(argv: list[str], where: Path, *, says: bytes = b"") -> tuple[float, float]:
    """Seconds by the clock, and of CPU in all its processes. It ends with 0, or says so; all its words go to FOLDER/cold.log."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    ended = subprocess.run(
        argv,
        cwd=where,
        env={**os.environ, "PATH": f"{_TOOLS}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    with (where.parent / _LOG).open("ab") as log:
        log.write(ended.stdout)
    assert says in ended.stdout if says else ended.returncode == 0, ended.stdout[-2000:].decode()
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main(
        Path(sys.argv[1]).absolute(), [int(word) for word in sys.argv[2:]] or list(range(1, len(PATCHES) + 1))
    )
