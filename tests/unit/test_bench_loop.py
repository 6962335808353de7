"""The benchmark's loop in C, on the running kernel and on one that lies: a kernel that loses buffers gets no figures."""

import ctypes
import os
import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from ringrig.bench import inside, loop, native, nops, session
from ringrig.bench.loop import Fault, Loop, Request
from ringrig.bench.rows import ROWS
from ringrig.errors import HostLacks
from ringrig.uring import consts as c

LIES = Path(__file__).parents[1] / "fakes" / "lying_kernel.c"
LOST_COMPLETION, STRANGE_RESULT, NO_BUFFER, SAME_BUFFER, UNKNOWN_BUFFER, SWAPPED, SHORT_SUBMIT = range(1, 8)
WITH_BUFFERS = [row for row in ROWS if row.buffers != "NOPS_NONE"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """What native.build() makes, in a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield native.build(say=print)


@pytest.fixture(scope="module")
def kernel(built):
    return loop.load(built)


@pytest.fixture(scope="module")
def liar(built, tmp_path_factory):
    """nops.c on top of lying_kernel.c, and the variable that says which lie."""
    folder = tmp_path_factory.mktemp("liar")
    for file in filter(Path.is_file, built.iterdir()):  # importing it may have left a __pycache__
        shutil.copy(file, folder)
    source = Path(native.__file__).with_name("nops.c")
    objects = [folder / "nops.o", folder / "lies.o"]
    renamed = ["-Dsyscall=lying_syscall", "-Dmmap=noting_mmap", "-include", "stdint.h"]
    subprocess.run(["gcc", "-O2", "-fPIC", "-c", *renamed, source, "-o", objects[0]], check=True)
    subprocess.run(["gcc", "-O2", "-fPIC", "-c", LIES, "-o", objects[1]], check=True)
    subprocess.run(["gcc", "-shared", *objects, "-o", folder / loop.LIBRARY], check=True)
    return loop.load(folder), ctypes.c_int.in_dll(ctypes.CDLL(str(folder / loop.LIBRARY)), "lie")


@pytest.fixture
def null():
    fd = os.open("/dev/null", os.O_RDONLY)
    yield Request(c.IORING_OP_READ, fd, 64)
    os.close(fd)


def opened(lib, request, row, *, layout="merged"):
    return Loop(lib, request, buffers=row.buffers, replenish=row.replenish, layout=layout)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_runs_and_goes_on_where_it_was(kernel, null, row):
    """Far enough that ring and indices wrap around, in two goes."""
    one = opened(kernel, null, row)

    took = [one.run(3000), one.run(1)]
    one.close()

    assert took[0] > took[1] > 0


@pytest.mark.parametrize("row", WITH_BUFFERS, ids=lambda row: row.name)
@pytest.mark.parametrize(
    "lie, told",
    [
        (LOST_COMPLETION, "completions of a batch"),
        (STRANGE_RESULT, "cqe->res of a request is 1"),
        (NO_BUFFER, "cqe->flags of a request is 0"),
        (SAME_BUFFER, "buffer id"),
        (UNKNOWN_BUFFER, "buffer id"),
        (SWAPPED, "cqe->user_data"),
        (SHORT_SUBMIT, "io_uring_enter()"),
    ],
)
def test_a_lying_kernel_gets_no_figures(liar, null, row, lie, told):
    """Whatever is wrong in one completion of a batch is found in that batch."""
    lib, which = liar
    which.value = 0
    one = opened(lib, null, row)
    one.run(2)

    which.value = lie
    with pytest.raises(Fault) as caught:
        one.run(1)
    which.value = 0
    one.close()

    assert told in str(caught.value)


@pytest.mark.parametrize("lie", [LOST_COMPLETION, STRANGE_RESULT, UNKNOWN_BUFFER, SWAPPED, SHORT_SUBMIT])
def test_a_lying_kernel_gets_no_figures_without_buffers_either(liar, null, lie):
    """The row that all others are compared to is checked as they are."""
    lib, which = liar
    which.value = lie
    one = opened(lib, null, ROWS[0])

    with pytest.raises(Fault):
        one.run(1)
    which.value = 0
    one.close()


def test_a_ring_in_the_wrong_layout_has_no_buffers(kernel, null):
    """The kernel finds the producer where its own layout has it; what it reads instead must end the loop."""
    one = opened(kernel, null, WITH_BUFFERS[-1], layout="rfc")

    with pytest.raises(Fault, match="cqe->res of a request is -105"):
        one.run(1)
    one.close()


def test_a_file_that_gives_bytes_is_not_the_request_that_was_meant(kernel):
    """/dev/zero instead of /dev/null."""
    fd = os.open("/dev/zero", os.O_RDONLY)
    one = opened(kernel, Request(c.IORING_OP_READ, fd, 64), WITH_BUFFERS[0])

    with pytest.raises(Fault, match="is 64, and must be 0"):
        one.run(1)
    one.close()
    os.close(fd)


def test_a_set_up_that_is_refused_is_a_fault(kernel, null):
    """Of a part of the batch nobody promises that its ids are consecutive."""
    with pytest.raises(Fault, match="replenish is 7"):
        Loop(kernel, null, buffers="NOPS_PROVIDED", replenish=7, layout="merged")


def test_a_row_that_faults_is_named(kernel, null):
    """And what was measured until then is of no use."""
    _, fault = inside.measure(kernel, null, layout="rfc", rounds=2, seconds=0.001)

    assert fault.startswith("ring buffers, 32: cqe->res")


def test_the_running_kernel_says_whether_its_nop_takes_a_buffer():
    """Whatever it says, it says it without a doubt, and the loop agrees."""
    selects, why = inside.nop_selects_buffers()

    assert ("says 0" in why) == selects


def test_what_travels_is_enough(built, tmp_path):
    """In a folder of its own, with a Python that sees no installed package, and nothing of the clone."""
    with tarfile.open(fileobj=BytesIO(session.packed(built)), mode="r:gz") as tar:
        tar.extractall(tmp_path)
    order = nops.Order(native="", rounds=2, seconds=0.001, answer="")

    done = subprocess.run(
        [sys.executable, "-S", *nops.inside("native", order)],
        cwd=tmp_path,
        env={"PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    measured = nops.parse(f"a login shell's greeting\n{done.stdout}")
    assert not measured.fault
    assert [len(rates) for rates in measured.rates] == [2] * len(ROWS)


def test_no_compiler_names_the_package(monkeypatch):
    """gcc is installed for who needs it, not for every run."""
    monkeypatch.setattr(shutil, "which", lambda _name: None)

    with pytest.raises(HostLacks) as caught:
        native.build(say=print)

    assert "gcc" in caught.value.next_step


def test_missing_headers_are_named(monkeypatch, tmp_path):
    """The compiler's own words, and nothing half-made in the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(native, "_FLAGS", (*native._FLAGS, "-nostdinc"))

    with pytest.raises(HostLacks) as caught:
        native.build(say=print)

    assert "stdint.h" in caught.value.what
    assert "libc6-dev" in caught.value.next_step
    assert not list(tmp_path.glob("ringrig/bench/*"))


def test_a_kernel_that_cannot_be_told_anything_about_is_a_fault(monkeypatch, capsys):
    """Neither yes nor no to the probe: no figures, no traceback."""

    def neither():
        raise Fault("NOP says 5")

    monkeypatch.setattr(inside, "nop_selects_buffers", neither)

    assert inside.main(["/nowhere", "2", "0.001"]) == 0

    assert nops.parse(capsys.readouterr().out).fault == "NOP says 5"
