"""User-Mode Linux guests, with a kernel that needs neither KVM nor compiler: safe, watched, replaced, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.vm
_ROOT = Path(__file__).parents[2]
_CASES = "tests/disasters/cases"
_KERNEL = os.environ.get("RINGRIG_TEST_UML", "debian-uml:6.1")


def _start(*arguments: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--kernel", _KERNEL, *arguments]
    return subprocess.Popen(argv, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _folder(output: str) -> Path:
    return _ROOT / output.rsplit("run folder: ", 1)[1].splitlines()[0]


def _results(output: str) -> dict[str, dict[str, object]]:
    """Each case's last line of results by its short name."""
    lines = [json.loads(line) for line in (_folder(output) / "results.jsonl").read_text().splitlines()]
    return {line["nodeid"].split("::")[1]: line for line in lines}


def _descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            yield child
            yield from _descendants(child)


def _kernels_of(pid: int) -> list[int]:
    found = []
    for one in _descendants(pid):
        try:
            if Path(f"/proc/{one}/comm").read_text() == "linux\n":
                found.append(one)
        except OSError:
            continue
    return found


def _until(condition: Callable[[], object], *, seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def _kill_the_kernel_in_case_7(run: subprocess.Popen[str], before: set[Path]) -> None:
    while run.poll() is None:
        for console in set((_ROOT / "runs").glob("*/guests/*/console.log")) - before:
            if "::test_7_" in console.read_text(errors="replace"):
                for pid in _kernels_of(run.pid):
                    os.kill(pid, signal.SIGKILL)
                return
        time.sleep(0.1)


def test_exactly_the_disasters_fail() -> None:
    """Panic, user-space hang, a processor that is never given back, WARNING, killed kernel: five cases fail with lines
    of their own, two pass.
    """
    before = set((_ROOT / "runs").glob("*/guests/*/console.log"))
    run = _start(f"{_CASES}/test_uml.py", "--case-timeout", "5")
    killer = threading.Thread(target=_kill_the_kernel_in_case_7, args=(run, before))
    killer.start()
    output = run.communicate()[0]
    killer.join()

    found = _results(output)

    assert [name for name, line in found.items() if line["outcome"] == "passed"] == [
        "test_1_is_well",
        "test_2_leaves_much_behind",
    ], output
    why = {name[5]: str(line["why"]) for name, line in found.items() if line["outcome"] == "failed"}
    assert "sysrq triggered crash" in why["3"]
    assert "no end after 5 s" in why["4"]
    assert "locked up" in why["5"]
    assert "kernel splat: WARNING" in why["6"]
    assert "without a word of its kernel" in why["7"]
    assert "Kernel mode" in str(found["test_5_takes_the_processor"]["detail"])


def test_the_host_is_safe() -> None:
    """Root in the guest finds nothing it could change, and nobody else's files, processes or network."""
    run = _start("-q", f"{_CASES}/test_escape.py", f"{_CASES}/test_escape_uml.py")
    output = run.communicate()[0]

    assert run.returncode == 0, output
    assert not list(_ROOT.rglob("escaped"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda how: how.name)
def test_nothing_is_left_behind_when_the_rig_dies(how: signal.Signals) -> None:
    """Killed or interrupted in the middle of a case."""
    run = _start(f"{_CASES}/test_uml.py::test_4_hangs_in_user_space", "--case-timeout", "1000")
    _until(lambda: _kernels_of(run.pid))
    pids = list(_descendants(run.pid))

    run.send_signal(how)
    run.communicate()

    _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), seconds=10)


def test_every_case_may_have_its_own_guest() -> None:
    """--fresh-vm: the next guests boot while a case runs, and those that nobody needed are ended."""
    run = _start(f"{_CASES}/test_uml.py", "-k", "test_1 or test_2", "--fresh-vm")
    output = run.communicate()[0]

    found = _results(output)
    facts = [json.loads(path.read_text()) for path in _folder(output).glob("guests/*/guest.json")]
    assert {line["outcome"] for line in found.values()} == {"passed"}, output
    assert len({line["guest"] for line in found.values()}) == 2
    assert {fact["guest"] for fact in facts} == {"uml"}
