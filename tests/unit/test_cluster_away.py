"""Clusters that are away, and workers that refuse or cannot: it is said at once, or after a wait that ends."""

import asyncio
import gc
import shutil
import socket
import subprocess
import sys
import threading

import pytest
from distributed import Worker
from fakes import small_cluster
from fakes.small_cluster import HAS, tasks

from ringrig.campaign import cluster as clusters
from ringrig.campaign import errand, matrix, nearest, worker
from ringrig.errors import BadSpec, ClusterAway, HostLacks

pytestmark = pytest.mark.timeout(40)
nothing_is_left, scheduler = small_cluster.nothing_is_left, small_cluster.scheduler
kernel, clone, campaign = small_cluster.kernel, small_cluster.clone, small_cluster.campaign


def test_a_cluster_that_is_away(campaign, monkeypatch, tmp_path):
    """Is said within ten seconds, with nothing begun; an address that is none is said at once."""
    assert clusters.CONNECT_SECONDS < 10
    monkeypatch.setattr(clusters, "CONNECT_SECONDS", 0.5)
    with (
        pytest.raises(ClusterAway, match=r"No scheduler answers at tcp://127\.0"),
        campaign.crew("tcp://127.0.0.1:9"),
    ):
        pass
    (tmp_path / "m.toml").write_text('[[kernel]]\nkernel = "debian"\n')
    monkeypatch.setattr(nearest, "known", lambda names, root: names)
    with pytest.raises(ClusterAway):
        matrix.run(
            [str(tmp_path / "m.toml"), "--cluster=tcp://127.0.0.1:9"], root=tmp_path, say=campaign.said.append
        )
    assert list((tmp_path / "runs").iterdir()) == []
    with pytest.raises(BadSpec, match="no scheduler's address"), campaign.crew("tcp://nowhere"):
        pass
    made = [one for one in gc.get_objects() if type(one) is clusters._Client]
    assert {one.status for one in made} <= {"closed"}


def test_a_port_that_says_nothing(campaign, monkeypatch):
    """Something takes the connection that is no scheduler: dask would wait for ever."""
    monkeypatch.setattr(clusters, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(ClusterAway, match="No scheduler answers"), campaign.crew(address):
            pass


def test_no_worker_that_could_take_a_job(scheduler, campaign, tmp_path, monkeypatch):
    """Is waited for, but not for ever; what it would need is said."""
    monkeypatch.setattr(clusters, "LONELY_SECONDS", 0.3)
    needs = r"can take j0, which needs 1280 MiB of memory, \w+, python3"
    with pytest.raises(ClusterAway, match=needs), campaign.crew(scheduler.scheduler_address) as hands:
        list(hands.results(tasks(tmp_path, "a")))


def test_workers_that_refuse(scheduler, campaign, clone, tmp_path):
    """Their environment does not fit the suite that travels: both versions are said."""
    (clone / "pyproject.toml").write_text('[project]\ndependencies = ["pytest>=99"]\n')
    scheduler.scale(2)
    with (
        pytest.raises(
            HostLacks,
            match=r"it has pytest .*needs pytest>=99 \(its own suite is 0.1 \(old\), .* 0.1 \(new\)\)",
        ),
        campaign.crew(scheduler.scheduler_address) as hands,
    ):
        list(hands.results(tasks(tmp_path, "a")))

    assert len([line for line in campaign.said if "it has pytest" in line]) == 2


def test_a_workers_name_that_is_taken(scheduler, tmp_path):
    """Is said, and nothing of dask's insides."""

    async def twice():
        async with Worker(scheduler.scheduler_address, name="a", nthreads=1):
            await worker._serve(
                scheduler.scheduler_address, HAS, jobs=1, name="a", scratch=str(tmp_path), say=print
            )

    with pytest.raises(BadSpec, match="a worker named a already"):
        asyncio.run(twice())


def test_a_parcel_that_arrives_damaged_each_time(scheduler, campaign, tmp_path, monkeypatch):
    """It is asked for three times; then the worker says so and refuses."""
    monkeypatch.setattr(errand, "_ASK_SECONDS", 0.3)
    for packed in (tmp_path / "packed").glob("*.tar.zst"):
        packed.write_bytes(packed.read_bytes()[:-1])
    scheduler.scale(1)
    with (
        pytest.raises(HostLacks, match="arrived damaged 3 times"),
        campaign.crew(scheduler.scheduler_address) as hands,
    ):
        list(hands.results(tasks(tmp_path, "a")))


def test_a_worker_that_cannot_keep_a_parcel_refuses(scheduler, campaign, tmp_path):
    """Its disk is full, or gone."""
    shutil.rmtree(tmp_path / "parcels")
    scheduler.scale(1)
    with pytest.raises(HostLacks, match="No such file"), campaign.crew(scheduler.scheduler_address) as hands:
        list(hands.results(tasks(tmp_path, "a")))


def test_a_scheduler_that_goes_away(campaign, tmp_path):
    """Ends the campaign, which can go on later."""
    script = (
        "import asyncio, distributed\n"
        "async def main():\n"
        "    async with distributed.Scheduler(host='127.0.0.1', port=0, dashboard=False) as one:\n"
        "        print(one.address, flush=True)\n"
        "        await one.finished()\n"
        "asyncio.run(main())"
    )
    argv = [sys.executable, "-c", script]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as alone:
        try:
            address = alone.stdout.readline().strip()
            with pytest.raises(ClusterAway, match="go on with --resume"), campaign.crew(address) as hands:
                threading.Timer(0.5, alone.kill).start()
                list(hands.results(tasks(tmp_path, "a")))
        finally:
            alone.kill()
