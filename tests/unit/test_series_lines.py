"""Changed lines: counters of many times added up, and what of a patch ran. Real gcc and gcov, a small program."""

import base64
import json
import shutil
import struct
import subprocess
import zlib

import pytest

from ringrig.campaign import exercised, gcda
from ringrig.campaign.coverage_counts import count

KBUF = """\
#include <stdlib.h>
/* a comment */
static int never(int wanted)
{
	return wanted;
}

int io_select(int wanted)
{
	if (wanted > 3 &&
		wanted < 9)
		return never(wanted);
#ifdef CONFIG_OTHER
	if (wanted == 2)
		return 5;
#endif
	return 0;
}

int main(int argc, char **argv)
{
	/* of two
	* lines */
	int number = 0, *at = &number;
	*at = io_select(atoi(argv[1])) & 0;
	return number;
}

#ifdef CONFIG_OTHER
int other(void)
{
	return 1;
}
#endif
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The program as a kernel's object would be, and what it counts when it is called with a number."""
    place = tmp_path_factory.mktemp("build")
    (place / "kbuf.c").write_text(KBUF)
    (place / "rsrc.c").write_text("int x;\n\nint f(void)\n{\n\treturn x;\n}\n")
    flags = ["-O0", "-fprofile-arcs", "-ftest-coverage", f"-ffile-prefix-map={place}=/build/src/io_uring"]
    subprocess.run(["gcc", *flags, "-c", str(place / "kbuf.c"), "-o", "kbuf.o"], check=True, cwd=place)
    subprocess.run(["gcc", "--coverage", "kbuf.o", "-o", "program"], check=True, cwd=place)

    def counts(number):
        (place / "kbuf.gcda").unlink(missing_ok=True)
        subprocess.run(["./program", str(number)], check=True, cwd=place, timeout=10)
        return (place / "kbuf.gcda").read_bytes()

    return place, counts


def packed(data):
    return base64.b64encode(zlib.compress(data)).decode()


def as_kernel(data):
    """A program's counters as a kernel gives them: no summary in front, and zeros written out where a length is negative."""
    out, at = data[:16], 16
    while at + 8 <= len(data):
        tag, length = struct.unpack_from("<Ii", data, at)
        body = data[at + 8 : at + 8 + max(length, 0)]
        at += 8 + len(body)
        if tag != 0xA1000000:
            out += struct.pack("<Ii", tag, abs(length)) + (body if length >= 0 else bytes(-length))
    return out


def test_the_sum_is_what_gcov_would_add(built):
    """Of a hundred files; those of another program are refused."""
    place, counts = built
    files = [as_kernel(counts(number)) for number in (1, 5, 20)]
    [expected] = [sum(one.lines.values()) for one in count([{"kbuf": packed(files[0])}], place)]
    each = [one.lines for one in count([{"kbuf": packed(file)} for file in files], place)]

    [total] = count([{"kbuf": packed(gcda.add([*files, *files]))}], place)

    assert expected
    assert total.lines == {line: 2 * sum(one[line] for one in each) for line in each[0]}
    with pytest.raises(ValueError, match=r"two kernels|a kernel"):
        gcda.add([files[0], files[0][:-4]])
    with pytest.raises(ValueError, match="no counters"):
        gcda.add([bytes(64)])


def a_run(built, tmp_path, numbers):
    """A run folder as lines_session leaves it, of two workers."""
    place, counts = built
    notes = tmp_path / "coverage" / "sources"
    shutil.copytree(place, notes)
    for number in numbers:
        told = {"kbuf": packed(as_kernel(counts(number)))}
        (tmp_path / "coverage" / f"totals-gw{number}.json").write_text(json.dumps(told))
    return tmp_path


def test_which_lines_ran(built, tmp_path):
    """A line within a statement goes with its beginning; what the preprocessor drops was not compiled; comments are nothing."""
    everything = {"io_uring/kbuf.c": list(range(1, 35))}

    idle = exercised.of(a_run(built, tmp_path / "idle", [1]), everything)
    busy = exercised.of(a_run(built, tmp_path / "busy", [1, 5]), everything)

    assert idle.idle == {"kbuf.c": [3, 5, 12]}
    assert {8, 10, 11, 17, 20, 24, 25, 26} <= set(idle.ran["kbuf.c"])
    assert idle.uncompiled == {"kbuf.c": [14, 15, 30, 32]}
    assert busy.idle == {}
    assert {3, 5, 12} <= set(busy.ran["kbuf.c"])


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"io_uring/kbuf.c": [25]}, "exercised"),
        ({"io_uring/kbuf.c": [5]}, "not exercised"),
        ({"io_uring/kbuf.c": [32]}, "not exercised"),
        ({"io_uring/rsrc.c": [5]}, "not exercised"),
        ({"io_uring/kbuf.c": [2, 4, 7, 22, 23], "Documentation/x.rst": [1]}, "no code"),
        ({"net/socket.c": [9]}, "not measured"),
        ({"net/socket.c": [9], "io_uring/kbuf.c": [25]}, "exercised"),
    ],
)
def test_what_a_patch_comes_to(built, tmp_path, changed, word):
    """In one word; an object that make did not make has nothing that could run."""
    assert exercised.of(a_run(built, tmp_path / "run", [1]), changed).word == word


def test_a_run_without_counters_executed_nothing(built, tmp_path):
    """A kernel that did not boot, for one."""
    assert exercised.of(a_run(built, tmp_path / "run", []), {"io_uring/kbuf.c": [25]}).word == "not exercised"


def test_other_files_are_measured_on_demand():
    """What the fragment gcov does not name, of io_uring's own objects."""
    assert exercised.fragment(["io_uring/kbuf.c", "io_uring/kbuf.h", "net/socket.c"]) == ""
    assert "GCOV_PROFILE_rsrc.o=y" in exercised.fragment(["io_uring/rsrc.c"])
