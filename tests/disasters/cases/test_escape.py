"""A guest tries to harm the host: every attempt must fail (tests/vm/test_box.py looks at the host
afterwards).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.crashes


_PRIVATE = {".ssh", ".gnupg", ".aws", ".config", ".netrc", ".cache"}


def _attempts() -> list[Path]:
    found = [
        Path("/ringrig/guest/boot.sh"),
        Path("/ringrig/suite.tar"),
        Path("/ringrig/keys/host_key"),
        Path("/ringrig/escaped"),
    ]
    return [*found, Path("/ringrig/sockets/escaped"), Path("/ringrig/kernel/escaped")]


@pytest.mark.parametrize("path", _attempts(), ids=lambda path: path.name)
def test_the_host_cannot_be_written(path: Path) -> None:
    """Neither what the box names read-only nor its socket folder takes a byte from the guest."""
    with pytest.raises(OSError):
        path.write_text("escaped")


def test_the_host_cannot_be_remounted() -> None:
    """Root in the guest remounts what it likes; QEMU's 9p server still refuses."""
    os.system("mount -o remount,rw /")

    with pytest.raises(OSError):
        Path("/ringrig/escaped").write_text("escaped")


def test_no_keys_are_in_sight() -> None:
    """No $HOME of the host's, no SSH keys, no shadow file of the host's."""
    homes = [Path("/root"), *Path("/home").iterdir()]
    # An interpreter or a clone that lives in a home is shown, and nothing beside it.
    assert not [path for home in homes for path in home.iterdir() if path.is_file() or path.name in _PRIVATE]
    assert not list(Path("/etc/ssh").glob("*"))
    assert Path("/etc/shadow").read_text().startswith("root:*:19000:")


def test_there_is_no_network() -> None:
    """Only the loopback interface."""
    assert [path.name for path in Path("/sys/class/net").iterdir()] == ["lo"]
