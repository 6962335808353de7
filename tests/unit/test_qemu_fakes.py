"""A guest that fails in every way there is: one clear error of the right class, nothing left behind."""

import dataclasses
import os
import signal
import time
from pathlib import Path

import pytest
from fakes import unboxed
from fakes.machines import plan

from ringrig.errors import GuestLost, HostLacks, NoBoot, NoSpace
from ringrig.plugin.keeper import Keeper, Manner
from ringrig.vm import accel, machine, qemu
from ringrig.vm.link import Keys

ACCESS = os.access


@pytest.fixture
def rig(tmp_path, monkeypatch):
    """rig("dies"): a keeper whose guests go wrong that way; `rig.pids()` are the fakes that were started."""
    unboxed.install(monkeypatch.setattr)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", unboxed.programs(tmp_path / "bin"))
    monkeypatch.setenv("FAKE_PIDS", str(tmp_path / "pids"))
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/image").touch()
    (tmp_path / "scratch").mkdir()
    here = plan(
        path=str(tmp_path / "kernel/image"),
        scratch=str(tmp_path / "scratch"),
        folder=str(tmp_path),
        suite=str(tmp_path / "suite.tar"),
        pack="/usr",
        sshd="/usr",
    )
    Keys.make(here.keys)
    rig = Rig(here, tmp_path / "pids", monkeypatch)
    yield rig
    rig.keeper.end()


class Rig:
    def __init__(self, plan, pids, monkeypatch):
        self.plan, self._pids, self._monkeypatch = plan, pids, monkeypatch
        self.said = []

    def __call__(self, way, *, accel="auto", kvm=False, boot=20.0, **limits):
        self._monkeypatch.setenv("FAKE_VNG", way)
        self._monkeypatch.setattr(qemu, "BOOT_SECONDS", boot)
        for name, seconds in limits.items():
            self._monkeypatch.setattr(machine, name, seconds)
        self._monkeypatch.setattr(
            os, "access", lambda path, *a, **k: kvm if path == "/dev/kvm" else ACCESS(path, *a, **k)
        )
        manner = Manner(timeout=20.0, fresh=False, options=())
        self.plan = dataclasses.replace(self.plan, accel=accel)
        self.keeper = Keeper(self.plan, worker="gw0", manner=manner, say=self.said.append)
        return self.keeper

    def pids(self):
        return [int(pid) for pid in self._pids.read_text().split()] if self._pids.exists() else []

    def left(self):
        """Processes of the guest that live, and sockets that lie about."""
        alive = [pid for pid in self.pids() if Path(f"/proc/{pid}/stat").exists()]
        return [*alive, *(p.name for p in Path(self.plan.scratch).iterdir() if p.name != "keys")]

    def fails(self, kind, words, *, within):
        """The error of the first case; the second has the same one at once; nothing is left."""
        began = time.monotonic()
        with pytest.raises(kind, match=words) as first:
            self.keeper.run("a")
        middle = time.monotonic()
        assert type(first.value) is kind
        assert middle - began < within
        with pytest.raises(kind) as second:
            self.keeper.run("b")
        assert second.value is first.value
        assert time.monotonic() - middle < 0.2
        assert self.left() == []
        return str(first.value)


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("exits", "not a byte on the console"),
        ("usage", "unrecognized arguments: --rodir"),
        ("complains", "failed to set MSR"),
        ("dies", "virtme-ng-init: hello"),
        ("panics", "Unable to mount root fs"),
        ("hangs-up", "virtme-ng-init: hello"),
    ],
)
def test_a_guest_that_ends_before_it_answers_did_not_boot(rig, way, words):
    """With the console's end, whoever wrote it; without waiting for any deadline."""
    rig(way)

    text = rig.fails(NoBoot, words, within=10)

    assert "debian:6.12 (test)" in text
    assert "console.log" in text.split("next:")[1]


@pytest.mark.parametrize("way", ["silent", "stuck", "mute"])
def test_a_guest_that_never_answers_has_a_deadline(rig, way):
    """Whether QEMU's sockets are there or not, and whether they take connections or not."""
    rig(way, boot=1.0)

    rig.fails(NoBoot, "in time", within=15)


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("garbage", "no session comes about"),
        ("wrong-host-key", "host key is not the one this run made"),
        ("refuses-the-key", "Authentication failed"),
        ("no-session", "gives no session"),
        ("no-python", "python3: not found"),
        ("talks-nonsense", "Welcome to this guest"),
    ],
)
def test_what_answers_and_is_no_agent_is_named(rig, way, words):
    """It boots, but there is nobody to run a case."""
    rig(way)

    rig.fails(GuestLost, words, within=20)


def test_half_a_banner_is_waited_for_with_a_limit(rig):
    """An SSH server that stops in the middle of its first word."""
    rig("half-a-banner", SSH_SECONDS=0.5)

    rig.fails(GuestLost, "no session comes about", within=10)


def test_an_agent_that_never_speaks_is_waited_for_with_a_limit(rig):
    """Its python3 hangs, for one."""
    rig("agent-is-mute", AGENT_SECONDS=0.5)

    rig.fails(GuestLost, "not a word", within=15)


def test_silence_under_kvm_means_emulation(rig):
    """TCG takes over, it is said, and remembered once a guest has printed under TCG."""
    rig("silent/dies", kvm=True)

    rig.fails(NoBoot, "virtme-ng-init: hello", within=10)

    assert any("KVM does not work here (no byte" in line for line in rig.said)
    assert accel.recall().kind == "tcg"
    assert len(rig.pids()) == 2


def test_a_qemu_that_dies_under_kvm_means_emulation(rig):
    """Its own complaint on the console is no sign of a guest's life."""
    rig("complains/dies", kvm=True)

    rig.fails(NoBoot, "virtme-ng-init: hello", within=10)

    assert any("QEMU died at once" in line for line in rig.said)
    assert accel.recall().kind == "tcg"


def test_silence_under_both_says_nothing_about_kvm(rig):
    """A kernel without a console, or none at all: the next run tries KVM again."""
    rig("silent", kvm=True, boot=1.0)

    rig.fails(NoBoot, "in time", within=15)

    assert accel.recall() is None


def test_a_usage_error_says_nothing_about_kvm(rig):
    """Words of virtme-ng's are no guest's."""
    rig("usage", kvm=True)

    rig.fails(NoBoot, "unrecognized arguments", within=10)

    assert accel.recall() is None


def test_a_guest_that_prints_under_kvm_is_enough(rig):
    """Remembered, whatever becomes of it: a kernel that panics is not KVM's fault."""
    rig("panics", kvm=True)

    rig.fails(NoBoot, "Unable to mount root fs", within=10)

    assert accel.recall().kind == "kvm"
    assert len(rig.pids()) == 1


def test_kvm_that_was_asked_for_is_not_replaced(rig):
    """--accel kvm: no emulation behind one's back."""
    rig("silent", accel="kvm", kvm=True)

    rig.fails(NoBoot, "no sign of life under KVM", within=10)

    assert len(rig.pids()) == 1


def test_without_qemu_there_is_no_guest(rig, monkeypatch, tmp_path):
    """Named at once, with the package."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    rig("dies")

    rig.fails(HostLacks, "no qemu-system-x86_64", within=2)

    assert rig.pids() == []


@pytest.mark.parametrize("place", ["folder", "scratch"])
def test_a_place_that_cannot_be_written(rig, place, tmp_path):
    """The run folder or the cache: NoSpace, with the place."""
    (tmp_path / "file").touch()
    rig("dies")
    rig.keeper.plan = dataclasses.replace(rig.plan, **{place: str(tmp_path / "file")})

    with pytest.raises(NoSpace, match="file"):
        rig.keeper.run("a")

    assert rig.pids() == []


def test_a_worker_that_is_killed_takes_its_guest_along(rig):
    """The fake keeps bubblewrap's promise here; tests/vm looks at the real one."""
    rig("stuck")
    pid = os.fork()
    if pid == 0:
        rig.keeper.begin()
        os.kill(os.getpid(), signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    limit = time.monotonic() + 10
    while not rig.pids() and time.monotonic() < limit:
        time.sleep(0.02)
    (guest,) = rig.pids()

    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)

    while Path(f"/proc/{guest}/stat").exists() and " Z " not in Path(f"/proc/{guest}/stat").read_text():
        assert time.monotonic() < limit
        time.sleep(0.02)
