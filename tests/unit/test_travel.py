"""What travels to a cluster's workers is whole there, the same each time, and needs no rig."""

import os
import subprocess
import sys
import tarfile

import cloudpickle
import pytest
from fakes.images import built_image

from ringrig.campaign import cluster as clusters
from ringrig.campaign import errand, travel
from ringrig.errors import HostLacks, NotAKernel
from ringrig.kernel import travelled


def test_an_image_travels_whole(tmp_path):
    """What it is called, and where its parts lie; of a build's log nobody has need."""
    kernel = built_image(tmp_path / "built")
    parcel = travel.kernel(kernel, tmp_path)

    errand.unpack(tmp_path, parcel.name)

    base = tmp_path / parcel.name
    found = travelled.resolve(f"travelled:{base}")
    assert found.path.read_text() == "boot/linux-6.12"
    assert found.vmlinux == base / "vmlinux"
    assert (found.label, found.build_id, found.lacks) == (kernel.label, "abc", ("CONFIG_SMP",))
    assert sorted(one.name for one in base.iterdir()) == ["boot", "built.json", "image.json", "vmlinux"]
    assert travel.kernel(kernel, tmp_path / "again").name == parcel.name


def test_a_damaged_parcel_is_no_parcel(tmp_path):
    """A machine that lost its power while one arrived has half of it: it is asked for again."""
    parcel = travel.kernel(built_image(tmp_path / "built"), tmp_path)
    parcel.path.write_bytes(parcel.path.read_bytes()[:-9])

    errand.unpack(tmp_path, parcel.name)

    assert [one.name for one in tmp_path.iterdir()] == ["built"]


def test_what_a_worker_runs_needs_no_rig_there():
    """It may have another version: the functions travel by value."""
    order = {"requirements": ["nothing-of-the-kind>=1"], "version": "new", "job": "j"}
    script = (
        "import pickle, sys\n"
        "sys.modules['ringrig'] = None\n"
        "run, put = pickle.load(sys.stdin.buffer)\n"
        "import distributed; distributed.get_worker = lambda: type('W', (), {'address': 'tcp://x'})\n"
        f"print(run({order!r})['refuses'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=cloudpickle.dumps((clusters.RUN, clusters.PUT)),
        env={**os.environ, errand.SUITE: "old"},
        capture_output=True,
        timeout=20,
        check=False,
    )

    assert b"it has no nothing-of-the-kind" in done.stdout, done.stderr
    assert b"(its own suite is old, the one that travels new)" in done.stdout


def test_what_is_no_travelled_kernel_is_refused(tmp_path):
    """A folder of another kind, or none."""
    with pytest.raises(NotAKernel, match="no kernel that has travelled"):
        travelled.resolve(f"travelled:{tmp_path}")


def test_nothing_leads_out_of_a_parcel(tmp_path):
    """Files and folders are unpacked, below the place that was meant."""
    packed, place = tmp_path / "a.tar", tmp_path / "place"
    place.mkdir()
    with tarfile.open(packed, "w") as tar:
        for name in ("../out", "/out", "good/file"):
            tar.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)

    with tarfile.open(packed) as tar:
        errand.extract(tar, place)

    assert sorted(str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*")) == [
        "a.tar",
        "place",
        "place/good",
        "place/good/file",
    ]


def test_a_suite_is_what_git_knows_of(tmp_path):
    """Files that are not committed yet, too; what is ignored and what no run needs stay. Elsewhere it is refused."""
    root = tmp_path / "clone"
    for name in ("suites/a.py", "docs/x.md", "runs/r", ".gitignore"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("runs\n")
    with pytest.raises(HostLacks, match="git"):
        travel.suite(root, tmp_path / "out", "1")
    subprocess.run(["git", "init", "-q", str(root)], check=True, timeout=10)

    parcel = travel.suite(root, tmp_path, "1")

    errand.unpack(tmp_path, parcel.name)
    base = tmp_path / parcel.name
    found = sorted(str(one.relative_to(base)) for one in base.rglob("*") if one.is_file())
    assert found == [".gitignore", ".suite-version", "suites/a.py"]
