"""A scheduler and workers of a cluster, as programs of their own on this machine."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager

RIG = [sys.executable, "-m", "ringrig.cli"]
_SCHEDULER = """
import asyncio, distributed
async def main():
    async with distributed.Scheduler(host='127.0.0.1', port=0, dashboard=False) as one:
        print(one.address, flush=True)
        await one.finished()
asyncio.run(main())
"""


def await_(condition, seconds):
    """What it says once that is something."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)
    return found


@contextmanager
def program(argv, log, *, cwd, **env):
    """A process whose words go to a file; it is gone afterwards."""
    with (
        log.open("w") as out,
        subprocess.Popen(
            argv, cwd=cwd, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        ) as made,
    ):
        try:
            yield made
        finally:
            made.kill()


@contextmanager
def scheduler(folder):
    """Its address."""
    log = folder / "scheduler.log"
    with program([sys.executable, "-c", _SCHEDULER], log, cwd=folder):
        yield await_(lambda: next((w for w in log.read_text().split() if w.startswith("tcp://")), ""), 30)


@contextmanager
def worker(address, name, folder, *, suite):
    """(process, log) of one that waits for jobs, with a cache of its own below `folder`, and the suite of that checkout."""
    log = folder / f"{name}.log"
    argv = [*RIG, "worker", address, f"--name={name}"]
    with program(argv, log, cwd=suite, XDG_CACHE_HOME=str(folder / name)) as made:
        await_(lambda: "waits for jobs" in log.read_text(), 60)
        yield made, log
