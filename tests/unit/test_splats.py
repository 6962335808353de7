"""find_splats() over golden logs: tests/data/splats/, where expected.toml says what is in them."""

from __future__ import annotations

import random
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ringrig.vm.splat_kinds import KINDS
from ringrig.vm.splats import Splat, decode_taint, find_splats

DATA = Path(__file__).parents[1] / "data" / "splats"
EXPECTED: dict[str, list[dict[str, Any]]] = tomllib.loads((DATA / "expected.toml").read_text())
LOGS = sorted(path.name for path in DATA.glob("*.log"))


def read(name: str) -> str:
    return (DATA / name).read_bytes().decode()


def facts(splat: Splat) -> dict[str, Any]:
    said = {"comm": splat.comm, "pid": splat.pid, "cpu": splat.cpu}
    return {
        "kind": splat.kind,
        "title": splat.title,
        "frames": list(splat.frames),
        "fatal": splat.fatal,
        "line": splat.line,
        "lines": splat.text.count("\n") + 1,
        **{key: value for key, value in said.items() if value is not None},
    }


def only(text: str) -> Splat:
    (splat,) = find_splats(text)
    return splat


@pytest.mark.parametrize("name", LOGS)
def test_a_golden_log_gives_exactly_its_splats(name: str) -> None:
    """Kind, title, frames, task, CPU, fatality, place and length of each splat, and no other splat."""
    assert [facts(splat) for splat in find_splats(read(name))] == EXPECTED[name]


def test_every_expectation_has_its_log() -> None:
    """expected.toml names no log that is not there."""
    assert sorted(EXPECTED) == LOGS


def test_the_golden_logs_cover_every_kind() -> None:
    """A kind without a log would be untested."""
    seen = {splat["kind"] for splats in EXPECTED.values() for splat in splats}

    assert set(KINDS) - seen == {"cut-short"}


@pytest.mark.parametrize("name", LOGS)
def test_a_log_cut_after_any_line_keeps_its_headlines(name: str) -> None:
    """A guest may die at any moment: whatever headline came out is found, with its kind and title.

    Every line of the shorter logs; of the longer ones the headlines and 150 others.
    """
    lines = read(name).split("\n")
    whole = find_splats("\n".join(lines))
    heads = [
        next(
            at
            for at in range(splat.line, len(lines))
            if lines[at].rstrip("\r").rstrip().endswith(splat.title)
        )
        for splat in whole
    ]

    for cut in sorted({*range(0, len(lines), 1 + len(lines) // 150), *heads}):
        found = [(splat.kind, splat.title) for splat in find_splats("\n".join(lines[: cut + 1]))]
        for splat, head in zip(whole, heads, strict=True):
            assert cut < head or (splat.kind, splat.title) in found


@pytest.mark.parametrize("name", [name for name in LOGS if not name.startswith("clean")])
def test_a_log_cut_in_mid_line_never_raises(name: str) -> None:
    """Any prefix of a log is a log."""
    text = read(name)

    for cut in range(0, len(text), 97 + len(text) // 100):
        find_splats(text[:cut])


@pytest.mark.parametrize("name", LOGS)
def test_line_ends_do_not_matter(name: str) -> None:
    """CR LF, or CR CR LF where two layers each added one, changes nothing but the text."""
    text = read(name).replace("\r", "")

    assert [facts(splat) for splat in find_splats(text.replace("\n", "\r\r\n"))] == EXPECTED[name]


def test_text_and_line_point_at_the_report() -> None:
    """`text` is the log's own lines, `line` the index of the first."""
    lines = read("written-ubsan.log").split("\n")

    splat = only("\n".join(lines))

    assert splat.text.split("\n") == lines[splat.line : splat.line + splat.text.count("\n") + 1]
    assert splat.text.endswith("---[ end trace ]---")


def test_the_fingerprint_outlives_reboots_and_kernels() -> None:
    """Other addresses, pids, CPUs, offsets and the WARNING format of 7.3 give the same fingerprint."""
    old = only(read("written-warning-no-stamps.log"))
    new = only(read("written-warning-7.3.log"))

    assert old.fingerprint == new.fingerprint
    assert len(old.fingerprint) == 12
    assert only(read("debian-6.1-null.log")).fingerprint == only(read("debian-6.12-null.log")).fingerprint
    assert only(read("debian-6.1-gpf.log")).fingerprint == only(read("debian-6.12-gpf.log")).fingerprint


def test_the_fingerprints_of_real_disasters_are_the_same_on_two_kernels() -> None:
    """6.12 and 7.3 word their reports differently; the same function at fault is the same bug."""
    old, new = (
        {
            (splat.kind, splat.frames): splat.fingerprint
            for splat in find_splats(read(f"debian-{kernel}-many.log"))
        }
        for kernel in ("6.12", "7.3")
    )

    shared = old.keys() & new.keys()
    assert len(shared) == 11
    assert [old[key] for key in shared] == [new[key] for key in shared]


def test_a_panic_that_follows_does_not_change_the_fingerprint() -> None:
    """A known issue is the same one with panic_on_warn or oops=panic."""
    for name in ("kasan", "hard-lockup"):
        calm, fatal = only(read(f"written-{name}.log")), only(read(f"written-{name}-panic.log"))
        assert calm.fingerprint == fatal.fingerprint
        assert (calm.fatal, fatal.fatal) == (False, True)


def test_other_functions_give_another_fingerprint() -> None:
    """Two WARNINGs at one place are told apart by their callers."""
    text = read("written-warning-7.3.log")

    other = only(text.replace("io_put_kbuf", "io_drop_kbuf"))

    assert other.fingerprint != only(text).fingerprint


def test_two_boots_in_one_log_are_two_lives() -> None:
    """After a panic everything belongs to it, until a kernel begins anew."""
    text = (
        read("debian-6.12-sysrq-c.log")
        + "[    0.000000] Linux version 6.12.117\n"
        + read("written-kasan.log")
    )

    assert [splat.kind for splat in find_splats(text)] == ["panic", "kasan"]


def test_fallout_of_a_panic_is_no_splat_of_its_own() -> None:
    """A WARNING in the panic path tells nothing new."""
    text = read("debian-6.12-sysrq-c.log").rstrip() + "\r\n" + read("written-warning-7.3.log")

    assert only(text).kind == "panic"


def test_a_panic_for_its_own_reason_is_not_the_earlier_warnings() -> None:
    """Only a reason that concludes the report before it is merged into that report."""
    text = read("written-warning-7.3.log") + "[   44.000000] Kernel panic - not syncing: out of ideas\n"

    assert [(splat.kind, splat.fatal) for splat in find_splats(text)] == [("warning", False), ("panic", True)]


def test_a_report_ends_with_a_long_silence() -> None:
    """What comes much later, by the stamps, is not part of a report that had no end mark."""
    text = read("written-might-sleep.log") + "[   99.000000] CPU: 0 PID: 1 Comm: late Not tainted\n"

    assert "late" not in only(text).text


def test_a_bare_cut_here_counts() -> None:
    """The last words of a guest that died while it began a report."""
    splat = only("[    1.000000] ------------[ cut here ]------------\n[    1.000001] something is odd\n")

    assert (splat.kind, splat.fatal) == ("cut-short", False)


def test_lines_of_another_facility_do_not_count() -> None:
    """`<12>` is user.warning: a program's."""
    body = "[    1.000000] BUG: unable to handle page fault for address: 0000000000000000"

    assert find_splats("<12>" + body) == []
    assert only("<4>" + body).kind == "oops"


def test_unstamped_lines_count_only_where_nothing_is_stamped() -> None:
    """printk.time=0 is no reason to be blind; a program's line among stamped ones is not the kernel's."""
    line = "WARNING: CPU: 0 PID: 1 at lib/a.c:1 f+0x1/0x2"

    assert only(line).kind == "warning"
    assert find_splats("[    1.000000] hello\n" + line) == []


@pytest.mark.parametrize("text", ["", "\n", "\r\n\r\n", "\0", "[", "<4>", "[    1.000000]", "\ufffd" * 10])
def test_nothing_in_nothing_out(text: str) -> None:
    """Empty and odd texts have no splats and do no harm."""
    assert find_splats(text) == []


@pytest.mark.parametrize("unit", ["clean-6.12.log", "debian-6.12-warn.log"])
def test_ten_megabytes_take_seconds(unit: str) -> None:
    """Linear: 10 MB of console in a few seconds even on a slow machine."""
    text = read(unit)
    text *= 10_000_000 // len(text)

    start = time.process_time()
    find_splats(text)

    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    "line", ["[" * 10**6, "BUG: " * 10**5, "WARNING: a:1 at f, CPU#1: " * 10**5, "[ " * 10**6]
)
def test_one_endless_line_takes_no_longer(line: str) -> None:
    """No pattern backtracks its way through a megabyte."""
    start = time.process_time()
    find_splats("[    1.000000] " + line)
    find_splats(line)

    assert time.process_time() - start < 5


def test_taint_in_words() -> None:
    """One phrase a bit, lowest first; unknown bits by number."""
    assert decode_taint(0) == ()
    assert decode_taint(12288) == ("O: out-of-tree module", "E: unsigned module")
    assert decode_taint(1 << 9 | 1 << 7) == ("D: the kernel has oopsed", "W: a WARNING was printed")
    assert decode_taint(1 << 40) == ("?: unknown taint bit 40",)
    with pytest.raises(ValueError, match="negative"):
        decode_taint(-1)


def test_shuffled_and_spliced_logs_never_raise() -> None:
    """Whatever a serial line makes of the kernel's words, the parser goes on."""
    dice = random.Random(20261122)
    lines = [line for name in LOGS if not name.startswith("clean") for line in read(name).split("\n")]

    for _ in range(20):
        picked = dice.choices(lines, k=300)
        find_splats("\n".join(line[dice.randrange(40) :] if dice.random() < 0.2 else line for line in picked))
