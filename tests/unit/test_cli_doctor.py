"""`rig doctor`: each fact with what follows from it, and nothing changed."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ringrig import doctor
from ringrig.errors import HostLacks
from ringrig.kernel import apt


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(apt, "configured", lambda: None)


@pytest.fixture
def programs(monkeypatch):
    """Programs that are all there and all work; tests take some away."""
    missing = set()
    monkeypatch.setattr(shutil, "which", lambda name, **_: None if name in missing else f"/usr/bin/{name}")
    monkeypatch.setattr(doctor, "_is_static", lambda _path: True)
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, "version 1\n", "")
    )
    return missing


def found(root):
    return {fact.name: fact for fact in doctor.facts(root=root)}


def test_a_machine_with_everything_runs_guests(programs, tmp_path, capsys):
    """Exit code 0, a line for each fact."""
    assert doctor.main(root=tmp_path) == 0
    assert "guests can run here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("program", "fact", "package"),
    [
        ("qemu-system-x86_64", "qemu", "qemu-system-x86"),
        ("depmod", "depmod", "kmod"),
        ("file", "file", "file"),
        ("bwrap", "bubblewrap", "bubblewrap"),
    ],
)
def test_a_missing_program_names_its_package(programs, tmp_path, program, fact, package):
    """And the exit code says that guests cannot run."""
    programs.add(program)

    assert package in found(tmp_path)[fact].follows
    assert doctor.main(root=tmp_path) == HostLacks.exit_code


def test_a_box_that_cannot_be_made_is_found_out(programs, tmp_path, monkeypatch):
    """bwrap is there, and user namespaces are forbidden."""
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", "No permissions")
    )

    fact = found(tmp_path)["bubblewrap"]

    assert fact.grade == "lack"
    assert "No permissions" in fact.what


@pytest.mark.parametrize(
    ("exists", "may", "what"),
    [(False, False, "no /dev/kvm"), (True, False, "may not"), (True, True, "proves nothing")],
)
@pytest.mark.usefixtures("programs")
def test_kvm_is_never_promised(tmp_path, monkeypatch, exists, may, what):
    """Only a guest that prints proves it."""
    there = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: exists if str(path) == "/dev/kvm" else there(path))
    monkeypatch.setattr(os, "access", lambda path, _mode: may if path == "/dev/kvm" else True)

    fact = found(tmp_path)["kvm"]

    assert fact.grade == "note"
    assert what in fact.what


def test_what_an_earlier_boot_found_of_kvm_is_told(programs, tmp_path):
    """With the way to have it tried again."""
    memory = tmp_path / "cache/ringrig/accel.json"
    memory.parent.mkdir(parents=True)
    memory.write_text(json.dumps({"kind": "tcg", "why": "no byte on the console"}))

    fact = found(tmp_path)["kvm"]

    assert "tcg (no byte on the console)" in fact.what
    assert "rig cache clear accel.json" in fact.follows


def test_without_a_mirror_the_consequence_is_named(programs, tmp_path):
    """A note: kernels can come from files."""
    assert found(tmp_path)["apt"].grade == "note"


def test_a_mirror_that_does_not_answer_is_noticed(programs, tmp_path, monkeypatch):
    """Asked through apt's own helper, with its proxies."""
    monkeypatch.setattr(apt, "configured", lambda: apt.Mirror(uri="http://m/debian", keyring=None))
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, int("download-file" in command), "", ""),
    )

    assert "not reached" in found(tmp_path)["apt"].what


def test_kernels_in_the_cache_are_listed(programs, tmp_path):
    """By spec and version."""
    entry = tmp_path / "cache/ringrig/kernels/x"
    entry.mkdir(parents=True)
    (entry / "package").write_text("linux-image-6.12.9+deb12-amd64 6.12.9-1 6.12 6.12.9+deb12-amd64")

    assert "debian:6.12 (6.12.9-1)" in found(tmp_path)["kernels"].what


def test_nothing_is_written(programs, tmp_path):
    """Not even the cache folder."""
    doctor.main(root=tmp_path)

    assert list(tmp_path.iterdir()) == []
