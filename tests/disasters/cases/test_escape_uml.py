"""Root in a User-Mode Linux, whose hostfs mounts whatever its process can see, tries to harm the host and to learn of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.crashes
_HOST = Path("/mnt")


@pytest.fixture(autouse=True)
def _hostfs() -> Iterator[None]:
    """The process's own root, writable as far as the host lets it."""
    subprocess.run(["mount", "-t", "hostfs", "none", str(_HOST)], check=True)
    yield
    subprocess.run(["umount", str(_HOST)], check=True)


@pytest.mark.parametrize("folder", ["", "etc", "usr", "usr/bin", "ringrig/guest", "ringrig/keys"])
def test_no_folder_takes_a_file(folder: str) -> None:
    with pytest.raises(OSError):
        (_HOST / folder / "escaped").write_text("escaped")


def test_what_root_owns_is_not_for_the_guest_to_change() -> None:
    """Its process may have root's user id: that opens neither files, nor their modes, nor the host's settings."""
    for path in ("usr/bin/sh", "etc/passwd", "ringrig/suite.tar", "ringrig/kernel/linux"):
        with pytest.raises(OSError):
            (_HOST / path).chmod(0o777)
    for setting in ("proc/sys/kernel/core_pattern", "proc/sys/kernel/hostname", "proc/self/oom_score_adj"):
        with pytest.raises(OSError):
            os.open(_HOST / setting, os.O_WRONLY)


def test_only_memory_can_be_written() -> None:
    """Folders of the box's own, which go with it."""
    open_folders = set()
    for folder in [path for path in _HOST.iterdir() if path.is_dir() and not path.is_symlink()]:
        with contextlib.suppress(OSError):
            (folder / "escaped").touch()
            open_folders.add(folder.name)

    assert open_folders <= {"dev", "root", "run", "tmp", "var"}


def test_no_device_of_the_host_is_in_sight() -> None:
    found = [path for path in (_HOST / "dev").rglob("*") if path.is_char_device() or path.is_block_device()]

    assert found == []


def test_no_process_but_its_own_is_in_sight() -> None:
    """The box's first, the kernel, and its helpers; a hostfs shows of such files only the names."""
    programs = set()
    for exe in (_HOST / "proc").glob("[0-9]*/exe"):
        with contextlib.suppress(OSError):
            programs.add(exe.readlink().name)

    assert programs <= {"bwrap", "linux", "ld.so"}
    assert "linux" in programs


def test_there_is_no_network_but_loopback() -> None:
    found = {path.name for path in (_HOST / "proc/sys/net/ipv4/conf").iterdir()}

    assert found == {"all", "default", "lo"}
