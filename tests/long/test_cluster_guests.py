"""Two workers with real guests, one of them killed in the middle of a job: nothing lost, nothing run twice in the result."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes import orphans

ROOT = Path(__file__).parents[2]
JOBS = ("one", "two", "three")
CASES = ("suites/mmap", "suites/register/test_fields.py", "suites/register/test_order.py")
RIG = [sys.executable, "-m", "ringrig.cli"]
pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]


def await_(condition, seconds):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The suite as it is committed: in a checkout that is worked on, --resume would find another suite."""
    place = tmp_path_factory.mktemp("clone")
    subprocess.run(["git", "clone", "-q", str(ROOT), str(place)], check=True, timeout=120)
    return place


@contextmanager
def program(argv, log, *, cwd=ROOT, **env):
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


@pytest.fixture
def address(tmp_path):
    """A scheduler's."""
    before = orphans.children()
    script = (
        "import asyncio, distributed\n"
        "async def main():\n"
        "    async with distributed.Scheduler(host='127.0.0.1', port=0, dashboard=False) as one:\n"
        "        print(one.address, flush=True)\n"
        "        await one.finished()\n"
        "asyncio.run(main())"
    )
    log = tmp_path / "scheduler.log"
    with program([sys.executable, "-c", script], log):
        yield await_(lambda: next((w for w in log.read_text().split() if w.startswith("tcp://")), ""), 30)
    assert not orphans.left_since(before, seconds=30)


def results(folder):
    """The cases that a run folder has, one for each line."""
    return [json.loads(line)["nodeid"] for line in (folder / "results.jsonl").read_text().splitlines()]


def test_a_worker_is_killed_in_the_middle(address, clone, tmp_path):
    """Its job runs again on the other, each result has every case once, and --resume finds nothing left to do."""
    file = tmp_path / "kernels.toml"
    entry = '[[kernel]]\nname = "{}"\nkernel = "source:6.12"\nguest = "uml"\n'
    file.write_text("".join(entry.format(name) for name in JOBS))
    homes = {name: tmp_path / name for name in ("doomed", "other")}
    logs = {name: tmp_path / f"{name}.log" for name in (*homes, "matrix")}
    workers = [
        program([*RIG, "worker", address, f"--name={name}"], logs[name], cwd=clone, XDG_CACHE_HOME=str(home))
        for name, home in homes.items()
    ]
    matrix = [*RIG, "matrix", str(file), *CASES, "-n", "1", "--cluster", address]

    def under_way():
        """The run folder of the job that the doomed worker runs, once some cases have ended there."""
        for found in homes["doomed"].glob("ringrig/live/*/run/results.jsonl"):
            if len(found.read_text().splitlines()) > 20:
                return found.parent
        return None

    with workers[0] as doomed, workers[1]:
        await_(lambda: all("waits for jobs" in logs[name].read_text() for name in homes), 60)
        with program(matrix, logs["matrix"], cwd=clone) as campaign:
            lost = await_(under_way, 600)
            doomed.kill()
            assert campaign.wait(1200) == 0, logs["matrix"].read_text()
        await_(lambda: not left_in(lost), 60)

        said = logs["matrix"].read_text()
        [page] = [line for line in said.splitlines() if "matrix.json" in line]
        folder = Path(page.split("_matrix/")[0] + "_matrix")
        cases = {name: results(folder / name) for name in JOBS}
        assert len(cases["one"]) > 100
        assert all(sorted(found) == sorted(set(cases["one"])) for found in cases.values())
        where = {name: (folder / name / "worker.txt").read_text() for name in JOBS}
        begun = logs["doomed"].read_text().count("begins") + logs["other"].read_text().count("begins")
        assert begun == len(JOBS) + 1, where

        done = subprocess.run(
            [*matrix, "--resume", str(folder)],
            cwd=clone,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0
        assert "0 parcels sent" in done.stderr


def left_in(folder):
    """Processes of a killed worker's session: their command lines name its run folder or its scratch folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes()
        except OSError:
            continue
        if str(folder).encode() in words:
            found.append(place.parent.name)
    return found
