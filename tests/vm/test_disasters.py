"""Five disasters among seven cases, and a late one: blame falls where it belongs, and nothing is left
behind.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringrig import cache
from ringrig.kernel import resolve
from ringrig.kernel.spec import Image

pytestmark = pytest.mark.vm
_ROOT = Path(__file__).parents[2]
_CASES = "tests/disasters/cases"


@pytest.fixture(scope="module")
def kernel() -> str:
    """debian:6.12, with the module for it beside the cases."""
    image = resolve("debian:6.12", say=print)
    assert isinstance(image, Image)
    file = _ROOT / "tests" / "disasters" / "build_module.py"
    spec = importlib.util.spec_from_file_location("build_module", file)
    assert spec is not None
    assert spec.loader is not None
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    built = builder.build_module(image.release, cache.folder())
    place = _ROOT / _CASES / "build" / f"{image.release}.ko"
    place.parent.mkdir(exist_ok=True)
    half = place.with_suffix(f".{os.getpid()}")
    shutil.copy(built, half)
    half.replace(place)  # the other worker may have it in use
    return "debian:6.12"


def _start(*arguments: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.Popen(argv, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _results(output: str) -> tuple[Path, dict[str, dict[str, object]]]:
    """The run folder, and each case's last line of results by its short name."""
    folder = _ROOT / output.rsplit("run folder: ", 1)[1].splitlines()[0]
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return folder, {line["nodeid"].split("::")[1]: line for line in lines}


def _descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            yield child
            yield from _descendants(child)


def _qemu_of(pid: int) -> list[int]:
    """Those in a box: `qemu-system-x86_64 --version` is none."""

    def is_one(one: int) -> bool:
        try:
            told = Path(f"/proc/{one}/status").read_text()
        except OSError:
            return False
        boxed = next(line for line in told.splitlines() if line.startswith("NSpid:"))
        return told.startswith("Name:\tqemu-system") and len(boxed.split()) > 2

    return [one for one in _descendants(pid) if is_one(one)]


def _kill_qemu_in_case_7(run: subprocess.Popen[str], folders_before: set[Path]) -> None:
    """SIGKILL to QEMU as soon as a console says that case 7 has begun."""
    while run.poll() is None:
        for folder in set((_ROOT / "runs").glob("*/guests/*/console.log")) - folders_before:
            if re.search(r"begin \d+ \S*::test_7_", folder.read_text(errors="replace")):
                for pid in _qemu_of(run.pid):
                    os.kill(pid, signal.SIGKILL)
                return
        time.sleep(0.2)


def test_exactly_the_disasters_fail(kernel: str) -> None:
    """Panic, user-space hang, lock-up, WARNING, killed QEMU: five cases fail with lines of their own, two
    pass.
    """
    before = set((_ROOT / "runs").glob("*/guests/*/console.log"))
    run = _start(f"{_CASES}/test_seven.py", "--kernel", kernel, "--case-timeout", "5")
    killer = threading.Thread(target=_kill_qemu_in_case_7, args=(run, before))
    killer.start()
    output = run.communicate()[0]
    killer.join()

    folder, cases = _results(output)
    begun = "".join(one.read_text(errors="replace") for one in folder.glob("guests/*/console.log"))
    words = {
        name: (str(line["outcome"]), str(line.get("why", "")), str(line.get("detail", "")))
        for name, line in cases.items()
    }
    assert {name for name, (outcome, _, _) in words.items() if outcome == "passed"} == {
        "test_1_is_well", "test_2_leaves_much_behind",
    }, output  # fmt: skip
    assert "kernel panic" in words["test_3_panics"][1]
    [number] = re.findall(r"begin (\d+) \S*::test_3_", begun)
    assert f"case-{number}" in words["test_3_panics"][2]
    assert "no end after" in words["test_4_hangs_in_user_space"][1]
    assert "__do_sys_pause" in words["test_4_hangs_in_user_space"][2]
    assert "stopped answering" in words["test_5_locks_up_the_kernel"][1]
    assert "do_lockup" in words["test_5_locks_up_the_kernel"][2]
    assert "WARNING" in words["test_6_warns"][1]
    assert "say_warn" in words["test_6_warns"][2]
    assert "ended without a word" in words["test_7_loses_its_qemu"][1]
    assert run.returncode == 1
    assert not _qemu_of(os.getpid())


def test_a_late_splat_falls_to_its_own_case(kernel: str) -> None:
    """A WARNING 200 ms after its case: that case is blamed (or it is called uncertain), never one that ran
    meanwhile.
    """
    output = _start(f"{_CASES}/test_late.py", "--kernel", kernel).communicate()[0]

    folder, cases = _results(output)
    bad = {name for name, line in cases.items() if line["outcome"] != "passed"}
    uncertain = json.loads((folder / "run.json").read_text())["uncertain"]
    assert bad == {"test_guilty"} or (not bad and "test_guilty" in str(uncertain)), output


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl_c", "kill_9"])
def test_no_guest_outlives_its_run(kernel: str, how: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C, or kill -9 of pytest, while a case runs: QEMU is gone within seconds, and another run is not
    disturbed.
    """
    other = _start("suites/register/test_entries.py", "-k", "good or one", "--kernel", kernel)
    run = _start(f"{_CASES}/test_seven.py", "-k", "test_4", "--kernel", kernel)
    limit = time.monotonic() + 180
    while not (mine := _qemu_of(run.pid)) and time.monotonic() < limit:
        time.sleep(0.2)
    assert mine

    run.send_signal(how)
    output = run.communicate(timeout=120)[0]

    limit = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in mine) and time.monotonic() < limit:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in mine), output
    assert "Traceback" not in output
    assert other.communicate()[0].count("PASS") >= 1
