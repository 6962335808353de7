"""Campaigns on a cluster: jobs come back as if they had run here, parcels travel once, and dead workers lose nothing."""

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed import KilledWorker
from fakes import small_cluster
from fakes.small_cluster import HAS, await_, tasks

from ringrig.campaign import cluster as clusters
from ringrig.campaign import errand, travel
from ringrig.errors import GuestLost

pytestmark = pytest.mark.timeout(40)
nothing_is_left, scheduler = small_cluster.nothing_is_left, small_cluster.scheduler
kernel, clone, campaign = small_cluster.kernel, small_cluster.clone, small_cluster.campaign


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
