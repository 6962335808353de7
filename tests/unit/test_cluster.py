"""Campaigns on a cluster: parcels travel once, dead and refusing workers lose nothing, and what is away is said at once."""

import argparse
import asyncio
import gc
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import dask
import pytest
from distributed import KilledWorker, LocalCluster, Worker
from fakes import orphans
from fakes.images import built_image

from ringrig.campaign import cluster as clusters
from ringrig.campaign import crew, errand, matrix, nearest, travel, worker
from ringrig.campaign.job import Job
from ringrig.errors import BadSpec, ClusterAway, GuestLost, HostLacks

pytestmark = pytest.mark.timeout(40)
ROOT = Path(__file__).parents[2]
HAS = {"job": 1, "memory": 4000, **dict.fromkeys(travel.machine(), 1)}


def await_(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path, monkeypatch):
    """By no test, no process and no folder of dask's."""
    before, scratch = orphans.children(), str(tmp_path / "scratch")
    monkeypatch.setenv("DASK_TEMPORARY_DIRECTORY", scratch)
    with dask.config.set({"temporary-directory": scratch}):
        yield
    assert not orphans.left_since(before)


@pytest.fixture
def kernel(tmp_path):
    """An image as a build leaves it."""
    return built_image(tmp_path / "built")


@pytest.fixture
def clone(tmp_path):
    """A suite that travels quickly."""
    root = tmp_path / "clone"
    (root / "ringrig").mkdir(parents=True)
    shutil.copy(ROOT / "ringrig/children.py", root / "ringrig")
    shutil.copy(ROOT / "tests/fakes/travelling/pytest.py", root)
    (root / "pyproject.toml").write_text('[project]\ndependencies = ["packaging>=1"]\n')
    (root / ".gitignore").write_text("runs\n")
    subprocess.run(["git", "init", "-q", str(root)], check=True, timeout=10)
    return root


@pytest.fixture
def scheduler(tmp_path, monkeypatch):
    """A scheduler without workers, in this process; add(HAS) gives it one, whose parcels lie in `parcels`."""
    parcels = tmp_path / "parcels"
    parcels.mkdir()
    monkeypatch.setenv(errand.PLACE, str(parcels))
    monkeypatch.setenv(errand.SUITE, "0.1 (old)")
    dask.config.set({"distributed.scheduler.work-stealing-interval": "100ms"})
    made = LocalCluster(
        n_workers=0,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        scheduler_port=0,
        dashboard_address="127.0.0.1:0",
        threads_per_worker=1,
        memory_limit=0,
        resources=HAS,
        silence_logs=50,
    )
    try:
        yield made
    finally:
        made.close(timeout=5)


@pytest.fixture
def campaign(tmp_path, clone, kernel, monkeypatch):
    """campaign(address): a crew of that cluster, whose jobs all have the `kernel`; what it says is in `said`."""
    packed = tmp_path / "packed"
    parcel = travel.kernel(kernel, packed)
    (packed / "parcel").write_text(f"{parcel.name} um\n")
    packing = ["sh", "-c", f'mkdir -p "$1" && cp {packed}/* "$1"', "sh"]
    monkeypatch.setattr(travel, "packing", lambda _job, store: [*packing, str(store)])
    said = []

    def crew_of(address):
        chosen = argparse.Namespace(jobs=1, workers=1, cluster=address)
        return crew.crew(chosen, root=clone, suite="0.1 (new)", say=said.append)

    return SimpleNamespace(crew=crew_of, said=said)


def tasks(folder, *cases):
    return [(Job(name=f"j{n}", kernel="k", cases=(case,)), folder / f"j{n}") for n, case in enumerate(cases)]


def test_a_job_comes_back_as_if_it_had_run_here(scheduler, campaign, clone, tmp_path):
    """Its run folder, what it printed, its exit code; paths of the clone are those of the suite that travelled."""
    scheduler.scale(1)
    with campaign.crew(scheduler.scheduler_address) as hands:
        found = {
            one.job.name: one
            for one in hands.results(tasks(tmp_path, f"{clone}/suites/a.py::b[{{x}}]", "fails"))
        }

    assert [found["j0"].exit_code, found["j1"].exit_code] == [0, 1]
    assert found["j1"].cases["fails"].outcome == "passed"
    folder = found["j1"].folder
    assert (folder / "output.txt").read_text() == "rig: fails\n"
    assert (folder / "command.txt").read_text() == "rig run --kernel=k --guest=auto fails\n"
    words, root, image = json.loads((found["j0"].folder / "said.json").read_text())
    assert words[-1] == f"{root}/suites/a.py::b[{{x}}]"
    assert Path(root).parent == tmp_path / "parcels"
    assert Path(root, travel.VERSION_FILE).read_text() == "0.1 (new)"
    assert json.loads(image)["label"] == "source:6.12 [uml]"


def test_a_parcel_is_sent_once_to_a_machine(scheduler, campaign, tmp_path):
    """Whatever the number of jobs, workers and campaigns."""
    scheduler.scale(2)
    for number in range(2):
        with campaign.crew(scheduler.scheduler_address) as hands:
            assert len(list(hands.results(tasks(tmp_path / str(number), "a", "b")))) == 2

    assert [line.split(": ")[1].split(",")[0] for line in campaign.said if "sent" in line] == [
        "2 parcels sent",
        "0 parcels sent",
    ]


def test_a_worker_that_joins_late_takes_its_share(scheduler, campaign, tmp_path):
    """Of jobs that wait at another."""
    scheduler.scale(1)
    with campaign.crew(scheduler.scheduler_address) as hands:
        where = tmp_path / "until"
        where.mkdir()
        given = tasks(tmp_path, f"until@{where}", *["a"] * 3)
        thread = threading.Thread(target=lambda: (time.sleep(1), scheduler.scale(2)), daemon=True)
        thread.start()
        found = []
        for result in hands.results(given):
            found.append(result.job.name)
            if len(found) == 3:
                (where / "go").touch()
        thread.join(10)

    assert found[-1] == "j0"


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


def test_a_kernel_that_does_not_build_is_a_result(scheduler, campaign, tmp_path, monkeypatch):
    """As it would be without a cluster: the others run."""
    build = travel.packing
    bad = ["sh", "-c", "echo 'Exit: kbuf.c:1: error'; exit 23"]
    monkeypatch.setattr(travel, "packing", lambda job, store: bad if job.name == "j0" else build(job, store))
    scheduler.scale(1)
    with campaign.crew(scheduler.scheduler_address) as hands:
        found = {one.job.name: one for one in hands.results(tasks(tmp_path, "a", "b"))}

    assert (found["j0"].exit_code, found["j0"].verdict) == (23, "NO VERDICT: kbuf.c:1: error")
    assert found["j1"].exit_code == 0


@pytest.mark.parametrize("session", ["wait30", "stubborn"])
def test_ctrl_c_ends_the_sessions_on_the_workers(scheduler, campaign, tmp_path, monkeypatch, session):
    """As it does here; one that takes no notice is killed after a time of grace."""
    if session == "stubborn":
        monkeypatch.setattr(errand, "_GRACE", 0.3)
    scheduler.scale(1)

    def interrupt():
        await_((tmp_path / "begun").exists)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt), campaign.crew(scheduler.scheduler_address) as hands:
        list(hands.results(tasks(tmp_path, f"{session}@{tmp_path}")))

    if session != "stubborn":
        await_((tmp_path / "interrupted").exists)


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


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_workers_job_runs_elsewhere(scheduler, campaign, tmp_path, number):
    """Nothing is lost, nothing is there twice; what the dead worker ran has ended with it. So it is after its Ctrl-C."""
    argv = [sys.executable, "-m", "ringrig.cli", "worker", scheduler.scheduler_address, "--name=doomed"]
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    with subprocess.Popen(argv, env=env, **pipes) as doomed:
        try:
            with campaign.crew(scheduler.scheduler_address) as hands:

                def kill():
                    await_((tmp_path / "begun").exists)
                    doomed.send_signal(number)
                    await_((tmp_path / "interrupted").exists)
                    doomed.wait(20)
                    (tmp_path / "go").touch()
                    scheduler.scale(1)

                threading.Thread(target=kill, daemon=True).start()
                found = list(hands.results(tasks(tmp_path, f"until@{tmp_path}", "a", "b")))
        finally:
            doomed.kill()

    assert sorted(one.job.name for one in found) == ["j0", "j1", "j2"]
    assert {one.exit_code for one in found} == {0}
    [again] = [one for one in found if one.job.name == "j0"]
    assert (again.folder / "worker.txt").read_text() == f"{platform.node()}:{os.getpid()}\n"
    assert len((tmp_path / "begun").read_text().splitlines()) == 2


def test_a_job_that_kills_its_workers_is_given_up(scheduler, campaign, tmp_path, monkeypatch):
    """With words for it, and the others go on."""

    def answer(self, job, order, needs, asked=clusters.Cluster._answer):
        if job.name == "j0":
            raise KilledWorker("lambda-1", SimpleNamespace(address="tcp://a"), 3)
        return asked(self, job, order, needs)

    monkeypatch.setattr(clusters.Cluster, "_answer", answer)
    scheduler.scale(1)
    with campaign.crew(scheduler.scheduler_address) as hands:
        found = {one.job.name: one for one in hands.results(tasks(tmp_path, "a", "b"))}

    assert found["j0"].exit_code == GuestLost.exit_code
    assert found["j0"].verdict == "NO VERDICT: 4 workers that ran it died, the last at tcp://a"
    assert found["j1"].exit_code == 0


@pytest.mark.parametrize(("guest", "kvm", "needed"), [("x86", 1, True), ("x86", 0, False), ("um", 1, False)])
def test_kvm_is_asked_for_where_there_is_any(guest, kvm, needed):
    """By QEMU's guests; a cluster without it takes them, too."""
    one = SimpleNamespace(
        _workers=lambda: {"tcp://a": HAS, "tcp://b": {**HAS, "kvm": kvm}}, _wagon=SimpleNamespace(guests=2)
    )

    needs = clusters.Cluster._needs(one, guest)

    assert ("kvm" in needs) == needed
    assert needs["memory"] == 2560
