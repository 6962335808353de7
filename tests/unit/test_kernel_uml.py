"""User-Mode Linux kernels: Debian's packages, the C library they want, and executables that somebody built."""

from pathlib import Path

import pytest

from ringrig.errors import KernelUnavailable, NotAKernel
from ringrig.kernel import apt, config, files, uml
from ringrig.kernel.apt import Apt, Package

OPTIONS = ("CONFIG_UML=y", "# CONFIG_SMP is not set", 'CONFIG_LOCALVERSION=""')


def executable(release="6.1.176", options=OPTIONS, interpreter=b"/lib64/ld-linux-x86-64.so.2"):
    """As much of one as is looked at: no ELF headers, the strings that the kernel's sources put into each."""
    banner = f"Linux version {release} (build@host) #1\0".encode() if release else b""
    lines = b"".join(f"\0{line}\n\0".encode() for line in options)
    return b"\x7fELF" + interpreter + b"\0" + b"User Mode Linux v%s\n\0" + banner + lines


def quiet(_line):
    pass


def package(name, version, depends=""):
    return Package(name=name, version=version, size=1, unpacked=1, depends=depends)


@pytest.fixture
def archive(monkeypatch, tmp_path):
    """What this machine's apt shows, and nothing beyond; a download is a file with the package's name."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    packages = []
    view = Apt(name="system", options=(), lists=Path("/"))
    monkeypatch.setattr(apt, "system", lambda: view)
    monkeypatch.setattr(apt, "refreshed", lambda: view)
    monkeypatch.setattr(apt, "configured", lambda: None)
    monkeypatch.setattr(apt, "update", lambda _view, *, say, force=False: None)
    monkeypatch.setattr(
        apt, "names", lambda _, prefix: [p.name for p in packages if p.name.startswith(prefix)]
    )
    monkeypatch.setattr(apt, "show", lambda _, names: [p for p in packages if p.name in names])
    monkeypatch.setattr(apt, "download", lambda _, wanted, *, into, say: [into / p.name for p in wanted])
    monkeypatch.setattr(apt, "extract", unpack)
    return packages


def unpack(deb, root):
    if deb.name == "libc6":
        place = root / "usr/lib/x86_64-linux-gnu"
        place.mkdir(parents=True)
        for name in ("ld-linux-x86-64.so.2", "libc.so.6"):
            (place / name).write_bytes(b"new")
    else:
        (root / "usr/bin").mkdir(parents=True)
        (root / "usr/bin/linux.uml").write_bytes(executable())


def test_the_package_of_a_series(archive):
    """Its version, its kernel's release and configuration; neither installed nor executed."""
    archive += [package("user-mode-linux", "6.1um4+b13"), package("user-mode-linux-doc", "6.1-1")]

    image = uml.resolve("6.1", say=quiet)

    assert (image.spec, image.label) == ("debian-uml:6.1", "debian-uml:6.1 (6.1um4+b13)")
    assert (image.arch, image.release, image.libs) == ("um", "6.1.176", None)
    assert image.package == "user-mode-linux 6.1um4+b13"
    assert image.config.read_text().splitlines() == list(OPTIONS)


def test_a_newer_library_comes_along(archive):
    """The executable names its loader, which finds the library beside it; the package itself stays as it is."""
    archive += [package("user-mode-linux", "7.2um1", "libc6 (>= 99.1)"), package("libc6", "99.2-1")]

    image = uml.resolve("7.2", say=quiet)

    assert {"ld.so", "libc.so.6"} <= {file.name for file in image.libs.iterdir()}
    assert b"/ringrig/libs/ld.so\0" in image.path.read_bytes()
    assert len(image.path.read_bytes()) == len(executable())


def test_a_library_that_is_not_to_be_had(archive):
    """Said with its version."""
    archive += [package("user-mode-linux", "7.2um1", "libc6 (>= 99.1)"), package("libc6", "98-1")]

    with pytest.raises(KernelUnavailable, match=r"needs libc6 99\.1"):
        uml.resolve("7.2", say=quiet)


def test_a_series_that_is_not_on_offer(archive):
    """The list of those that are."""
    archive += [package("user-mode-linux", "6.1um4+b13"), package("user-mode-linux", "6.12um1")]

    with pytest.raises(KernelUnavailable) as caught:
        uml.resolve("5.19", say=quiet)

    assert "5.19 is not to be had" in caught.value.what
    assert "this machine's apt sources name no Debian mirror" in caught.value.what


def test_without_the_archive_what_was_fetched_before_does(archive):
    """A laptop on a train."""
    archive.append(package("user-mode-linux", "6.1um4+b13"))
    first = uml.resolve("6.1", say=quiet)
    archive.clear()

    assert uml.resolve("6.1", say=quiet) == first


@pytest.mark.parametrize("form", ["linux", "."])
def test_an_executable_or_its_tree_as_a_path(form, tmp_path, monkeypatch):
    """A snapshot is taken: it may be built again while guests run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "linux").write_bytes(executable("7.3.4-mine"))

    image = files.resolve(str(tmp_path / form), say=quiet)

    (tmp_path / "linux").write_bytes(b"")
    assert (image.arch, image.release) == ("um", "7.3.4-mine")
    assert image.path.read_bytes() == executable("7.3.4-mine")


def test_an_executable_that_is_of_no_kernel(tmp_path, monkeypatch):
    """Half linked, or something that only looks like one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "linux").write_bytes(executable(release=None))

    with pytest.raises(NotAKernel, match="which kernel"):
        files.resolve(str(tmp_path / "linux"), say=quiet)


def test_other_executables_are_not_taken_for_one(tmp_path):
    """A vmlinux, a program."""
    (tmp_path / "vmlinux").write_bytes(b"\x7fELF Linux version 6.1.0 (")

    assert not uml.is_executable(tmp_path / "vmlinux")
    assert uml.is_executable(executable_at(tmp_path / "linux"))


def executable_at(path):
    path.write_bytes(executable())
    return path


def test_what_a_guest_of_it_needs_is_asked_for_before_it_boots(archive):
    """hostfs and the serial line; nothing of PCI or 9p."""
    archive.append(package("user-mode-linux", "6.1um4+b13"))
    image = uml.resolve("6.1", say=quiet)

    with pytest.raises(Exception, match="CONFIG_HOSTFS") as caught:
        config.requirements(image)

    assert "CONFIG_PCI" not in str(caught.value)
