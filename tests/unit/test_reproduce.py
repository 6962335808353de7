"""rig reproduce: a recording becomes a C program that tells a broken kernel from a good one."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ringrig.errors import NotReproducible
from ringrig.report import reproduce_names as names
from ringrig.report.reproduce_c import program
from ringrig.report.reproduce_course import Completion, Course, Step
from ringrig.report.reproduce_judge import decide
from ringrig.report.reproduce_memory import places
from ringrig.report.reproduce_wanted import as_wanted
from ringrig.uring import consts as c
from ringrig.uring import libc
from ringrig.uring.shadow import Shadow
from ringrig.uring.structs import io_uring_buf_reg, io_uring_params, io_uring_sqe

Events = list[dict[str, Any]]
_QUEUE, _SQES, _RING, _REG = 0x7F0000010000, 0x7F0000020000, 0x7F0000030000, 0x7F0000090000
_FD = 4


def _params() -> io_uring_params:
    params = io_uring_params(sq_entries=8, cq_entries=16)
    params.sq_off.tail, params.sq_off.array, params.cq_off.head = 4, 320, 8
    params.cq_off.tail, params.cq_off.cqes = 12, 64
    return params


def _call(name: str, *args: Any, res: int = 0, **more: Any) -> dict[str, Any]:
    return {"call": name, "args": list(args), "res": res, "stores": [], "wrote": [], "mem": [], **more}


def _opening() -> Events:
    """An io_uring, and a page."""
    raw = ["00" * 120, bytes(_params()).hex()]
    rw, shared = 3, 0x8001
    return [
        _call("io_uring_setup", 8, _REG, res=_FD, mem=[[_REG, "io_uring_params", *raw]]),
        _call("mmap", 0, 352, rw, shared, _FD, 0, res=_QUEUE, region=1),
        _call("mmap", 0, 512, rw, shared, _FD, c.IORING_OFF_SQES, res=_SQES, region=2),
        _call("mmap", 0, 4096, rw, 0x22, -1, 0, res=_RING, region=3),
    ]


def _register(res: int = 0, **fields: int) -> dict[str, Any]:
    raw = bytes(io_uring_buf_reg(ring_addr=_RING, ring_entries=8, **fields)).hex()
    op = c.IORING_REGISTER_PBUF_RING
    return _call("io_uring_register", _FD, op, _REG, 1, res=res, mem=[[_REG, "io_uring_buf_reg", raw, raw]])


def _read(res: int, flags: int) -> dict[str, Any]:
    """A READ that selects from group 7, whose slot 0 has buffer 5; and its completion."""
    sqe = io_uring_sqe(opcode=c.IORING_OP_READ, flags=c.IOSQE_BUFFER_SELECT, fd=0, buf_group=7)
    entry = (_RING + 64).to_bytes(8, "little") + (64).to_bytes(4, "little") + bytes((5, 0, 1, 0))
    cqe = bytes(8) + res.to_bytes(4, "little", signed=True) + flags.to_bytes(4, "little")
    stores = [[2, 0, bytes(sqe).hex()], [1, 4, "01"], [3, 0, entry.hex()]]
    return _call(
        "io_uring_enter", _FD, 1, 1, 9, 0, 0, res=1, stores=stores, wrote=[[1, 64, cqe.hex()], [1, 12, "01"]]
    )


def _steps(*courses: Events) -> list[list[Step]]:
    where = places(courses)
    return [Course(events, where).steps for events in courses]


def _text(bad: Events, good: Events) -> str:
    broken, right = _steps(bad, good)
    return program(right, verdict=decide(broken, right), head="A title.")


def _main(text: str) -> str:
    return re.sub(r"\s+", " ", text[text.index("int main(void)") :])


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[[str], Path]:
    """The program a text becomes, without one warning."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")

    def make(text: str) -> Path:
        source = tmp_path / "reproduce.c"
        source.write_text(text)
        target = source.with_suffix("")
        flags = ["-Wall", "-Wextra", "-O2", "-o", str(target)]
        done = subprocess.run([compiler, *flags, str(source)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return target

    return make


def test_a_result_that_differs_decides() -> None:
    """The call is written with constants and fields by name, and what comes behind it is left out."""
    bad, good = (
        [*_opening(), _register(bgid=7), _register()],
        [*_opening(), _register(-17, bgid=7), _register()],
    )

    main = _main(_text(bad, good))

    assert main.count("io_uring_register(ring1.fd") == 1
    literal = "&(struct io_uring_buf_reg){ .ring_addr = (uintptr_t)br1, .ring_entries = 8, .bgid = 7 }"
    assert f"io_uring_register(ring1.fd, IORING_REGISTER_PBUF_RING, {literal}, 1), 0, -EEXIST);" in main


def test_a_completion_that_differs_decides() -> None:
    """Stores become a queued request and an entry; flags have names, the buffer's id its shift."""
    opening = [*_opening(), _register(bgid=7)]
    lost = c.IORING_CQE_F_BUFFER | 5 << c.IORING_CQE_BUFFER_SHIFT

    main = _main(_text([*opening, _read(64, 0)], [*opening, _read(64, lost)]))

    assert "buf_ring_add(br1, 0, (uintptr_t)(br1 + 64), 64, 5); buf_ring_tail(br1, 1);" in main
    assert (
        "push(&ring1, (struct io_uring_sqe){ .opcode = IORING_OP_READ, .flags = IOSQE_BUFFER_SELECT" in main
    )
    right = "{ 0, 64, IORING_CQE_F_BUFFER | 5U << IORING_CQE_BUFFER_SHIFT }"
    assert f"verdict_cqe(&ring1, (struct io_uring_cqe){{ 0, 64, 0 }}, (struct io_uring_cqe){right});" in main


def test_what_the_kernel_wrote_decides() -> None:
    """An entry that it moved on, or did not, by field."""
    opening = [*_opening(), _register(bgid=7)]
    moved = _read(8, 0)
    moved["wrote"].append([3, 0, (_RING + 72).to_bytes(8, "little").hex()])

    main = _main(_text([*opening, _read(8, 0)], [*opening, moved]))

    fields = "buf_ring_slot(br1, 0)->addr, (uintptr_t)(br1 + 64), (uintptr_t)(br1 + 72));"
    assert main.endswith(f'verdict("addr of slot 0", {fields} }} ')


def test_memory_that_nothing_uses_is_left_out() -> None:
    """And so is its variable."""
    events = _opening()[:3]

    main = _main(_text([*_opening(), _call("close", _FD)], [*_opening(), _call("close", _FD, res=-9)]))

    assert len(events) == 3
    assert "memory(" not in main and "unsigned char" not in main


def test_a_course_that_differs_first_is_no_program() -> None:
    bad, good = [*_opening(), _register(bgid=7)], [*_opening(), _register(bgid=8)]

    with pytest.raises(NotReproducible, match="another way before anything"):
        decide(*_steps(bad, good))


def test_no_difference_is_no_program() -> None:
    with pytest.raises(NotReproducible, match="all that was recorded is as on the good kernel"):
        decide(*_steps(_opening(), copy.deepcopy(_opening())))


def test_what_is_refused_counts_only_before_the_verdict() -> None:
    """A case that forks after the observation that decides is a program."""
    bad, good = [*_opening(), _register()], [*_opening(), _register(-17)]
    forks = {"refuse": "it forks"}

    assert decide(*_steps([*bad, forks], [*good, forks])).right == "-EEXIST"
    with pytest.raises(NotReproducible, match="it forks"):
        decide(*_steps([forks, *bad], [forks, *good]))


@pytest.mark.parametrize(
    ("got", "want", "right"),
    [
        (-17, -22, "-EINVAL"),
        ("-EEXIST", "0", "0"),
        ({"type": "Outcome", "res": -17, "head": None}, {"type": "Outcome", "res": 0, "head": None}, "0"),
    ],
)
def test_what_the_case_compared_decides_where_no_good_kernel_is(
    got: object, want: object, right: str
) -> None:
    steps = _steps([*_opening(), _register(-17)])[0]

    verdict = as_wanted(steps, [{"op": "==", "left": got, "right": want}])

    assert (verdict.wrong, verdict.right, verdict.at) == ("-EEXIST", right, len(steps) - 1)


def test_a_reply_that_the_case_compared_is_found_among_completions() -> None:
    """Of a CQE that had to carry no buffer: the wanted one keeps all else."""
    reply = {
        "type": "Reply",
        "res": 8,
        "bid": 5,
        "more": False,
        "nonempty": False,
        "buf_more": False,
        "other": 0,
    }
    flags = c.IORING_CQE_F_BUFFER | 5 << c.IORING_CQE_BUFFER_SHIFT
    steps = _steps([*_opening(), _register(bgid=7), _read(8, flags)])[0]

    verdict = as_wanted(steps, [{"op": "==", "left": [reply], "right": [{**reply, "bid": None}]}])

    assert verdict.right == Completion(ring="ring1", user_data=0, res=8, flags=0).literal


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"data", '"data"'),
        (bytes(range(3, 20)), "cycle(2)"),
        (b"\x11" * 64, "filled(0x11)"),
        (b"\0\x07", r'"\x00\x07"'),
    ],
)
def test_bytes_are_written_shortly(data: bytes, text: str) -> None:
    assert names.text(data) == text


@pytest.mark.parametrize("outside", [False, True], ids=["a_result", "from_outside"])
def test_a_program_compiles_without_a_warning(compiled: Callable[[str], Path], outside: bool) -> None:
    """Both sorts, with all helpers that they want."""
    opening = [*_opening(), _register(bgid=7)]
    bad, good = _steps([*opening, _read(64, 0)], [*opening, _read(64, 1)])

    compiled(program(good, verdict=None if outside else decide(bad, good), head="A title.\n\n*/ in it"))


@pytest.mark.parametrize(("wrong", "right", "status"), [(-9, 0, 1), (0, -9, 0), (-1, 0, 77)])
def test_the_exit_status_says_what_was_seen(
    compiled: Callable[[str], Path], wrong: int, right: int, status: int
) -> None:
    """close() of a descriptor that is none returns -EBADF: the fault, what is right, or neither."""
    bad, good = _steps([_call("close", 999, res=wrong)], [_call("close", 999, res=right)])

    path = compiled(program(good, verdict=decide(bad, good), head="A title."))

    assert subprocess.run([path], capture_output=True, check=False).returncode == status


_USED = c.IORING_CQE_F_BUFFER | 5 << c.IORING_CQE_BUFFER_SHIFT
_MORE = _USED | c.IORING_CQE_F_SOCK_NONEMPTY


@pytest.mark.parametrize(
    ("wrong", "right", "status"),
    [(0, _MORE, 0), (_MORE, 0, 1), (_MORE, _USED, 0), (_USED, _MORE, 1), (0, 0x10, 77)],
)
def test_more_in_a_socket_counts_where_only_that_is_in_question(
    compiled: Callable[[str], Path], wrong: int, right: int, status: int
) -> None:
    """Kernels say F_SOCK_NONEMPTY of different sockets: a READ of zeroes stands for one of which this kernel does not."""
    opening = [*_opening(), _register(bgid=7)]
    bad, good = _steps([*opening, _read(64, wrong)], [*opening, _read(64, right)])

    path = compiled(program(good, verdict=decide(bad, good), head="A title."))

    with Path("/dev/zero").open("rb") as zeroes:
        assert subprocess.run([path], stdin=zeroes, capture_output=True, check=False).returncode == status


def test_a_call_that_does_not_end_tells_nothing(
    compiled: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that refuses what the case's did may never write what is read: 77, for git bisect run."""
    monkeypatch.setattr("ringrig.report.reproduce_c._PATIENCE", 1)
    silent = [_call("pipe2", 0, new=[10, 11]), _call("read", 10, 1, res=1, data="00")]
    bad, good = _steps(*([*silent, _call("close", 999, res=res)] for res in (-9, 0)))

    path = compiled(program(good, verdict=decide(bad, good), head="A title."))

    done = subprocess.run([path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout[:11]) == (77, "cannot tell")


def test_two_pipes_are_no_function(compiled: Callable[[str], Path]) -> None:
    """Variables are counted, and C has a pipe2()."""
    pipes = [_call("pipe2", os.O_NONBLOCK, new=[at, at + 1]) for at in (10, 12)]
    bad, good = _steps(*([*pipes, _call("close", 13, res=res)] for res in (-9, 0)))

    path = compiled(program(good, verdict=decide(bad, good), head="A title."))

    assert subprocess.run([path], capture_output=True, check=False).returncode == 0


def test_the_shadow_sees_stores_and_survives_bad_memory() -> None:
    """A byte that changed is found once; memory without access is no reason to die."""
    length = 2 * libc.PAGE_SIZE
    base = libc.mmap(length, 3, libc.MAP_PRIVATE | libc.MAP_ANONYMOUS)
    shadow = Shadow()
    number = shadow.add(base, length)
    libc.mprotect(base + libc.PAGE_SIZE, libc.PAGE_SIZE, libc.PROT_NONE)

    memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
    os.pwrite(memory, b"\x07", base + 100)
    os.close(memory)

    assert shadow.changes() == [(number, 100, "07")]
    assert shadow.changes() == []
    libc.munmap(base, length)
