"""Kernel specs: what is understood, and what is said about what is not."""

import pytest

from ringrig.errors import BadSpec, KernelUnavailable, NotAKernel
from ringrig.kernel import Board, Host, resolve
from ringrig.kernel.spec import board, debian_series


def quiet(_line):
    pass


def test_host_is_the_running_kernel():
    """`host` needs nothing but uname."""
    target = resolve("host", say=quiet)

    assert isinstance(target, Host)
    assert target.release in target.label


@pytest.mark.parametrize(
    ("spec", "user", "host", "port"),
    [
        ("ssh:board", "root", "board", 22),
        ("ssh:me@10.0.0.7:2222", "me", "10.0.0.7", 2222),
        ("ssh:root@[fe80::1%eth0]:22", "root", "fe80::1%eth0", 22),
    ],
)
def test_a_board_is_user_host_and_port(spec, user, host, port):
    """The user defaults to root, the port to 22; IPv6 addresses stand in brackets."""
    assert board(spec) == Board(spec=spec, label=board(spec).label, user=user, host=host, port=port)


@pytest.mark.parametrize(
    "spec",
    ["ssh:", "ssh:-oProxyCommand=x", "ssh:a b", "ssh:host:0", "ssh:host:65536", "ssh:a;b"],
)
def test_a_board_that_could_be_taken_for_an_option_or_a_command_is_refused(spec):
    """Names from specs never reach a shell or an option parser."""
    with pytest.raises(BadSpec):
        resolve(spec, say=quiet)


@pytest.mark.parametrize(
    ("spec", "series"),
    [
        ("debian", ("debian", "")),
        ("debian:6.12", ("debian", "6.12")),
        ("debian-uml:6.1", ("debian-uml", "6.1")),
        ("source", ("source", "")),
        ("debian:", None),
        ("debian:6", None),
        ("debian:6.12.3", None),
    ],
)
def test_debian_specs_name_a_series(spec, series):
    """X.Y, or nothing for the newest."""
    assert debian_series(spec) == series


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("6.12", "debian:6.12"),
        ("v6.12.3", "debian:6.12"),
        ("debian:6.12.3", "debian:6.12"),
        ("root@box", "ssh:root@box"),
        ("localhost", "host?"),
        ("images/bzImage", "check the path"),
        ("nonsense", "debian:X.Y"),
    ],
)
def test_a_spec_of_no_known_form_gets_the_nearest_one(spec, hint):
    """The next step names what was probably meant."""
    with pytest.raises(BadSpec) as caught:
        resolve(spec, say=quiet)

    assert hint in caught.value.next_step


def test_a_path_that_is_not_there_is_unavailable_rather_than_misspelt(tmp_path):
    """/no/such/bzImage has a known form."""
    with pytest.raises(KernelUnavailable, match="There is no"):
        resolve(str(tmp_path / "bzImage"), say=quiet)


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"\x7fELF\x02\x01\x01", "ELF"), (b"", "no x86 boot image"), (b"MZ" * 400, "no x86 boot image"),
     (b"\0" * 0x38 + b"ARM\x64", "arm64"), (b"!<arch>\ndebian-binary", "Debian package")],
)  # fmt: skip
def test_a_file_that_is_no_kernel_is_called_what_it_is(tmp_path, content, what):
    """What people give by mistake is recognised."""
    file = tmp_path / "vmlinuz"
    file.write_bytes(content)

    with pytest.raises(NotAKernel, match=what):
        resolve(str(file), say=quiet)
