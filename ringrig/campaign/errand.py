"""What a cluster's worker does with a job. These functions travel by value: a worker may have an older rig, or another.

So they import nothing of the rig, take and give plain data, and run the suite that travels, in a process of its own.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

TOPIC = "ringrig-parcels-"
"""With a campaign's name: where its workers ask for parcels."""
PLACE = "RINGRIG_PARCELS"
"""The worker's environment names the folder for parcels, and in SUITE its own version."""
SUITE = "RINGRIG_SUITE"
TROUBLE = "ringrig_trouble"
"""The worker's attribute that says why a parcel could not be kept."""
_ASK_SECONDS = 5.0
_GRACE = 60.0
"""Seconds for a session that is not wanted any more to end its guests."""
_POLL = 0.2
_TIMES = 3
"""So often may a parcel arrive damaged."""


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Runs an order: {campaign, job, suite, kernel: names of parcels, words: for the interpreter, version, requirements}.

    Gives {code, folder: a tar of the run folder, where}, or {refuses: why, worker: its address}: this machine lacks something
    or its disk is full; {} where nobody waits for it any more.
    In words, @suite@ and @kernel@ stand for where those parcels lie, @folder@ for the run folder.
    """
    from distributed import get_worker

    where = f"{platform.node()}:{os.getpid()}"
    wrong = unfit(order["requirements"])
    if wrong:
        wrong = f"{wrong} (its own suite is {os.environ[SUITE]}, the one that travels {order['version']})"
    else:
        say(f"{order['job']}: begins")
        try:
            answer = done(order)
        except OSError as error:
            wrong = str(error)
    if wrong:
        say(f"{order['job']}: refused: {wrong}")
        return {"refuses": f"worker {where}: {wrong}", "worker": get_worker().address}
    say(f"{order['job']}: {'ended' if answer else 'is not wanted any more'}")
    return {**answer, "where": where} if answer else {}


def done(order: dict[str, Any]) -> dict[str, Any]:
    """The answer to an order that this worker takes."""
    if not fetched(order["campaign"], [order["suite"], order["kernel"]]):
        return {}
    base = Path(os.environ[PLACE])
    # Named after its process: cache.py, and the next session, know what to do with left-overs.
    live = base.parent / "live"
    live.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-job-", dir=live) as scratch:
        folder = Path(scratch, "run")
        folder.mkdir()
        places = {"suite": base / order["suite"], "kernel": base / order["kernel"], "folder": folder}
        words = [sys.executable, *order["words"]]
        for name, place in places.items():
            words = [word.replace(f"@{name}@", str(place)) for word in words]
        code = session(words, places["suite"], folder)
        if code is None:
            return {}
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=3) as tar:
            tar.add(folder, ".")
    return {"code": code, "folder": packed.getvalue()}


def say(line: str) -> None:
    print(f"rig: {line}", file=sys.stderr, flush=True)


def session(words: list[str], root: Path, folder: Path) -> int | None:
    """The exit code of a pytest session in the suite at `root`; None where nobody waits for it any more."""
    between = [sys.executable, "-SI", str(root / "ringrig/children.py"), str(os.getpid())]
    with (folder / "output.txt").open("wb") as output:
        child = subprocess.Popen(
            [*between, *words],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        limit = 0.0
        while child.poll() is None:
            time.sleep(_POLL)
            if not limit and not wanted():
                child.send_signal(signal.SIGINT)
                limit = time.monotonic() + _GRACE
            elif limit and time.monotonic() > limit:
                os.killpg(child.pid, signal.SIGKILL)
    if limit:
        return None
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def wanted() -> bool:
    """Whether the task that this thread runs is still waited for: its campaign may have ended, or its worker be ending."""
    from distributed import get_worker

    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    alive = worker.status.name in ("running", "paused")
    return alive and task is not None and task.state == "executing"


def unfit(requirements: list[str]) -> str:
    """What this environment lacks of what the suite needs."""
    from packaging.requirements import Requirement

    for one in map(Requirement, requirements):
        try:
            have = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            return f"it has no {one.name}, and the suite needs {one}"
        if not one.specifier.contains(have, prereleases=True):
            return f"it has {one.name} {have}, and the suite needs {one}"
    return ""


def fetched(campaign: str, parcels: list[str]) -> bool:
    """Waits until the parcels lie unpacked on this machine, asking the campaign for those that do not. False: not wanted.

    OSError: they cannot be kept here, or arrive damaged each time.
    """
    from distributed import get_worker

    worker, base = get_worker(), Path(os.environ[PLACE])
    for name in parcels:
        asked, damaged = -_ASK_SECONDS, 0
        while not (base / name).is_dir():
            if error := vars(worker).pop(TROUBLE, None):
                raise error
            if (base / f"{name}.tar.zst").exists():
                unpack(base, name)
                damaged += not (base / name).is_dir()
                if damaged == _TIMES:
                    raise OSError(f"parcel {name} has arrived damaged {_TIMES} times")
            elif not wanted():
                return False
            elif time.monotonic() - asked >= _ASK_SECONDS:
                asked = time.monotonic()
                cell = f"{platform.node()}:{base}"
                asking = {"parcel": name, "worker": worker.address, "cell": cell}
                worker.log_event(TOPIC + campaign, asking)
            else:
                time.sleep(_POLL)
        os.utime(base / name)
    return True


def unpack(base: Path, name: str) -> None:
    """Several may do so at once: the first is believed. One whose content is not what its name says is gone: ask again."""
    import zstandard

    packed = base / f"{name}.tar.zst"
    part = Path(tempfile.mkdtemp(prefix=f".part-{name}-", dir=base))
    try:
        with (
            packed.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as plain,
        ):
            if name == hashlib.file_digest(file, "sha256").hexdigest()[: len(name)]:
                file.seek(0)
                with tarfile.open(fileobj=plain, mode="r|") as tar:
                    extract(tar, part)
                part.rename(base / name)
        packed.unlink(missing_ok=True)
    except OSError:
        if not (base / name).is_dir() and packed.exists():
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def extract(tar: tarfile.TarFile, folder: Path) -> None:
    """Files and folders, none of which leads out: what tarfile calls a filter came with Python 3.11.4."""
    for member in tar:
        path = Path(member.name)
        if (member.isfile() or member.isdir()) and not path.is_absolute() and ".." not in path.parts:
            tar.extract(member, folder)


def put(name: str, data: bytes, dask_worker: Any) -> None:
    """A parcel arrives; whoever waits for it unpacks it, or is told why it cannot be kept."""
    base = Path(os.environ[PLACE])
    if (base / name).is_dir():
        return
    try:
        number, part = tempfile.mkstemp(prefix=f".part-{name}-", dir=base)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(data)
            Path(part).rename(base / f"{name}.tar.zst")
        finally:
            Path(part).unlink(missing_ok=True)
    except OSError as error:
        setattr(dask_worker, TROUBLE, error)
