"""A campaign's jobs on a cluster: dask.distributed finds a worker for each, and another one should that die.

Kernels are found or built here, one after the other, and travel with the suite to whichever worker asks for them, once.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import shlex
import tarfile
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cloudpickle  # type: ignore[import-untyped]
from distributed import Client, KilledWorker

from ringrig import cache
from ringrig.cache import Say, writing
from ringrig.campaign import errand, travel
from ringrig.campaign.crew import GUEST_BYTES
from ringrig.campaign.errand import put as errand_put
from ringrig.campaign.errand import run as errand_run
from ringrig.campaign.job import Job
from ringrig.campaign.travel import Parcel
from ringrig.children import STOPPED, Children
from ringrig.errors import BadSpec, ClusterAway, GuestLost, HostLacks
from ringrig.plugin import history
from ringrig.plugin.prepare import keep_patches

CONNECT_SECONDS = 5.0
LONELY_SECONDS = 60.0
"""So long a campaign waits for a worker that can take a job: those of a machine that starts anew are back by then."""
_POLL = 0.2
_LOOK = 1.0

# Of a module that is registered so, functions travel by value: those that a lambda calls, which itself has no name to go by.
cloudpickle.register_pickle_by_value(errand)
RUN = lambda order: errand_run(order)  # noqa: E731, PLW0108
PUT = lambda name, data, dask_worker: errand_put(name, data, dask_worker)  # noqa: E731, PLW0108


@dataclass(frozen=True, slots=True, kw_only=True)
class Wagon:
    """What every job of a campaign shares: the clone `root` and its version, packed; `guests` of a job."""

    root: Path
    version: str
    guests: int
    suite: Parcel
    requirements: list[str]


class Cluster:
    """A scheduler that answers. run() is called by many threads at once."""

    def __init__(self, client: Client, wagon: Wagon, *, store: Path, children: Children, say: Say) -> None:
        """`store`: a folder for parcels; `children`: what runs on this machine for it, and whether all is to end."""
        self._client, self._wagon, self._children, self._say = client, wagon, children, say
        self._kernels = _Kernels(store)
        self._refusing: set[str] = set()
        self._looked = threading.Lock()
        self._seen: tuple[float, dict[str, Mapping[str, float]]] = (-_LOOK, {})
        self.post = _Post(client, store)

    def run(self, job: Job, folder: Path, output: BinaryIO) -> int:
        """The exit code of the job's session, run on some worker; the run folder comes back into `folder`.

        A kernel that is not to be had is an exit code with its words in `output`, as it would be of a session here. Raises
        ClusterAway; HostLacks where every worker refuses.
        """
        with self._kernels.bench:
            packing = travel.packing(job, self._kernels.making)
            if code := self._children.wait_for(packing, cwd=self._wagon.root, output=output):
                return code
            kernel, guest = self._kernels.take()
        try:
            self._say(f"{job.name}: waits for a worker")
            answer = self._answer(job, self._order(job, kernel), self._needs(guest))
        except KilledWorker as error:
            last = f"the last at {error.last_worker.address}"
            output.write(f"Exit: {error.allowed_failures + 1} workers that ran it died, {last}\n".encode())
            return GuestLost.exit_code
        finally:
            self._kernels.give_back(kernel)
        if not answer:
            return STOPPED
        self._keep(job, folder, answer)
        return int(answer["code"])

    def _keep(self, job: Job, folder: Path, answer: Mapping[str, Any]) -> None:
        """The run folder that has come back, and of what the worker did not know. NoSpace."""
        with writing("the campaign's folder", folder):
            with tarfile.open(fileobj=io.BytesIO(answer["folder"])) as tar:
                errand.extract(tar, folder)
            (folder / "worker.txt").write_text(answer["where"] + "\n")
            (folder / "command.txt").write_text(shlex.join(["rig", "run", *job.arguments]) + "\n")
            keep_patches(job.patches, folder)
        if (folder / "run.json").exists() and (note := history.keep(folder, root=self._wagon.root)):
            self._say(note)

    def _order(self, job: Job, kernel: Parcel) -> dict[str, Any]:
        here = f"{self._wagon.root}/"
        cases = [word.replace(here, "@suite@/") for word in job.cases]
        options = ["-q", "-n", str(self._wagon.guests), "--run-folder=@folder@"]
        return {
            "campaign": self.post.campaign,
            "job": job.name,
            "suite": self._wagon.suite.name,
            "kernel": kernel.name,
            "words": ["-m", "pytest", *options, f"--kernel={travel.PREFIX}@kernel@", *cases],
            "version": self._wagon.version,
            "requirements": self._wagon.requirements,
        }

    def _needs(self, guest: str) -> dict[str, float]:
        """What a worker must have, in dask's terms. KVM where any has it: without, a QEMU guest takes ten times as long."""
        needs: dict[str, float] = {"job": 1, "memory": self._wagon.guests * (GUEST_BYTES >> 20)}
        needs |= dict.fromkeys(travel.machine(), 1)
        if guest != "um" and any(one.get("kvm") for one in self._workers().values()):
            needs["kvm"] = 1
        return needs

    def _workers(self) -> dict[str, Mapping[str, float]]:
        """What each worker that does not refuse declares, by its address; seen not long ago. ClusterAway."""
        if self._client.status != "running":
            raise _away(self._client, "does not answer any more")
        with self._looked:
            if time.monotonic() - self._seen[0] > _LOOK:
                told = self._client.scheduler_info()["workers"]
                found = {address: one["resources"] for address, one in told.items()}
                self._seen = (time.monotonic(), found)
            return {name: has for name, has in self._seen[1].items() if name not in self._refusing}

    def _answer(self, job: Job, order: dict[str, Any], needs: dict[str, float]) -> dict[str, Any]:
        """What a worker answers that does not refuse; empty where all is to end."""
        while True:
            able = list(self._workers()) if self._refusing else None
            executor = self._client.get_executor(pure=False, resources=needs, workers=able)
            answer = self._awaited(job, executor.submit(RUN, order), needs, able)
            if answer is None:
                continue
            if "refuses" not in answer:
                return answer
            self._say(answer["refuses"])
            self._refusing.add(answer["worker"])
            if not self._workers():
                raise HostLacks(
                    f"Every worker refuses, the last one so: {answer['refuses']}.",
                    next_step="see to those machines, ./rig worker there again, then go on with --resume",
                )

    def _awaited(
        self, job: Job, future: Future[dict[str, Any]], needs: dict[str, float], able: list[str] | None
    ) -> dict[str, Any] | None:
        """A worker's answer; empty where all is to end, None where another must be asked: those that were `able` are gone."""
        lonely = time.monotonic()
        while True:
            try:
                # A worker that is ending may answer with nothing.
                return future.result(timeout=_POLL) or None
            except TimeoutError:
                if self._children.stopped:
                    future.cancel()
                    return {}
            except CancelledError as error:
                raise _away(self._client, "lost the campaign's jobs") from error
            workers = self._workers()
            if able is not None and workers and not workers.keys() & set(able):
                future.cancel()
                return None
            if any(_fits(needs, one) for one in workers.values()):
                lonely = time.monotonic()
            elif time.monotonic() - lonely > LONELY_SECONDS:
                future.cancel()
                address = _address(self._client)
                raise ClusterAway(
                    f"No worker of {address} can take {job.name}, which needs {_words(needs)}.",
                    next_step=f"./rig worker {address} on a machine that has it; then go on with --resume",
                )


class _Kernels:
    """Packed kernels, which take space: each is kept as long as a job needs it, of which several may share one."""

    def __init__(self, store: Path) -> None:
        self._store, self.making = store, store / "making"
        self.bench = threading.Lock()
        """Held while one is made, and until it is taken."""
        self._users: Counter[str] = Counter()
        self._counting = threading.Lock()

    def take(self) -> tuple[Parcel, str]:
        """The one that has just been made, and the kind of its guests."""
        made, guest = travel.packed(self.making)
        with self._counting:
            self._users[made.name] += 1
            path = made.path.replace(travel.place(self._store, made.name))
        return Parcel(name=made.name, path=path), guest

    def give_back(self, kernel: Parcel) -> None:
        with self._counting:
            self._users[kernel.name] -= 1
            if not self._users[kernel.name]:
                kernel.path.unlink(missing_ok=True)


class _Post:
    """Sends parcels to the machines that ask for them, each once."""

    def __init__(self, client: Client, store: Path) -> None:
        self.campaign = uuid.uuid4().hex
        self.sent: list[int] = []
        """The bytes of each parcel that was sent."""
        self._client, self._store = client, store
        self._under_way: set[tuple[str, str]] = set()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="post")
        client.subscribe_topic(errand.TOPIC + self.campaign, self._asked)

    def _asked(self, event: tuple[float, Mapping[str, str]]) -> None:
        asking = event[1]
        key = (asking["cell"], asking["parcel"])
        if key not in self._under_way:
            self._under_way.add(key)
            self._pool.submit(self._send, asking)

    def _send(self, asking: Mapping[str, str]) -> None:
        """Should it fail, whoever asked asks again, or is dead."""
        name, worker = asking["parcel"], asking["worker"]
        try:
            data = travel.place(self._store, name).read_bytes()
            self._client.run(PUT, name, data, workers=[worker])
            self.sent.append(len(data))
        finally:
            self._under_way.discard((asking["cell"], name))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def cluster(
    address: str, *, root: Path, version: str, guests: int, children: Children, say: Say
) -> Iterator[Cluster]:
    """The cluster of the scheduler at `address`. ClusterAway, BadSpec, HostLacks, NoSpace."""
    client = connect(address)
    try:
        live = cache.folder() / "live"
        with writing("parcels"):
            live.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-parcels-", dir=live) as scratch:
            store = Path(scratch)
            wagon = Wagon(
                root=root,
                version=version,
                guests=guests,
                suite=travel.suite(root, store, version),
                requirements=travel.requirements(root),
            )
            made = Cluster(client, wagon, store=store, children=children, say=say)
            say(f"cluster {address}: {len(client.scheduler_info()['workers'])} workers")
            try:
                yield made
            finally:
                made.post.close()
                sent = made.post.sent
                say(f"cluster {address}: {len(sent)} parcels sent, {sum(sent) / 1e6:.1f} MB")
    finally:
        with suppress(TimeoutError):
            client.close(timeout=2)


class _Client(Client):
    """Closed at once where it comes to nothing: else the garbage collector does it, perhaps while dask's lock is held, and hangs."""

    def __init__(self, address: str) -> None:
        try:
            super().__init__(address, timeout=CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
        except BaseException:
            self.close(timeout=2)  # type: ignore[no-untyped-call]
            raise

    async def _start(self, timeout: Any = None, **options: Any) -> None:
        """dask knows no limit where something takes the connection and says nothing: an SSH tunnel, another server."""
        await asyncio.wait_for(super()._start(timeout, **options), CONNECT_SECONDS)  # type: ignore[no-untyped-call]


def connect(address: str) -> Client:
    """A client of the scheduler. ClusterAway, within ten seconds; BadSpec."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is raised
    try:
        return _Client(address)
    except ValueError as error:
        raise BadSpec(
            f"{address!r} is no scheduler's address: {error}.", next_step="write tcp://HOST:PORT or HOST:PORT"
        ) from error
    except OSError as error:
        raise ClusterAway(
            f"No scheduler answers at {address}.",
            next_step="start one there: .venv/bin/dask scheduler --port 8786 (docs/scale.md), or check the address",
        ) from error


def _fits(needs: Mapping[str, float], has: Mapping[str, float]) -> bool:
    return all(has.get(name, 0) >= amount for name, amount in needs.items())


def _words(needs: Mapping[str, float]) -> str:
    """kvm, x86_64, 2560 MiB of memory."""
    return ", ".join(
        f"{amount:.0f} MiB of memory" if name == "memory" else name
        for name, amount in needs.items()
        if name != "job"
    )


def _address(client: Client) -> str:
    return str(client.scheduler.addr) if client.scheduler else "the cluster"


def _away(client: Client, what: str) -> ClusterAway:
    return ClusterAway(
        f"The scheduler at {_address(client)} {what}.",
        next_step="what has ended is kept: start it and its workers again, then go on with --resume",
    )
