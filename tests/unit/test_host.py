"""The guests' SSH server: this machine's own, or a package unpacked with the libraries that are missing."""

from pathlib import Path

import pytest

from ringrig import host
from ringrig.errors import HostLacks, KernelUnavailable
from ringrig.kernel import apt
from ringrig.kernel.apt import Apt, Package


def quiet(_line):
    pass


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """No sshd installed, an archive with openssh-server and two of the libraries it depends on."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(host, "_INSTALLED", tmp_path / "sbin/sshd")
    monkeypatch.setattr(apt, "system", lambda: Apt(name="system", options=(), lists=tmp_path))
    monkeypatch.setattr(apt, "refreshed", lambda: Apt(name="own", options=(), lists=tmp_path))
    monkeypatch.setattr(apt, "update", lambda *_, **__: None)
    monkeypatch.setattr(apt, "extract", lambda deb, into: (into / deb.name).touch())
    monkeypatch.setattr(host, "_is_installed", lambda name: name == "libc6")
    depends = {"openssh-server": "adduser, libc6 (>= 2.36), libwrap0 (>= 7), libpam0g", "libwrap0": "libnsl2"}
    downloads = []

    def show(_view, names):
        return [Package(name=n, version="1", size=1, unpacked=1, depends=depends.get(n, "")) for n in names]

    def download(view, packages, **_options):
        downloads.append((view.name, [package.name for package in packages]))
        return [Path(package.name) for package in packages]

    monkeypatch.setattr(apt, "show", show)
    monkeypatch.setattr(apt, "download", download)
    return downloads


def lacking(*rounds):
    """What the loader misses after each round of downloads."""
    left = list(rounds)
    return lambda _program, _root: left.pop(0)


def test_the_machines_own_server_is_copied(tmp_path, machine):
    """Not its directory: a guest sees what it needs and no more."""
    host._INSTALLED.parent.mkdir()
    host._INSTALLED.write_text("server")

    found = host.sshd(say=quiet)

    assert found.is_relative_to(tmp_path / "cache")
    assert [path.read_text() for path in found.rglob("sshd") if path.is_file()] == ["server"]
    assert machine == []


def test_libraries_are_fetched_until_none_is_missing(machine, monkeypatch):
    """Dependencies of dependencies too; never what is installed, never services."""
    monkeypatch.setattr(host, "missing_libraries", lacking(["libwrap.so.0"], ["libnsl.so.2"], []))

    host.sshd(say=quiet)

    assert machine == [
        ("system", ["openssh-server"]), ("system", ["libpam0g", "libwrap0"]), ("system", ["libnsl2"])
    ]  # fmt: skip


def test_a_second_call_fetches_nothing(machine, monkeypatch):
    """It is in the cache."""
    monkeypatch.setattr(host, "missing_libraries", lambda *_: [])

    assert host.sshd(say=quiet) == host.sshd(say=quiet)
    assert len(machine) == 1


def test_lists_that_are_out_of_date_are_fetched_anew(machine, monkeypatch):
    """A point release replaced the package."""
    monkeypatch.setattr(host, "missing_libraries", lambda *_: [])
    real = apt.download

    def download(view, packages, **options):
        if view.name == "system":
            raise KernelUnavailable("404", next_step="")
        return real(view, packages, **options)

    monkeypatch.setattr(apt, "download", download)

    host.sshd(say=quiet)

    assert machine == [("own", ["openssh-server"])]


def test_without_a_network_the_next_step_is_named(monkeypatch):
    """Not a kernel's error: the machine lacks something."""

    def download(*_arguments, **_options):
        raise KernelUnavailable("no route to host", next_step="")

    monkeypatch.setattr(apt, "download", download)

    with pytest.raises(HostLacks, match="no route to host"):
        host.sshd(say=quiet)


def test_a_library_that_nobody_has_is_named(monkeypatch):
    """An incomplete server would fail in every guest."""
    monkeypatch.setattr(host, "missing_libraries", lambda *_: ["libodd.so.1"])

    with pytest.raises(HostLacks, match=r"libodd\.so\.1"):
        host.sshd(say=quiet)


def test_a_program_of_this_machine_misses_nothing(tmp_path):
    """The loader itself is asked."""
    assert host.missing_libraries(Path("/bin/sh"), tmp_path) == []
