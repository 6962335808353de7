"""`rig worker ADDRESS`: this machine takes jobs of campaigns, from the scheduler at that address."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path

from distributed import Worker

from ringrig import cache
from ringrig.cache import Say
from ringrig.campaign import crew, errand, travel
from ringrig.campaign.cluster import connect
from ringrig.errors import BadSpec, ClusterAway
from ringrig.plugin.record import suite_version
from ringrig.vm import accel

_KEPT = 32
"""Parcels that are kept for the next campaign."""


def main(arguments: Sequence[str], *, root: Path, say: Say) -> int:
    """Takes jobs until the scheduler goes away (ClusterAway) or Ctrl-C. BadSpec, NoSpace."""
    chosen = _parser().parse_args(arguments)
    connect(chosen.address).close()
    parcels, live = cache.folder() / "parcels", cache.folder() / "live"
    with cache.writing("the folders of a worker"):
        for folder in (parcels, live):
            folder.mkdir(parents=True, exist_ok=True)
    cache.prune("parcels", keep=_KEPT)
    os.environ |= {errand.PLACE: str(parcels), errand.SUITE: suite_version(root)}
    has = declared(chosen.jobs, kvm=accel.kvm_works(say))
    with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-worker-", dir=live) as scratch:
        asyncio.run(_serve(chosen.address, has, jobs=chosen.jobs, name=chosen.name, scratch=scratch, say=say))
    raise ClusterAway(
        f"The scheduler at {chosen.address} has gone away.", next_step="start it, and this worker, again"
    )


def declared(jobs: int, *, kvm: bool) -> dict[str, float]:
    """What dask gives to jobs and takes back: places, memory in MiB, and what this machine is."""
    has: dict[str, float] = {"job": jobs, "memory": crew.available_memory() >> 20}
    has |= dict.fromkeys(travel.machine(), jobs)
    return has | ({"kvm": jobs} if kvm else {})


async def _serve(
    address: str, has: dict[str, float], *, jobs: int, name: str | None, scratch: str, say: Say
) -> None:
    worker = Worker(
        address,
        nthreads=jobs,
        resources=has,
        name=name or f"{platform.node()}-{os.getpid()}",
        memory_limit=0,  # guests have the memory, not this process
        local_directory=scratch,
        death_timeout=10,
    )
    try:
        await worker
    except RuntimeError as error:
        if "name taken" not in str(error.__cause__):
            raise
        raise BadSpec(
            f"The scheduler at {address} has a worker named {worker.name} already.",
            next_step="choose another --name, or leave it out",
        ) from error
    async with worker:
        what = ", ".join(f"{name} {amount:.0f}" for name, amount in has.items())
        say(f"worker {worker.name} waits for jobs of {address}: {what}")
        await worker.finished()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rig worker",
        description="Take jobs of campaigns that run with --cluster ADDRESS (docs/scale.md).",
    )
    parser.add_argument("address", metavar="ADDRESS", help="the scheduler's: tcp://HOST:PORT")
    parser.add_argument("--jobs", type=crew.count, default=1, metavar="K", help="jobs at a time (default: 1)")
    parser.add_argument("--name", help="what the worker is called (default: HOST-PID)")
    return parser
