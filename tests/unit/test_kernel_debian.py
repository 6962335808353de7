"""Debian's kernels: which package is chosen, how each packaging unpacks, what is said without."""

import re
from pathlib import Path

import pytest
from kernel_images import bzimage, gzipped, vmlinux

from ringrig.errors import KernelUnavailable
from ringrig.kernel import apt, debian, modules
from ringrig.kernel.apt import Apt, Package


def quiet(_line):
    pass


def package(name, version, depends=""):
    return Package(name=name, version=version, size=1, unpacked=1, depends=depends)


class Archive:
    """The archive as `ringrig.kernel.apt` shows it: packages by view."""

    def __init__(self, views):
        self.views = views
        self.offline = False
        self.downloaded = []

    def names(self, view, prefix):
        return [p.name for p in self.views.get(view.name, []) if p.name.startswith(prefix)]

    def show(self, view, names):
        return [p for p in self.views.get(view.name, []) if p.name in names]

    def update(self, view, *, say, force=False):
        return "no route to host" if self.offline else None

    def beyond(self, name, *, mirror, suites):
        return Apt(name=name, options=(), lists=Path("/"))

    def download(self, view, packages, *, into, say):
        if self.offline:
            raise KernelUnavailable("no route to host", next_step="")
        self.downloaded += [p.name for p in packages]
        return [Path(p.name) for p in packages]


@pytest.fixture
def archive(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fake = Archive({})
    for name in ("names", "show", "update", "beyond", "download"):
        monkeypatch.setattr(apt, name, getattr(fake, name))
    monkeypatch.setattr(apt, "system", lambda: Apt(name="system", options=(), lists=Path("/")))
    monkeypatch.setattr(apt, "refreshed", lambda: Apt(name="own", options=(), lists=Path("/")))
    monkeypatch.setattr(apt, "configured", lambda: apt.Mirror(uri="mirror", keyring=None))
    monkeypatch.setattr(apt, "release", lambda: "bookworm")
    monkeypatch.setattr(apt, "extract", unpack)
    monkeypatch.setattr(modules, "index", lambda _root, _release: None)
    return fake


def unpack(deb, root):
    """The old packages carry all in boot and lib, the new ones share it out."""
    kind, release = re.fullmatch(r"linux-(image|binary|modules|base)-(.*?)(?:-unsigned)?", deb.name).groups()
    below = root / "usr/lib/modules" / release if kind != "image" else root / "lib/modules" / release
    places = {
        "image": [root / f"boot/vmlinuz-{release}", root / f"boot/config-{release}", below / "kernel/a.ko"],
        "binary": [below / "vmlinuz"],
        "modules": [below / "kernel/a.ko"],
        "base": [below / "config"],
    }
    for place in places[kind]:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(bzimage(gzipped(vmlinux()), release=release))


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (
            ["linux-image-6.12.9+deb12-amd64 6.12.9-1", "linux-image-6.12.10+deb12-amd64 6.12.10-1"],
            "6.12.10+deb12",
        ),
        (
            ["linux-image-6.12.9+deb12-amd64 6.12.9-1~deb12u1", "linux-image-6.12.9+deb12.1-amd64 6.12.9-1"],
            "+deb12.1",
        ),
        (
            ["linux-image-6.12.9+deb12-amd64 6.12.9-1", "linux-image-6.12.10+deb12-cloud-amd64 6.12.10-1"],
            "6.12.9",
        ),
        (
            ["linux-image-6.12.9+deb12-amd64 6.12.9-1", "linux-image-6.12.10+deb12-rt-amd64 6.12.10-1"],
            "6.12.9",
        ),
        (["linux-image-6.12.9+deb12-amd64 6.12.9-1", "linux-image-6.12-amd64 6.12.10-1"], "6.12.9"),
        (
            ["linux-image-6.12.9+deb12-amd64-unsigned 6.12.9-1", "linux-image-6.12.9+deb12-amd64 6.12.9-1"],
            "6.12.9",
        ),
        (
            [
                "linux-image-6.12.9+deb12-amd64-dbg 6.12.10-1",
                "linux-image-6.12.9+deb12-amd64-unsigned 6.12.9-1",
            ],
            "6.12.9",
        ),
    ],
)
def test_the_newest_generic_kernel_is_chosen(archive, names, chosen):
    """Versions as dpkg orders them; signed before unsigned; no cloud, rt, debug or empty packages."""
    archive.views["system"] = [package(*name.split()) for name in names]

    image = debian.resolve("6.12", say=quiet)

    assert chosen in image.release
    assert len(archive.downloaded) == 1
    assert not any(word in archive.downloaded[0] for word in ("cloud", "rt-", "dbg"))


def test_without_a_series_the_newest_of_the_machines_own_apt_is_taken(archive):
    """6.12 is newer than 6.1, and the suites beyond are not asked."""
    archive.views["system"] = [
        package("linux-image-6.1.0-9-amd64", "6.1.9-1"),
        package("linux-image-6.12.9+deb12-amd64", "6.12.9-1"),
    ]
    archive.views["trixie-backports"] = [package("linux-image-7.3.4+deb13-amd64", "7.3.4-1")]

    image = debian.resolve("", say=quiet)

    assert image.spec == "debian:6.12"
    assert image.label == "debian:6.12 (6.12.9-1)"


def test_a_series_beyond_the_machines_own_comes_from_further_suites(archive):
    """From 7.2 on the contents are packages of their own, and the configuration is in a third."""
    release = "7.3.4+deb13-amd64"
    depends = f"initramfs-tools, linux-binary-{release} (= 7.3.4-1), linux-modules-{release} (= 7.3.4-1)"
    archive.views["trixie-backports"] = [
        package(f"linux-image-{release}", "7.3.4-1", depends),
        *(package(f"linux-{part}-{release}", "7.3.4-1") for part in ("binary", "modules", "base")),
    ]

    image = debian.resolve("7.3", say=quiet)

    assert image.release == release
    assert image.path.exists()
    assert image.config.exists()
    assert (image.modules / "lib/modules" / release / "kernel/a.ko").exists()
    assert f"linux-image-{release}" not in archive.downloaded


def test_a_split_kernel_whose_parts_are_gone_is_unavailable(archive):
    """A mirror in the middle of an update, or one that keeps the shell alone, as that of 6.19, 7.0 and 7.1: no matter of the network."""
    release = "7.3.4+deb13-amd64"
    depends = f"linux-binary-{release} (= 7.3.4-1), linux-modules-{release} (= 7.3.4-1)"
    archive.views["system"] = [package(f"linux-image-{release}", "7.3.4-1", depends)]

    with pytest.raises(KernelUnavailable, match=f"linux-binary-{re.escape(release)}") as caught:
        debian.resolve("7.3", say=quiet)

    assert "another series" in caught.value.next_step


def test_a_series_that_nobody_has_lists_what_there_is(archive):
    """The next step can be copied."""
    archive.views["system"] = [package("linux-image-6.1.0-9-amd64", "6.1.9-1")]
    archive.views["sid"] = [package("linux-image-7.3.4+deb14-amd64", "7.3.4-1")]

    with pytest.raises(KernelUnavailable) as caught:
        debian.resolve("9.9", say=quiet)

    assert "6.1, 7.3" in caught.value.next_step


def test_lists_that_are_out_of_date_are_fetched_anew(archive, monkeypatch):
    """The system's lists name a package that the mirror has replaced."""
    archive.views["system"] = [package("linux-image-6.1.0-9-amd64", "6.1.9-1")]
    archive.views["own"] = [package("linux-image-6.1.0-10-amd64", "6.1.10-1")]
    real = archive.download

    def download(view, packages, **options):
        if view.name == "system":
            raise KernelUnavailable("404", next_step="")
        return real(view, packages, **options)

    monkeypatch.setattr(apt, "download", download)

    assert debian.resolve("6.1", say=quiet).release == "6.1.0-10-amd64"


def test_without_a_network_what_was_fetched_before_is_used(archive):
    """A laptop on a train."""
    archive.views["system"] = [package("linux-image-6.1.0-9-amd64", "6.1.9-1")]
    first = debian.resolve("6.1", say=quiet)
    archive.views.clear()
    archive.offline = True
    said = []

    assert debian.resolve("6.1", say=said.append) == first
    assert any("from the cache" in line for line in said)


def test_without_a_network_and_nothing_kept_the_network_is_named(archive):
    """Not "no such kernel"."""
    archive.offline = True

    with pytest.raises(KernelUnavailable) as caught:
        debian.resolve("7.3", say=quiet)

    assert "no route to host" in caught.value.what
    assert "network" in caught.value.next_step


def test_a_download_that_fails_leaves_nothing_behind(archive, tmp_path):
    """The next run starts clean."""
    archive.views["system"] = [package("linux-image-6.1.0-9-amd64", "6.1.9-1")]
    archive.offline = True

    with pytest.raises(KernelUnavailable):
        debian.resolve("6.1", say=quiet)

    assert list((tmp_path / "ringrig/kernels").iterdir()) == []
    archive.offline = False
    assert debian.resolve("6.1", say=quiet).path.exists()
