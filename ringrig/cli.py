"""`rig …`: the command line. Every command imports what it needs when it runs: a start must cost little."""

from __future__ import annotations

import argparse
import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_USAGE = """\
usage: rig COMMAND …

  rig run [--kernel K]… [PYTEST ARGUMENTS…]   run the suites; a verdict and a run folder for each kernel
  rig build [--kernel K] [--config C] [--patch P] [--guest G]
                                              build a kernel and print the path of its image
  rig test [--full]                           run the project's own tests
  rig doctor                                  what this machine has, what it lacks, and what follows
  rig cache [clear [NAME…]]                   what lies in the cache folder; remove it
  rig image [list | build NAME]               what a guest's root can be
  rig shell [--kernel K]                      a shell in a guest
  rig gdb                                     attach to a guest that was kept
  rig matrix FILE [CASE]…                     the same cases on many kernels and configurations, in one table
  rig bisect --tree PATH --good REV --bad REV NODEID
                                              the commit that broke a case, flaky or not
  rig worker ADDRESS [--jobs K]               take jobs of campaigns that run with --cluster ADDRESS
  rig series [--tree PATH [--base REV] | --kernel K] MBOX|DIR|RANGE [CASE]…
                                              which patch of a series breaks what, and which mends it
  rig compare RUN RUN                         what a second run fails and leaves out that the first does not
  rig mutate [--kernel K] [--generate] [--catalogue F] [--command CMD] …
                                              which faults put into the kernel the suite notices
  rig explain NODEID [--kernel K] [--patch P] [--good K2]
                                              which line of the kernel made a case fail
  rig coverage [--kernel K] …                 which lines of the provided-buffer code the suites execute
  rig coverage --reach FILE:LINE [--from RUN] the cases that execute a line
  rig reproduce NODEID [--kernel K] [--good K2]
                                              a C program that shows what a failing case shows
  rig report [FOLDER] [--html | --ktap | --junit | --kcidb]
                                              a run or campaign as a page for a browser, or as text for machines
  rig history [NODEID]                        what became of a case in the runs of this clone; which are flaky
  rig bench boot | build | nops               what a guest, a build, a provided buffer costs
  rig bench --kernel A --kernel B             whether provided buffers cost more in B than in A

kernels: host · debian[:X.Y] · debian-uml[:X.Y] · source[:X.Y] · tree:PATH[@REV] · a bzImage or vmlinuz ·
         a built kernel tree · ssh:[USER@]HOST[:PORT]
`rig run -h` lists the options of a run, which are pytest's and the rig's. More: README.md and docs/.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code (docs/exit-codes.md)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    from ringrig.errors import NoSpace, RigError

    try:
        code = _command(given)
        print(end="", flush=True)
        return code
    except RigError as error:
        print(f"rig: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nrig: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader (head, less) has seen enough
        _hush()
        return 0
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        _hush()
        place = error.filename or "standard output"
        print(f"rig: No space left while writing {place}.\n  next: free some space there", file=sys.stderr)
        return NoSpace.exit_code


def _hush() -> None:
    """Python must not complain while it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _command(given: list[str]) -> int:
    if not given or given[0] in {"-h", "--help", "help"}:
        sys.stdout.write(_USAGE)
        return 0
    if (command := _COMMANDS.get(given[0])) is None:
        from ringrig.errors import BadSpec

        raise BadSpec(f"There is no command {given[0]!r}.", next_step=f"take one of: {', '.join(_COMMANDS)}")
    return command(given[1:])


def say(line: str) -> None:
    """A line of progress, apart from what a command prints as its result."""
    print(f"rig: {line}", file=sys.stderr, flush=True)


def _run(arguments: list[str]) -> int:
    from ringrig import runs

    return runs.run(arguments, root=ROOT)


def _build(arguments: list[str]) -> int:
    parser = _parser("build", "Build a kernel and print the path of its image.")
    parser.add_argument("--kernel", default="source", metavar="K", help="source[:X.Y], tree:PATH[@REV]")
    parser.add_argument("--config", action="append", default=[], metavar="NAME|FILE[,…]")
    parser.add_argument("--patch", action="append", default=[], metavar="FILE|DIR")
    parser.add_argument("--guest", choices=["auto", "qemu", "uml"], default="auto")
    chosen = parser.parse_args(arguments)
    from ringrig.kernel import Image, Wanted, resolve
    from ringrig.plugin.progress import Progress

    wanted = Wanted.of(guest=chosen.guest, configs=chosen.config, patches=chosen.patch)
    progress = Progress()
    try:
        target = resolve(chosen.kernel, wanted=wanted, say=progress.say)
    finally:
        progress.done()
    if not isinstance(target, Image):
        parser.error(f"{chosen.kernel} is nothing to build")
    print(target.path)
    return 0


def _test(arguments: list[str]) -> int:
    parser = _parser(
        "test", "Run the project's own tests: lint, types, unit tests, and tests with real guests."
    )
    parser.add_argument("--full", action="store_true", help="also what takes long: builds and campaigns")
    chosen = parser.parse_args(arguments)
    environments = ["lint", "types", "unit", "vm", *(["full"] if chosen.full else [])]
    # This environment has all that tox would install into each of its own once more.
    tox = [sys.executable, "-m", "tox", "run", "--skip-env-install", "-e", ",".join(environments)]
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execve(sys.executable, tox, {**os.environ, "RIG_PYTHON": sys.executable})


def _doctor(arguments: list[str]) -> int:
    _parser("doctor", "Say what this machine has and lacks. Nothing is changed.").parse_args(arguments)
    from ringrig import doctor

    return doctor.main(root=ROOT)


def _cache(arguments: list[str]) -> int:
    parser = _parser("cache", "List or clear the cache folder.")
    parser.add_argument("action", nargs="?", choices=["list", "clear"], default="list")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="what to clear, as listed, or a kind; default: everything"
    )
    chosen = parser.parse_args(arguments)
    from ringrig import cache

    if chosen.action == "clear":
        return _clear(chosen.names)
    found = cache.entries()
    for item in found:
        print(f"{item.size / 1e6:9.1f} MB  {item.name}")
    print(f"{sum(item.size for item in found) / 1e6:9.1f} MB  in {cache.folder()}")
    return 0


def _clear(names: list[str]) -> int:
    from ringrig import cache
    from ringrig.errors import BadSpec

    found = cache.entries()
    chosen = [item for item in found if not names or item.name in names or item.name.split("/")[0] in names]
    unknown = [
        name for name in names if not any(name in {item.name, item.name.split("/")[0]} for item in found)
    ]
    if unknown:
        raise BadSpec(f"The cache has no {', '.join(unknown)}.", next_step="`rig cache` lists what it has")
    busy = 0
    for item in chosen:
        if cache.clear(item):
            print(f"removed {item.name} ({item.size / 1e6:.1f} MB)")
        else:
            busy += 1
            print(f"kept {item.name}: a rig is using it")
    return 1 if busy else 0


def _image(arguments: list[str]) -> int:
    parser = _parser("image", "What a guest's root can be.")
    parser.add_argument("action", nargs="?", choices=["list", "build"], default="list")
    parser.add_argument("name", nargs="?", help="the image to build")
    chosen = parser.parse_args(arguments)
    from ringrig import vmimage

    if chosen.action == "build":
        if chosen.name is None:
            parser.error("build: which one? `rig image list` names them")
        print(vmimage.build(chosen.name, say=say))
        return 0
    for image in vmimage.known():
        print(f"{image.name:10} {image.summary}{vmimage.state(image)}")
    return 0


def _shell(arguments: list[str]) -> int:
    from ringrig.vm import shell

    return shell.main(arguments)


def _gdb(arguments: list[str]) -> int:
    from ringrig.vm import gdb

    return gdb.main(arguments)


def _bench(arguments: list[str]) -> int:
    from ringrig import bench

    return bench.main(arguments)


def _mutate(arguments: list[str]) -> int:
    from ringrig.campaign import mutate
    from ringrig.report import mutants

    return mutants.report(mutate.run(arguments, root=ROOT))


def _matrix(arguments: list[str]) -> int:
    from ringrig.campaign import matrix
    from ringrig.report import matrix as reports

    return reports.report(matrix.run(arguments, root=ROOT, say=say))


def _bisect(arguments: list[str]) -> int:
    from ringrig.campaign import bisect, bisect_step
    from ringrig.report import bisect as reports

    if "--step" in arguments:
        return bisect_step.run(arguments, root=ROOT, say=say)
    return reports.report(bisect.run(arguments, root=ROOT, say=say))


def _worker(arguments: list[str]) -> int:
    from ringrig.campaign import worker

    return worker.main(arguments, root=ROOT, say=say)


def _series(arguments: list[str]) -> int:
    from ringrig.campaign import series
    from ringrig.report import b4
    from ringrig.report import series as reports

    if {"--b4-check", "--b4-prep-check"} & set(arguments):
        return b4.report(arguments, root=ROOT, say=say)
    return reports.report(series.run(arguments, root=ROOT, say=say))


def _compare(arguments: list[str]) -> int:
    from ringrig.campaign import compare
    from ringrig.report import compare as reports

    return reports.report(compare.run(arguments))


def _explain(arguments: list[str]) -> int:
    from ringrig.campaign import explain as campaign
    from ringrig.report import explain

    return explain.report(campaign.run(arguments, root=ROOT))


def _report(arguments: list[str]) -> int:
    from ringrig.report import command

    return command.main(arguments, root=ROOT)


def _history(arguments: list[str]) -> int:
    from ringrig.report import history

    return history.main(arguments, root=ROOT)


def _coverage(arguments: list[str]) -> int:
    from ringrig.campaign import coverage

    return coverage.main(arguments)


def _reproduce(arguments: list[str]) -> int:
    from ringrig.report import reproduce

    return reproduce.main(arguments, root=ROOT)


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"rig {name}", description=description)


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": _run,
    "build": _build,
    "test": _test,
    "doctor": _doctor,
    "cache": _cache,
    "image": _image,
    "shell": _shell,
    "gdb": _gdb,
    "bench": _bench,
    "bisect": _bisect,
    "compare": _compare,
    "coverage": _coverage,
    "explain": _explain,
    "history": _history,
    "matrix": _matrix,
    "mutate": _mutate,
    "report": _report,
    "reproduce": _reproduce,
    "series": _series,
    "worker": _worker,
}

if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C, unless nohup has it ignored: nothing is lost
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):  # None where it is closed; of an old locale it lacks letters
        sys.stdout.reconfigure(errors="replace")
    sys.exit(main())
