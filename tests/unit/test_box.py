"""The box: what a guest's processes can see of this machine, and that they end with whoever started them."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ringrig.errors import HostLacks
from ringrig.vm.box import Box, end_box, python_parts

needs_bwrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here")


def boxed(box, tmp_path, *command):
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    argv = box.argv(command, scratch=scratch)
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


def test_without_bubblewrap_there_is_no_box(tmp_path, monkeypatch):
    """HostLacks, with the package."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(HostLacks, match="bubblewrap"):
        Box().argv(["true"], scratch=tmp_path)


def test_the_command_comes_last_and_whole(tmp_path):
    """Nothing of it is taken for an option of the box, and nothing passes through a shell."""
    command = ["sh", "--ro-bind", "/ /etc", "$(reboot)"]

    argv = Box().argv(command, scratch=tmp_path)

    assert argv[argv.index("--") + 1 :] == command


def test_a_program_that_is_a_link_is_hidden_where_it_lies(tmp_path, monkeypatch):
    """systemd-udevd is a link to udevadm, and bubblewrap binds over no link: on a machine with udev no guest started."""
    (tmp_path / "udevadm").write_text("a program")
    (tmp_path / "systemd-udevd").symlink_to("udevadm")
    monkeypatch.setattr(
        "ringrig.vm.box._NOT_IN_GUEST", (str(tmp_path / "systemd-udevd"), str(tmp_path / "none"))
    )

    argv = Box().argv(["true"], scratch=tmp_path)

    assert argv[argv.index("/dev/null") - 1 :][:3] == ["--ro-bind", "/dev/null", str(tmp_path / "udevadm")]
    assert argv.count("/dev/null") == 1


def test_nothing_is_writable_but_what_is_named(tmp_path):
    """No --bind of the box itself, and no device unless asked for."""
    argv = Box(readable={"/ringrig/a": Path("/a")}).argv(["true"], scratch=tmp_path)

    assert "--bind" not in argv
    assert "--dev-bind" not in argv
    assert {"--unshare-pid", "--unshare-net", "--unshare-ipc", "--die-with-parent", "--new-session"} <= set(
        argv
    )


def test_the_interpreter_is_in_the_box_where_it_is_outside():
    """Its environment, and the Python that this was made from, unless /usr has it anyway."""
    parts = python_parts()

    assert all(place == str(path) for place, path in parts.items())
    assert any(Path(sys.prefix).is_relative_to(place) for place in [*parts, "/usr"])
    assert not any(Path(place).is_relative_to("/usr") for place in parts)


@needs_bwrap
def test_secrets_and_the_rest_of_home_are_not_there(tmp_path):
    """Neither keys, nor real passwords, nor what lies beside the clone."""
    secret = tmp_path / "secret"
    secret.write_text("x")

    run = boxed(
        Box(),
        tmp_path,
        "sh",
        "-c",
        f"cat {secret}; ls -A /root /home /etc/ssh /tmp; cat /etc/shadow; ls /etc",
    )

    assert "No such file" in run.stderr
    assert "machine-id" not in run.stdout
    assert set(run.stdout.split(":\n")[0].split()) <= {"/etc/ssh"}
    lines = run.stdout.splitlines()
    assert [line for line in lines if ":*:" in line or ":$" in line] == ["root:*:19000:0:99999:7:::"]


@needs_bwrap
def test_a_user_of_its_own_has_no_power_over_the_host(tmp_path):
    """Also where root starts it: no capability, none to be had in a further namespace, and nothing of the host's that its
    owner could change: modules of /proc/sys (opened only), device nodes.
    """
    attempts = (
        "unshare -Ur true",
        "mount -o remount,rw /usr",
        "exec 3>>/proc/sys/kernel/core_pattern",
        "ls /dev/null",
    )
    script = "grep Cap /proc/self/status; " + "; ".join(
        f"({attempt}) || echo refused" for attempt in attempts
    )

    run = boxed(Box(own_user=True), tmp_path, "sh", "-c", script)

    lines = run.stdout.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("Cap")] == ["0000000000000000"] * 5
    assert lines.count("refused") == len(attempts)


@needs_bwrap
def test_kvm_only_for_those_who_need_it(tmp_path):
    """The box of a User-Mode Linux has none of the host's devices."""
    plain, with_kvm = (Box(kvm=kvm).argv(["true"], scratch=tmp_path) for kvm in (False, True))

    assert "/dev/kvm" not in plain
    assert "/dev/kvm" in with_kvm


@needs_bwrap
def test_what_is_readable_cannot_be_written(tmp_path):
    """The host's /usr neither; what is writable can, and the host sees it."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    box = Box(readable={"/ringrig/in": tmp_path / "in"}, writable={"/ringrig/out": tmp_path / "out"})

    run = boxed(
        box,
        tmp_path,
        "sh",
        "-c",
        "for d in in out; do touch /ringrig/$d/file; done; touch /usr/file /etc/file-x",
    )

    assert not (tmp_path / "in/file").exists()
    assert (tmp_path / "out/file").exists()
    assert run.stderr.count("Read-only file system") >= 2
    assert not Path("/usr/file").exists()
    assert not Path("/etc/file-x").exists()


@needs_bwrap
def test_there_is_no_network(tmp_path):
    """Only a loopback of its own."""
    run = boxed(Box(), tmp_path, "cat", "/proc/net/dev")

    assert [line.split(":")[0].strip() for line in run.stdout.splitlines()[2:]] == ["lo"]


@needs_bwrap
def test_the_environment_names_no_home_of_the_users(tmp_path, monkeypatch):
    """HOME is the box's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/secret")

    run = boxed(Box(), tmp_path, "sh", "-c", "echo $HOME $TMPDIR $XDG_CACHE_HOME")

    assert run.stdout == "/root /tmp\n"


@needs_bwrap
def test_everything_in_the_box_dies_with_the_rig(tmp_path):
    """kill -9 of the one who started it, with processes in sessions of their own inside."""
    marker = f"{os.getpid()}{time.time_ns() % 1_000_000:06}"
    script = f"setsid sleep 1000.{marker} & setsid sleep 1000.{marker} & wait"
    argv = Box().argv(["sh", "-c", script], scratch=tmp_path)
    starter = subprocess.Popen([sys.executable, "-c", f"import subprocess\nsubprocess.run({argv!r})"])
    until(lambda: len(sleeping(marker)) == 2)

    starter.send_signal(signal.SIGKILL)
    starter.wait()

    until(lambda: not sleeping(marker))


@needs_bwrap
@pytest.mark.parametrize("own_user", [False, True], ids=["plain", "user_namespace"])
def test_a_rig_killed_while_a_box_starts_leaves_none(tmp_path, own_user):
    """kill -9 whatever bubblewrap has got to: its first process may not have asked to follow it yet."""
    marker = f"{os.getpid()}{time.time_ns() % 1_000_000:06}"
    script = (
        "import subprocess, sys; from pathlib import Path; from ringrig.vm.box import Box\n"
        f"box, scratch = Box(own_user={own_user}), Path({str(tmp_path)!r})\n"
        "sys.stdin.read(1)\n"
        f"argv, alive = box.bound(['sleep', '1000.{marker}'], scratch=scratch)\n"
        "subprocess.run(argv, pass_fds=[alive])"
    )
    for number in range(30):
        rig = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
        rig.stdin.write(b"x")
        rig.stdin.close()
        until(lambda rig=rig: Path(f"/proc/{rig.pid}/task/{rig.pid}/children").read_text())
        time.sleep(0.0006 * number)

        rig.kill()
        rig.wait()

    until(lambda: not sleeping(marker))


def sleeping(marker):
    wanted = f"sleep\0{1000}.{marker}\0".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [path] if path.read_bytes() == wanted else []
    return found


def until(condition):
    limit = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.mark.parametrize(
    "user", [[], ["--unshare-user", "--disable-userns"]], ids=["plain", "user_namespace"]
)
def test_a_box_that_is_ended_at_once_is_gone(user):
    """Whatever bubblewrap has got to by then: before its first process, before that one follows it, later."""
    argv = ["bwrap", "--die-with-parent", "--unshare-pid", *user, "--ro-bind", "/", "/", "--proc", "/proc"]
    for number in range(40):
        seconds = f"100.{os.getpid()}{number:02}"
        process = subprocess.Popen([*argv, "sleep", seconds])
        time.sleep(0.0004 * number)

        end_box(process)

        limit = time.monotonic() + 2
        while (left := _with(seconds)) and time.monotonic() < limit:
            time.sleep(0.005)
        assert not left


def _with(word):
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in file.read_bytes():
                found.append(file.parent.name)
    return found
