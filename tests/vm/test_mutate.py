"""`rig mutate`, end to end: one kernel with one mutant for each thing that can become of one; the suite, and a foreign program."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ringrig.errors import BadCatalogue

pytestmark = pytest.mark.vm
_ROOT = Path(__file__).parents[2]
_CATALOGUE = _ROOT / "tests/data/mutants/small.toml"
_CASES = "suites/unregister/test_groups.py::test_twice"
_TWICE = r"""
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	unsigned int params[30] = { 0 };
	struct { unsigned long addr; unsigned int entries; unsigned short bgid, flags; unsigned long resv[3]; } ring = { 0 };
	int fd = syscall(425, 4, params);

	ring.addr = (unsigned long)mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ring.entries = 8;
	if (fd < 0 || syscall(427, fd, 22, &ring, 1)) {
		puts("the first was refused");
		return 2;
	}
	if (syscall(427, fd, 22, &ring, 1) == 0 || errno != EEXIST) {
		printf("the second: %s\n", strerror(errno));
		return 1;
	}
	return 0;
}
"""
"""Registers a buffer ring twice (io_uring_setup, io_uring_register, IORING_REGISTER_PBUF_RING)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Campaign:
    code: int
    out: str
    folder: Path
    verdicts: dict[str, dict[str, Any]]

    def results(self) -> dict[str, str]:
        return {id: one["result"] for id, one in self.verdicts.items()}

    def kill(self, id: str) -> dict[str, Any]:
        return dict(self.verdicts[id]["kills"][0])


def _rig(*arguments: str | Path, cwd: Path = _ROOT) -> subprocess.CompletedProcess[str]:
    kernel = ["--kernel", "source:6.12", "--guest", "uml", "-n", "2"]
    argv = [sys.executable, "-m", "ringrig.cli", "mutate", *kernel, *map(str, arguments)]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)


def _mutate(*arguments: str | Path, cwd: Path = _ROOT) -> _Campaign:
    done = _rig("--catalogue", _CATALOGUE, *arguments, cwd=cwd)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    folder = Path(done.stdout.rsplit("/mutants.html", 1)[0].splitlines()[-1])
    data = json.loads((folder / "mutants.json").read_text())
    verdicts = {one["id"]: one for one in data["mutants"]}
    return _Campaign(code=done.returncode, out=done.stdout, folder=folder, verdicts=verdicts)


@pytest.fixture(scope="module")
def suite() -> _Campaign:
    return _mutate(_CASES)


def test_each_mutant_gets_what_it_deserves(suite: _Campaign) -> None:
    """A panic and a hang cost guests, and nobody else's verdict."""
    assert suite.results() == {
        "unregister-enoent-as-einval": "killed",
        "unregister-puts-nothing": "killed",
        "unregister-sleeps-for-ever": "killed",
        "register-entries-65536": "survived",
        "register-eexist-as-einval": "unreached",
        "bundle-none-empty": "unreached",
        "unregister-lock-unchecked": "equivalent",
        "register-list-leaks": "needs",
        "register-of-another-age": "stale",
        "select-legacy-last": "unreached",
        "put-buf-more-untold": "unreached",
        "inc-address-stays": "unreached",
        "select-one-byte-on": "unreached",
    }, suite.out
    assert suite.code == 1


@pytest.mark.parametrize(
    ("id", "how", "what"),
    [
        ("unregister-enoent-as-einval", "errno", "got -EINVAL, want -ENOENT"),
        ("unregister-puts-nothing", "panic", "Kernel panic"),
        ("unregister-sleeps-for-ever", "hang", "stuck in the kernel"),
    ],
)
def test_a_kill_says_how_and_is_sure(suite: _Campaign, id: str, how: str, what: str) -> None:
    """Three times in three."""
    kill = suite.kill(id)

    assert (kill["how"], kill["times"], kill["tries"], kill["leaks"]) == (how, 3, 3, False)
    assert kill["case"].startswith(_CASES)
    assert what in kill["what"]


def test_the_run_folder_has_it_all(suite: _Campaign) -> None:
    """The page, and each mutant as a patch for `rig run --patch`."""
    patches = {file.stem for file in (suite.folder / "patches").glob("*.patch")}

    assert patches == set(suite.results()) - {"register-of-another-age"}
    assert "unregister-sleeps-for-ever" in (suite.folder / "mutants.html").read_text()
    assert "register-entries-65536: 65536 entries are accepted" in suite.out


def test_a_foreign_program_is_judged_by_its_exit_status(tmp_path: Path) -> None:
    """The current folder goes along; the one mutant that the program reaches and looks at is killed."""
    (tmp_path / "twice.c").write_text(_TWICE)
    subprocess.run(["gcc", "-static", "-o", "twice", "twice.c"], cwd=tmp_path, check=True)

    campaign = _mutate("--command", "./twice", cwd=tmp_path)

    killed = [id for id, result in campaign.results().items() if result == "killed"]
    assert killed == ["register-eexist-as-einval"], campaign.out
    kill = campaign.kill("register-eexist-as-einval")
    assert (kill["case"], kill["how"], kill["times"]) == ("./twice", "status", 3)
    assert kill["what"] == "exit status 1: the second: Invalid argument"
    assert campaign.results()["register-entries-65536"] == "survived"
    assert campaign.results()["unregister-sleeps-for-ever"] == "unreached"


def test_a_program_that_fails_on_the_unchanged_kernel_is_no_judge(tmp_path: Path) -> None:
    """Then a failure under a mutant says nothing."""
    done = _rig("--catalogue", _CATALOGUE, "--command", "echo no such luck; exit 3", cwd=tmp_path)

    assert done.returncode == 25
    assert "exit status 3: no such luck" in done.stderr


def test_a_bad_catalogue_names_its_mutant(tmp_path: Path) -> None:
    """Nothing is built."""
    bad = tmp_path / "bad.toml"
    bad.write_text(
        '[[mutant]]\nid = "which-one"\nfile = "kbuf.c"\nfunction = "io_register_pbuf_ring"\n'
        'kind = "expr"\noriginal = "-EFAULT"\nmutated = "-EINVAL"\n'
    )

    done = _rig("--catalogue", bad)

    assert done.returncode == BadCatalogue.exit_code
    assert "Mutant which-one: the text is 2 times in io_register_pbuf_ring()" in done.stderr
    assert "`within`" in done.stderr
