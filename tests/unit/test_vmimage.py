"""Root images: recipes as data, and what is said when one cannot be made."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from ringrig import vmimage
from ringrig.errors import BadSpec, HostLacks, KernelUnavailable
from ringrig.kernel import apt


def quiet(_line):
    pass


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """mmdebstrap is what the test makes it; there is a mirror."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(apt, "configured", lambda: apt.Mirror(uri="http://m/debian", keyring=Path("/k.gpg")))
    program = tmp_path / "mmdebstrap"
    monkeypatch.setattr(shutil, "which", lambda name: str(program) if program.exists() else None)
    return program


def mmdebstrap(program, script):
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_every_recipe_can_be_read():
    """host needs none, debian names what a guest runs."""
    images = {image.name: image for image in vmimage.known()}

    assert set(images) == {"debian", "host"}
    assert {"python3", "openssh-server", "kmod"} <= set(images["debian"].packages)


def test_an_unknown_image_lists_the_known():
    """The next step can be copied."""
    with pytest.raises(BadSpec, match="gentoo") as caught:
        vmimage.load("gentoo")

    assert "debian, host" in caught.value.next_step


def test_a_root_is_unpacked_with_the_places_that_are_mounted_over(machine):
    """Made once; a root that is read-only has to have them."""
    mmdebstrap(machine, 'd=$(mktemp -d); mkdir "$d/etc"; tar -c -C "$d" .; rmdir "$d/etc" "$d"')

    root = vmimage.build("debian", say=quiet)

    assert {"etc", "dev", "ringrig", "usr"} <= {path.name for path in root.iterdir()}
    machine.unlink()
    assert vmimage.build("debian", say=quiet) == root
    assert vmimage.state(vmimage.load("debian")) == "; built"


def test_another_recipe_is_another_root():
    """A cached root never stands for what it was not made from."""
    image = vmimage.load("debian")

    assert vmimage._entry(image) != vmimage._entry(dataclasses.replace(image, packages=("python3",)))


@pytest.mark.parametrize(
    ("script", "error", "what"),
    [
        (None, HostLacks, "mmdebstrap"),
        ("echo 'E: no such suite' >&2; exit 1", HostLacks, "no such suite"),
        ("head -c 100 /dev/zero | tr '\\0' x; exit 0", HostLacks, "could not be made"),
        ("echo 'write: No space left on device' >&2; exit 1", OSError, "No space left"),
    ],
)
def test_a_root_that_cannot_be_made_says_why_and_leaves_nothing(machine, tmp_path, script, error, what):
    """No program, no package, not a tar, no room."""
    if script:
        mmdebstrap(machine, script)

    with pytest.raises(error, match=what):
        vmimage.build("debian", say=quiet)

    assert list((tmp_path / "cache/ringrig/roots").iterdir()) == []


def test_without_a_mirror_nothing_can_be_made(machine, monkeypatch):
    """Not a Debian machine, or no sources."""
    mmdebstrap(machine, "exit 0")
    monkeypatch.setattr(apt, "configured", lambda: None)

    with pytest.raises(KernelUnavailable, match="mirror"):
        vmimage.build("debian", say=quiet)
