"""Several guests of one kernel at work on a queue of jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from ringrig.cache import Say
from ringrig.plugin.keeper import Keeper, Manner
from ringrig.vm.plan import Plan

Job = TypeVar("Job")
Result = TypeVar("Result")


class Guests:
    """`count` keepers, each in a thread of its own, which lives as long as its guests (vm/box.py)."""

    def __init__(self, plan: Plan, *, count: int, manner: Manner, say: Say) -> None:
        self._plan, self._count, self._manner, self._say = plan, count, manner, say
        self._own = threading.local()
        self._keepers: list[Keeper] = []
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="guest")

    def __enter__(self) -> Guests:
        return self

    def __exit__(self, *_: object) -> None:
        for keeper in self._keepers:  # first, so that a thread that waits for its guest is told
            keeper.end()
        self._pool.shutdown(cancel_futures=True)

    def map(self, work: Callable[[Keeper, Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
        """The results of work(keeper, job), as they come; a job is taken from `jobs` when a guest is free for it."""
        waiting, rest = set[Future[Result]](), iter(jobs)

        def one(job: Job) -> Result:
            return work(self._keeper(), job)

        while True:
            while len(waiting) < self._count and (job := next(rest, None)) is not None:
                waiting.add(self._pool.submit(one, job))
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()

    @property
    def boots(self) -> int:
        """Guests that were booted so far."""
        return sum(keeper.boots for keeper in self._keepers)

    def _keeper(self) -> Keeper:
        if not hasattr(self._own, "keeper"):
            name = f"g{len(self._keepers) + 1}"
            self._own.keeper = Keeper(self._plan, worker=name, manner=self._manner, say=self._say)
            self._keepers.append(self._own.keeper)
        keeper: Keeper = self._own.keeper
        return keeper
