"""A cluster in this process, a suite that travels quickly to its workers, and a crew of them."""

import argparse
import shutil
import subprocess
import time
from types import SimpleNamespace

import dask
import pytest
from distributed import LocalCluster
from fakes import orphans
from fakes.clone import ROOT
from fakes.images import built_image

from ringrig.campaign import crew, errand, travel
from ringrig.campaign.job import Job

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
