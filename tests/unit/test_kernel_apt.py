"""What is read from apt's programs and the machine's apt configuration."""

import subprocess
from pathlib import Path

import pytest

from ringrig.errors import KernelUnavailable, NoSpace
from ringrig.kernel import apt

SHOWN = """\
Package: linux-image-6.1.0-9-amd64
Version: 6.1.9-1
Installed-Size: 100
Depends: kmod, linux-base (>= 4.3~)
Description: Linux
 a long text: with a colon
Filename: pool/l.deb
Size: 70

Package: linux-image-6.1.0-8-amd64
Status: install ok installed
Version: 6.1.8-1
"""


@pytest.fixture
def view(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return apt.Apt(name="test", options=("A=b",), lists=tmp_path / "lists")


def answer(monkeypatch, *, stdout="", stderr="", code=0):
    def run(command, **_options):
        return subprocess.CompletedProcess(command, code, stdout, stderr)

    monkeypatch.setattr(subprocess, "run", run)


def test_only_what_can_be_downloaded_is_on_offer(view, monkeypatch):
    """An installed package that no archive carries any more has no file name."""
    answer(monkeypatch, stdout=SHOWN)

    found = apt.show(view, ["linux-image-6.1.0-9-amd64", "linux-image-6.1.0-8-amd64"])

    assert [(p.name, p.version, p.size, p.unpacked) for p in found] == [
        ("linux-image-6.1.0-9-amd64", "6.1.9-1", 70, 102400)
    ]


def test_a_failed_update_is_reported_and_tried_again(view, monkeypatch):
    """apt-get update exits with 0 when it cannot reach the mirror."""
    answer(monkeypatch, stderr="W: Failed to fetch http://m/InRelease  Could not connect\n")

    assert apt.update(view, say=lambda _: None) == "Could not connect"
    assert apt.update(view, say=lambda _: None) == "Could not connect"


def test_fresh_lists_are_not_fetched_twice(view, monkeypatch):
    """A day's grace; `force` overrides it."""
    answer(monkeypatch)
    said = []

    for _ in range(3):
        assert apt.update(view, say=said.append) is None

    assert len(said) == 1
    apt.update(view, say=said.append, force=True)
    assert len(said) == 2


@pytest.mark.parametrize(
    ("name", "text", "keyring"),
    [
        (
            "debian.sources",
            "Types: deb\nURIs: http://m/debian\nSigned-By: /k/a.gpg\n\nURIs: http://x\nSigned-By: /k/b\n",
            "/k/a.gpg",
        ),
        ("debian.list", "deb [arch=amd64 signed-by=/k/c.gpg] http://m/debian bookworm main\n", "/k/c.gpg"),
        ("debian.list", "deb [signed-by=/k/c.gpg,/k/d.gpg] http://m/debian/ bookworm main\n", "/k/c.gpg"),
    ],
)
def test_the_mirrors_own_keyring_is_used(tmp_path, monkeypatch, name, text, keyring):
    """deb822 and one-line sources; apt does not tell which key signs what."""
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / name).write_text(text)
    monkeypatch.setattr(apt, "_CONFIGURED", tmp_path)

    assert apt._keyring("http://m/debian/") == Path(keyring)


def test_a_private_apt_touches_nothing_of_the_systems(view):
    """Every place that apt writes is redirected into the cache."""
    private = apt.beyond(
        "sid", mirror=apt.Mirror(uri="http://m/debian", keyring=Path("/k.gpg")), suites=["sid"]
    )

    places = {option.partition("=")[0]: option.partition("=")[2] for option in private.options}
    assert places["Dir::State"].endswith("ringrig/apt/sid")
    assert places["Dir::Cache"].endswith("ringrig/apt/sid/cache")
    assert places["Dir::State::status"] == "/dev/null"
    assert "Signed-By: /k.gpg" in Path(places["Dir::Etc::sourcelist"]).read_text()


def test_a_download_that_fails_says_why(view, tmp_path, monkeypatch):
    """apt's own reason, and what to do."""
    wanted = [apt.Package(name="no-such-package", version="1", size=1, unpacked=1, depends="")]

    with pytest.raises(KernelUnavailable, match="no-such-package"):
        apt.download(apt.Apt(name="x", options=(), lists=tmp_path), wanted, into=tmp_path, say=lambda _: None)


def test_a_download_that_cannot_fit_is_not_begun(view, tmp_path):
    """Sizes are known from the lists."""
    wanted = [apt.Package(name="huge", version="1", size=1 << 60, unpacked=1, depends="")]

    with pytest.raises(NoSpace, match="MB are free"):
        apt.download(view, wanted, into=tmp_path, say=lambda _: None)
