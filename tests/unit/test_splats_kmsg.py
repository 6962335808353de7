"""/dev/kmsg records and the prefixes of log lines."""

from __future__ import annotations

from pathlib import Path

from ringrig.vm.kmsg import KmsgRecord, kernel_text, log_lines, parse_kmsg
from ringrig.vm.splats import find_splats

WARNING = "WARNING: CPU: 0 PID: 1 at lib/a.c:1 f+0x1/0x2"


def test_a_record_in_full() -> None:
    """prio = facility << 3 | level; the time is in microseconds."""
    assert parse_kmsg("14,339,5140900,-,caller=T12;systemd[1]: hello; world\n") == [
        KmsgRecord(seq=339, usec=5140900, facility=1, level=6, caller="T12", text="systemd[1]: hello; world")
    ]


def test_dictionary_lines_are_dropped() -> None:
    """` SUBSYSTEM=` and ` DEVICE=` come after the text."""
    raw = "7,160,424069,-;host bridge\n SUBSYSTEM=acpi\n DEVICE=+acpi:PNP0A03:00\n6,161,424070,-;x\n"

    assert [record.text for record in parse_kmsg(raw)] == ["host bridge", "x"]


def test_escapes_are_undone() -> None:
    """devkmsg_read() writes a line feed inside a message as \\x0a, a backslash as \\x5c."""
    (record,) = parse_kmsg("4,1,1,-;one\\x0atwo\\x5cthree\n")

    assert record.text == "one\ntwo\\three"


def test_a_late_continuation_joins_its_callers_record() -> None:
    """Flag c: a pr_cont() that came after somebody else's line."""
    raw = "4,1,1,-,caller=T1;PGD 0 \n4,2,2,-,caller=T2;other\n4,3,3,c,caller=T1;P4D 0\n"

    assert [record.text for record in parse_kmsg(raw)] == ["PGD 0 P4D 0", "other"]


def test_cut_short_records_are_dropped() -> None:
    """Nothing before the semicolon can be trusted alone."""
    assert parse_kmsg("4,1,1\n4,x,1,-;text\n;\n4,2") == []


def test_programs_records_are_no_splats() -> None:
    """Facility 1 on /dev/kmsg is a program's word, whatever it says; the seq of the kernel's own is known."""
    raw = f"12,7,1000000,-;{WARNING}\n4,8,41500000,-,caller=T99;{WARNING}\n12,9,41600000,-;mark\n"

    rendered = kernel_text(parse_kmsg(raw))
    (splat,) = find_splats(rendered.text)

    assert rendered.seqs[splat.line] == 8
    assert rendered.text == f"[   41.500000][   T99] {WARNING}"


def test_each_line_of_a_record_knows_its_seq() -> None:
    """A message of two lines gives two console lines with one number."""
    rendered = kernel_text(parse_kmsg("4,5,1,-;one\\x0atwo\n4,6,2,-;three\n"))

    assert rendered.seqs == (5, 5, 6)
    assert rendered.text.count("\n") == 2


def test_prefixes_of_every_kind() -> None:
    """Stamps, callers and levels are cut off; a kernel's line is found behind a program's unfinished one."""
    for raw in (
        "[   12.345678] body",
        "[   12.345678][  T123] body",
        "[   12.345678][    C0] body",
        "<4>[   12.345678] body",
        "<4>[   12.345678][T12345] body",
        "user said[   12.345678] body",
        "\x1b[2J[   12.345678] body\r",
    ):
        (line,) = log_lines(raw)
        assert (line.body, line.stamp) == ("body", 12.345678)


def test_bodies_keep_their_indentation() -> None:
    """One blank belongs to the prefix; the rest is the message's."""
    (line,) = log_lines("[   12.345678]  <TASK>")

    assert line.body == " <TASK>"


def test_levels_without_stamps() -> None:
    """printk.time=0 under `dmesg -r`."""
    (line,) = log_lines("<4>body\n<30>daemon")

    assert (line.body, line.stamp, line.at) == ("body", None, 0)


def test_a_real_device_tells_programs_from_the_kernel() -> None:
    """Even `<4>` written to /dev/kmsg comes back with facility 1 (devkmsg_write()): one splat, not three."""
    raw = (Path(__file__).parents[1] / "data/splats/debian-6.12-warn.kmsg").read_text()

    records = parse_kmsg(raw)
    rendered = kernel_text(records)
    (splat,) = find_splats(rendered.text)

    begin, end = (next(r.seq for r in records if f"{word} a case" in r.text) for word in ("begin", "end"))
    assert begin < rendered.seqs[splat.line] < end
    assert (splat.kind, splat.frames[0], splat.comm) == ("warning", "say_warn", "sh")
    assert sum(record.facility == 1 for record in records if record.seq >= begin) == 4
