"""Two workers with real guests, one of them killed in the middle of a job: nothing lost, nothing run twice in the result."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import orphans

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from cluster import RIG, await_, program, scheduler, worker  # noqa: E402

JOBS = ("one", "two", "three")
CASES = ("suites/mmap", "suites/register/test_fields.py", "suites/register/test_order.py")
pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The suite as it is committed: in a checkout that is worked on, --resume would find another suite."""
    place = tmp_path_factory.mktemp("clone")
    subprocess.run(["git", "clone", "-q", str(ROOT), str(place)], check=True, timeout=120)
    return place


@pytest.fixture
def address(tmp_path):
    """A scheduler's."""
    before = orphans.children()
    with scheduler(tmp_path) as there:
        yield there
    assert not orphans.left_since(before, seconds=30)


def results(folder):
    """The cases that a run folder has, one for each line."""
    return [json.loads(line)["nodeid"] for line in (folder / "results.jsonl").read_text().splitlines()]


def test_a_worker_is_killed_in_the_middle(address, clone, tmp_path):
    """Its job runs again on the other, each result has every case once, and --resume finds nothing left to do."""
    file = tmp_path / "kernels.toml"
    entry = '[[kernel]]\nname = "{}"\nkernel = "source:6.12"\nguest = "uml"\n'
    file.write_text("".join(entry.format(name) for name in JOBS))
    matrix = [*RIG, "matrix", str(file), *CASES, "-n", "1", "--cluster", address]

    def under_way():
        """The run folder of the job that the doomed worker runs, once some cases have ended there."""
        for found in (tmp_path / "doomed").glob("ringrig/live/*/run/results.jsonl"):
            if len(found.read_text().splitlines()) > 20:
                return found.parent
        return None

    with (
        worker(address, "doomed", tmp_path, suite=clone) as (doomed, doomed_log),
        worker(address, "other", tmp_path, suite=clone) as (_, other_log),
    ):
        with program(matrix, said := tmp_path / "matrix.log", cwd=clone) as campaign:
            lost = await_(under_way, 600)
            doomed.kill()
            assert campaign.wait(1200) == 0, said.read_text()
        await_(lambda: not left_in(lost), 60)

        [page] = [line for line in said.read_text().splitlines() if "matrix.json" in line]
        folder = Path(page.split("_matrix/")[0] + "_matrix")
        cases = {name: results(folder / name) for name in JOBS}
        assert len(cases["one"]) > 100
        assert all(sorted(found) == sorted(set(cases["one"])) for found in cases.values())
        where = {name: (folder / name / "worker.txt").read_text() for name in JOBS}
        begun = doomed_log.read_text().count("begins") + other_log.read_text().count("begins")
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
