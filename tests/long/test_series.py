"""A real series in User-Mode Linux: three patches on Debian's 6.12, a bug in the second that the third mends; ended in the middle."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ringrig.kernel import source

pytestmark = pytest.mark.vm
ROOT = Path(__file__).parents[2]
FILE = "io_uring/kbuf.c"
LIMIT = 3600.0
CHANGES = (
    (
        "add a helper",
        "bool io_kbuf_commit(",
        "static void io_kbuf_step(struct io_buffer_list *bl, int nr)\n{\n\tbl->head += nr;\n}\n\nbool io_kbuf_commit(",
    ),
    (
        "use it, and one too many",
        "\tbl->head += nr;\n\treturn true;",
        "\tio_kbuf_step(bl, nr + 1);\n\treturn true;",
    ),
    ("count right", "io_kbuf_step(bl, nr + 1);", "io_kbuf_step(bl, nr);"),
)


@pytest.fixture
def patches(tmp_path):
    """The series as a folder of mails, made from the source as it is."""
    origin = source.named("source:6.12", say=print)
    assert origin is not None
    tree = origin.tree
    for number, (subject, old, new) in enumerate(CHANGES, start=1):
        text = origin.repo.show(tree, FILE)
        assert text.count(old) == 1, f"{FILE} has changed: {old!r}"
        before, tree = tree, origin.repo.replace(tree, {FILE: text.replace(old, new)})
        mail = f"From: A <a@example.com>\nSubject: [PATCH {number}/3] {subject}\n\nWhy.\n---\n"
        diff = origin.repo.difference(before, tree)
        (tmp_path / f"{number:04}.patch").write_bytes(mail.encode() + diff + b"-- \n2\n")
    return tmp_path


def start(*words):
    command = [sys.executable, "-m", "ringrig.cli", "series", *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def folder_in(said):
    return Path(said.rpartition("--resume ")[2].split()[0])


def test_a_series_that_is_ended_and_gone_on_with(patches):
    """Ctrl-C leaves no guest; afterwards only what was not done is done; the patch that breaks and the one that mends are named."""
    words = [
        "--kernel",
        "source:6.12",
        "--guest",
        "uml",
        str(patches),
        "suites/status",
        "suites/commit/test_when.py",
    ]
    first = start(*words)
    said = ""
    try:
        assert first.stderr is not None
        for line in first.stderr:
            said += line
            if "2 of 3:" in line:
                time.sleep(1)
                first.send_signal(signal.SIGINT)
                break
        out, rest = first.communicate(timeout=LIMIT)
    finally:
        first.kill()
    said += rest
    assert first.returncode == 130, said
    assert "not run: patch 2" in out
    folder = folder_in(said)
    live = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(folder).encode() in _words(path)]
    assert live == []
    base = (folder / "base/job.json").stat().st_mtime

    second = start("--resume", str(folder))
    try:
        out, said = second.communicate(timeout=LIMIT)
    finally:
        second.kill()

    assert second.returncode == 1, said
    assert (folder / "base/job.json").stat().st_mtime == base
    told = json.loads((folder / "series.json").read_text())
    assert [row["verdict"] for row in told["rows"]] == ["", "not exercised", "breaks", "mends"]
    assert "Patch 2 breaks" in out
    assert "Patch 3 mends" in out
    assert told["rows"][2]["lines"]["ran"]
    for row in told["rows"]:
        print(row["number"], row["seconds"])
    shutil.rmtree(folder)


def _words(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""
