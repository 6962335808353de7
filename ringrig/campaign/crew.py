"""Where a campaign's jobs run: processes of this machine (`--jobs K`), or machines of a cluster (`--cluster ADDRESS`).

A campaign takes three lines of this module and need not know which it is:

    crew.options(parser)                                   # -n, --jobs, --cluster
    with crew.crew(chosen, root=root, suite=suite, say=say) as hands:
        for result in hands.results([(job, folder), …]):   # as they finish, not in the order given
            …

Ctrl-C (or TERM, or HUP): every job is ended, its state stays in its folder, then KeyboardInterrupt comes out of the loop.
What had ended is done, and the next time `results()` gives it at once. A round of a bisection is one call of `results()`;
a crew takes any number of calls, also within the loop over another. Jobs that are no longer wanted: leave the loop with `break`; all
those that run are ended as after Ctrl-C, and the crew is ready for the next call.
"""

from __future__ import annotations

import argparse
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ringrig.cache import Say
from ringrig.campaign.job import Job, Result, do, finished
from ringrig.children import Children, ending

GUEST_BYTES = 1280 << 20
"""What a guest of 1 GB and its share of the session around it take."""
_AGAIN = 2.0
_MOST = 256
"""Jobs of a cluster that are looked after at a time, each by a thread that mostly waits."""

Do = Callable[[Job, Path], Result]
Session = Callable[..., int]
"""(job, folder, command, *, cwd, output): the exit code of the job's session, wherever that runs."""
Task = tuple[Job, Path]


def count(text: str) -> int:
    """A number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of at least 1")
    return int(text)


def options(parser: argparse.ArgumentParser) -> None:
    """-n (guests of a job), --jobs and --cluster: `workers`, `jobs` and `cluster` in the namespace."""
    add = parser.add_argument
    add("-n", type=count, default=2, metavar="N", dest="workers", help="guests of a job (default: 2)")
    where = parser.add_mutually_exclusive_group().add_argument
    where("--jobs", type=count, default=1, metavar="K", help="jobs at a time on this machine (default: 1)")
    where("--cluster", metavar="ADDRESS", help="send the jobs to that scheduler's workers (docs/scale.md)")


def repeated(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> list[str]:
    """What the command line says of options(), for one that goes on with the campaign: left out there, it would be another crew."""
    said = {"-n": "workers", "--jobs": "jobs", "--cluster": "cluster"}
    values = {option: getattr(chosen, name) for option, name in said.items()}
    given = {option: value for option, value in values.items() if value != parser.get_default(said[option])}
    return [word for option, value in given.items() for word in (option, str(value))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Hands for jobs: the executor they go through, how many it takes at a time, and what is done with each there."""

    executor: Executor
    room: int
    do: Do
    children: Children

    def results(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """The results of jobs, each into its folder, as they finish. What a folder holds already is not done again.

        A task is asked for when there is room for it, so `tasks` may build a kernel meanwhile; within the loop more can be
        asked of the crew. A job whose own session somebody interrupted is a result too: job.interrupted() knows it. Raises the
        RigErrors of job.do(), those of the cluster, and KeyboardInterrupt. However the loop over it ends: no job runs any more then.
        """
        left = iter(tasks)
        running: set[Future[Result]] = set()
        try:
            while True:
                done = {future for future in running if future.done()}
                if not done and len(running) < self.room and (task := next(left, None)):
                    running.add(self.executor.submit(self.do, *task))
                    continue
                if not running:
                    return
                for future in done or wait(running, return_when=FIRST_COMPLETED).done:
                    running.remove(future)
                    yield future.result()
        finally:
            if [future for future in running if not future.cancel() and not future.done()]:
                self.children.end()
                wait(running)
                self.children.again()


@contextmanager
def crew(chosen: argparse.Namespace, *, root: Path, suite: str, say: Say) -> Iterator[Crew]:
    """Hands for jobs as the options() in `chosen` say. To be called from the main thread.

    `root`: the clone whose suites run; `suite`: its version (record.suite_version). Raises ClusterAway.
    """
    children = Children()
    place = _far if chosen.cluster else _here

    with ending(children.stop), place(chosen, root, suite, children, say) as (room, session):

        def work(job: Job, folder: Path) -> Result:
            if (known := finished(job, folder, suite)) is not None:
                return known
            run = partial(session, job, folder)
            return do(job, folder, workers=chosen.workers, root=root, suite=suite, run=run)

        with ThreadPoolExecutor(room, thread_name_prefix="job") as pool:
            yield Crew(executor=pool, room=room, do=work, children=children)


@contextmanager
def _here(
    chosen: argparse.Namespace, _root: Path, _suite: str, children: Children, say: Say
) -> Iterator[tuple[int, Session]]:
    gate = _Gate(chosen.workers)

    def session(job: Job, _folder: Path, command: list[str], *, cwd: Path, output: BinaryIO) -> int:
        with gate.passed():
            say(f"{job.name}: begins")
            return children.wait_for(command, cwd=cwd, output=output)

    yield fitting(chosen.jobs, guests=chosen.workers, say=say), session


@contextmanager
def _far(
    chosen: argparse.Namespace, root: Path, suite: str, children: Children, say: Say
) -> Iterator[tuple[int, Session]]:
    from ringrig.campaign.cluster import cluster

    means = cluster(
        chosen.cluster, root=root, version=suite, guests=chosen.workers, children=children, say=say
    )
    with means as found:

        def session(job: Job, folder: Path, _command: list[str], *, cwd: Path, output: BinaryIO) -> int:
            return found.run(job, folder, output)

        yield _MOST, session


def fitting(jobs: int, *, guests: int, say: Say) -> int:
    """How many of `jobs`, each with `guests` guests, this machine's cores bear at a time: one at least."""
    cores = len(os.sched_getaffinity(0))
    room = min(jobs, max(1, cores // guests))
    if room < jobs:
        say(f"{room} of {jobs} jobs at a time: each has {guests} guests, and this machine has {cores} cores")
    return room


class _Gate:
    """Lets a job begin when the memory for its guests is there, and the first one always."""

    def __init__(self, guests: int) -> None:
        self._need = guests * GUEST_BYTES
        self._inside = 0
        self._changed = threading.Condition()

    @contextmanager
    def passed(self) -> Iterator[None]:
        with self._changed:
            # The memory of a guest that has just been started is not all in use yet: cores are what bounds those.
            while self._inside and available_memory() < self._need:
                self._changed.wait(_AGAIN)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()


def available_memory() -> int:
    """Bytes that can be had without swapping."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(found[1]) << 10 if found else 0
