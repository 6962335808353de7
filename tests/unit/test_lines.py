"""file:line in splats: from the line tables of the kernel that was built."""

import re
import subprocess

import pytest

from ringrig.vm.lines import Lines

SOURCE = """\
static inline __attribute__((always_inline)) int clamp(int len)
{
	return *(volatile int *)(long)len;
}

__attribute__((noipa)) int commit(int len)
{
	return clamp(len) + 1;
}

int main(void)
{
	return commit(3);
}
"""


@pytest.fixture(scope="module")
def vmlinux(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "kbuf.c").write_text(SOURCE)
    subprocess.run(
        ["gcc", "-O1", "-g1", "-fno-inline-functions", "-o", "vmlinux", "kbuf.c"], cwd=folder, check=True
    )
    return folder / "vmlinux"


def size(vmlinux, name):
    """As the kernel counts it: up to the next symbol."""
    out = subprocess.run(["nm", "-n", str(vmlinux)], capture_output=True, text=True, check=True).stdout
    places = [line.split() for line in out.splitlines() if re.match(r"[0-9a-f]+ [tT] ", line)]
    at = next(i for i, words in enumerate(places) if words[2] == name)
    return int(places[at + 1][0], 16) - int(places[at][0], 16)


def test_a_function_gets_its_line(vmlinux):
    """And what stands around it stays."""
    text = f"[    1.0] RIP: 0010:main+0x0/{size(vmlinux, 'main'):#x}\n Call Trace:\n nothing here"

    annotated = Lines(vmlinux).annotate(text)

    assert re.search(r"main\+0x0/0x[0-9a-f]+ \(\S*kbuf\.c:1[1-3]\)", annotated)
    assert annotated.endswith("\n Call Trace:\n nothing here")


def test_an_inlined_one_gets_both(vmlinux):
    """The line that did it, and the one it was inlined at."""
    text = f" RIP: 0010:commit+0x0/{size(vmlinux, 'commit'):#x}"
    found = [Lines(vmlinux).annotate(text.replace("+0x0", f"+{offset:#x}")) for offset in range(8)]

    assert any(re.search(r"kbuf\.c:3, inlined at \S*kbuf\.c:8\)", line) for line in found)


@pytest.mark.parametrize("text", ["foreign+0x10/0x20", "no address at all", "commit", ""])
def test_what_is_not_known_stays(vmlinux, text):
    """Functions of modules, for one."""
    assert Lines(vmlinux).annotate(text) == text


def test_without_line_tables_nothing_is_added(tmp_path):
    """Prebuilt kernels come without."""
    text = "commit+0x1/0x10"

    assert Lines(None).annotate(text) == text
