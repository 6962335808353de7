"""`rig bench build`: what a kernel's build costs in CPU time, beside virtme-ng's own configuration of the same source."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ringrig import cache
from ringrig.errors import BuildFailed
from ringrig.kernel import fragments, source, toolchain
from ringrig.kernel.build import LINE_TABLES, TARGETS, write_config
from ringrig.kernel.make import Bench, box
from ringrig.kernel.source import Origin
from ringrig.kernel.spec import debian_series
from ringrig.vm.box import python_parts


def main(arguments: Sequence[str]) -> int:
    """`rig bench build [--kernel source:X.Y] [x86|um|vng]…`. BuildFailed, and what the source cannot be had for."""
    parser = argparse.ArgumentParser(prog="rig bench build", description="What a kernel's build costs.")
    parser.add_argument("--kernel", default="source:6.12", metavar="source:X.Y")
    parser.add_argument("--config", default="base", metavar="NAME[,…]", help="fragments (default: base)")
    parser.add_argument(
        "what", nargs="*", metavar="x86|um|vng", help="which builds, in this order (default: all three)"
    )
    chosen = parser.parse_args(arguments)
    wanted = chosen.what or ["x86", "um", "vng"]
    if unknown := set(wanted) - {"x86", "um", "vng"}:
        parser.error(f"there is no build {', '.join(sorted(unknown))}")
    toolchain.check()
    kind, series = debian_series(chosen.kernel) or ("", "")
    if kind != "source":
        parser.error("--kernel takes source or source:X.Y here")
    origin = source.package(series, say=_say)
    names = chosen.config.split(",")
    with cache.locked(origin.lock, say=_say):
        origin.repo.checkout(origin.tree, origin.place / "src", index=origin.place / "git/src.index")
        print(
            f"{origin.label}, {toolchain.name()}, {len(os.sched_getaffinity(0))} cores, CPU minutes (user and system)"
        )
        costs = {what: _vng(origin) if what == "vng" else _own(origin, what, names) for what in wanted}
        if {"x86", "vng"} <= costs.keys():
            share = costs["x86"] / costs["vng"]
            print(f"{chosen.config} for x86 takes {share:.2f} of what virtme-ng's configuration does")
    return 0


def _own(origin: Origin, arch: str, names: Sequence[str]) -> float:
    """Cold, without ccache; then again after a change to kbuf.c."""
    requested = fragments.merge(fragments.gather(names, arch), arch)
    with _bench(origin, arch) as bench:

        def cold() -> float:
            configured = write_config(bench, requested, say=_say)
            return configured + bench.run(TARGETS[arch], flags=LINE_TABLES, say=_say).cpu

        cpu = _measure(f"{','.join(names)} for {arch}, cold", cold)
        (origin.place / "src/io_uring/kbuf.c").touch()
        _measure(
            f"{','.join(names)} for {arch}, after a touch of io_uring/kbuf.c",
            lambda: bench.run(TARGETS[arch], flags=LINE_TABLES, say=_say).cpu,
        )
    return cpu


def _vng(origin: Origin) -> float:
    """`vng --kconfig`, then bzImage."""
    with _bench(origin, "x86") as bench:
        argv = box(
            ["sh", "-c", "cd /build/src && vng --kconfig"],
            readable={**python_parts(), "/build/src": origin.place / "src"},
            writable={"/build/out": bench.out},
            environment={"KBUILD_OUTPUT": "/build/out", "PATH": f"{Path(sys.prefix, 'bin')}:/usr/bin:/bin"},
        )

        def cold() -> float:
            done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
            if done.returncode:
                raise BuildFailed(f"vng --kconfig: {done.stderr.strip()[-500:]}", next_step="run it by hand")
            return bench.run("bzImage", say=_say).cpu

        return _measure("virtme-ng's configuration (vng --kconfig), cold", cold)


@contextmanager
def _bench(origin: Origin, arch: str) -> Iterator[Bench]:
    """An output directory that nobody else has, without ccache."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=origin.place))
    try:
        bench = Bench(origin=origin, arch=arch, out=folder / "out", log=folder / "log", ccache=False)
        bench.open()
        yield bench
    finally:
        shutil.rmtree(folder)


def _measure(what: str, work: Callable[[], float]) -> float:
    began = time.monotonic()
    cpu = work()
    wall = time.monotonic() - began
    print(f"{what:60} {cpu / 60:6.1f} min of CPU, {wall:6.0f} s by the clock", flush=True)
    return cpu


def _say(line: str) -> None:
    print(f"rig: {line}", file=sys.stderr, flush=True)
