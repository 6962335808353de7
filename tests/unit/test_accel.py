"""The accelerator: KVM is believed when a guest has printed, and what was found out is remembered for this machine."""

import json
import os

import pytest

from ringrig.vm import accel


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with nothing remembered; machine(kvm=True) has a /dev/kvm that opens."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    access = os.access

    def have(*, kvm):
        monkeypatch.setattr(
            os, "access", lambda path, *a, **k: kvm if path == "/dev/kvm" else access(path, *a, **k)
        )

    have(kvm=True)
    return have


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(accel, "time", self)

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_tcg_when_asked_for():
    """Whatever the machine has."""
    accel.remember("kvm", "it printed")

    assert accel.choose("tcg").kind == "tcg"


def test_no_kvm_without_its_device(machine):
    """And nothing needs to be tried."""
    machine(kvm=False)

    assert (accel.choose("auto").kind, accel.choose("auto").certain) == ("tcg", True)


def test_a_device_that_opens_is_only_a_reason_to_try():
    """Not certain: a guest must print first."""
    assert (accel.choose("auto").kind, accel.choose("auto").certain) == ("kvm", False)


@pytest.mark.parametrize("kind", ["kvm", "tcg"])
def test_what_was_found_out_is_taken_again(kind):
    """Certain, with the reason."""
    accel.remember(kind, "seen")

    assert accel.choose("auto") == accel.Choice(kind=kind, certain=True, why="seen")


@pytest.mark.parametrize(("known", "certain"), [("kvm", True), ("tcg", False), (None, False)])
def test_kvm_when_asked_for_is_kvm(known, certain):
    """Tried again even where it did not work; without a try where it did."""
    if known:
        accel.remember(known, "seen")

    assert (accel.choose("kvm").kind, accel.choose("kvm").certain) == ("kvm", certain)


def test_another_machine_or_kernel_is_found_out_anew(tmp_path, monkeypatch):
    """A cache may move, and a host kernel may be mended."""
    accel.remember("tcg", "seen")
    monkeypatch.setattr(accel.platform, "release", lambda: "99.0")

    assert accel.recall() is None
    assert accel.choose("auto").certain is False


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"kind": "tcg"}', '{"machine": 3, "kind": "kvm", "x": 1}', "\0"]
)
def test_what_cannot_be_read_is_found_out_anew(tmp_path, text):
    """A broken file is no error."""
    (tmp_path / "ringrig").mkdir()
    (tmp_path / "ringrig/accel.json").write_text(text)

    assert accel.recall() is None


def test_a_file_with_more_or_less_in_it_is_found_out_anew(tmp_path):
    """Of another version of the rig."""
    accel.remember("tcg", "seen")
    file = tmp_path / "ringrig/accel.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "new": 1}))

    assert accel.recall() is None


@pytest.mark.parametrize("trouble", ["not-writable", "full"])
def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(tmp_path, monkeypatch, trouble):
    """Then it is found out again next time."""
    if trouble == "full":
        monkeypatch.setenv("XDG_CACHE_HOME", "/dev/full")
    else:
        (tmp_path / "ringrig").write_text("a file")

    assert accel.remember("tcg", "seen").kind == "tcg"
    assert accel.recall() is None


def test_a_guest_that_prints_is_a_witness(monkeypatch):
    """At once."""
    clock = Clock(monkeypatch)

    assert accel.witness(lambda: True, lambda: 1) is None
    assert clock.now == 0.0


def test_a_guest_that_dies_first_is_none(monkeypatch):
    """Without waiting for the limit."""
    clock = Clock(monkeypatch)

    assert "died" in accel.witness(lambda: clock.now < 1, lambda: 0)
    assert clock.now < 1.2


def test_last_words_count(monkeypatch):
    """A guest that printed and died has shown that KVM works."""
    Clock(monkeypatch)

    assert accel.witness(lambda: False, lambda: 10) is None


def test_silence_has_a_limit(monkeypatch):
    """Then the guest counts as stuck."""
    clock = Clock(monkeypatch)

    assert "no byte" in accel.witness(lambda: True, lambda: 0)
    assert clock.now == pytest.approx(accel.SILENCE_SECONDS, abs=0.1)
