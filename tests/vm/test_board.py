"""A board behind SSH: the running kernel is the board, an sshd on loopback its door, and nothing stays behind."""

import getpass
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes.clone import ROOT, Clone

from ringrig import cache, host
from ringrig.errors import GuestLacks, KernelUnavailable
from ringrig.vm.link import Keys

pytestmark = pytest.mark.vm
USER = getpass.getuser()


class Door:
    """An sshd with its own keys and its own idea of who lives here; `python` is what it calls python3."""

    def __init__(self, folder, *, python=None):
        self.keys = Keys.make(folder / "keys").folder
        self.home = folder / "board-home"
        self.home.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        path = f"{python or Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        root = host.sshd(say=print)
        options = {
            "AuthorizedKeysFile": self.keys / "user_key.pub",
            "HostKey": self.keys / "host_key",
            "ListenAddress": "127.0.0.1",
            "PermitRootLogin": "yes",
            "PidFile": "none",
            "SetEnv": f"PATH={path}",
            "StrictModes": "no",
            "Subsystem": "sftp internal-sftp",
            "UsePAM": "no",
        }
        settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        argv = [str(root / "usr/sbin/sshd"), "-D", "-e", "-f", "/dev/null", "-p", str(self.port), *settings]
        libraries = ":".join(map(str, host.library_directories(root)))
        with (folder / "sshd.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*self._as_root(folder), *argv] if os.getuid() == 0 else argv,
                env={"LD_LIBRARY_PATH": libraries, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        self._wait(folder / "sshd.log")

    def _as_root(self, folder):
        """As root it wants a user for its unprivileged half and a folder in /run; this machine need not have them."""
        files = {
            "passwd": f"root:x:0:0::{self.home}:/bin/sh\nsshd:x:65533:65533::/run/sshd:/bin/false\n",
            "shadow": "root:*:19000:0:99999:7:::\n",
            "group": "root:x:0:\ntty:x:5:\nsshd:x:65533:\n",
        }
        out = [
            "bwrap",
            "--die-with-parent",
            "--cap-add",
            "ALL",
            "--dev-bind",
            "/",
            "/",
            "--tmpfs",
            "/run",
            "--dir",
            "/run/sshd",
        ]
        for name, text in files.items():
            (folder / name).write_text(text)
            out += ["--ro-bind", str(folder / name), f"/etc/{name}"]
        return [*out, "--"]

    def _wait(self, log):
        limit = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < limit:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as door:
                    assert door.recv(4) == b"SSH-"
                    return
            except ConnectionRefusedError:
                time.sleep(0.1)
        raise AssertionError(log.read_text())

    @property
    def spec(self):
        return f"ssh:{USER}@127.0.0.1:{self.port}"

    def shut(self):
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    door = Door(tmp_path_factory.mktemp("door"))
    yield door
    door.shut()


@pytest.fixture
def visitor(tmp_path, door):
    """A clone whose user knows the board and has the key to it."""
    return visiting(tmp_path, door)


def visiting(tmp_path, door, *, known=True, key="user_key"):
    ssh = tmp_path / "home" / ".ssh"
    ssh.mkdir(parents=True)
    host_key = (door.keys / "host_key.pub").read_text()
    if known is True:
        (ssh / "known_hosts").write_text(f"[127.0.0.1]:{door.port} {host_key}")
    elif known:
        (ssh / "known_hosts").write_text(f"[127.0.0.1]:{door.port} {known}")
    shutil.copy(door.keys / key, ssh / "id_ed25519")
    clone = Clone(tmp_path / "clone", cache=cache.folder().parent, HOME=str(tmp_path / "home"))
    clone.environment.pop("SSH_AUTH_SOCK", None)
    return clone


def on_the_board():
    """What a run puts on the board for its time: other runs of this machine's, too, which may end meanwhile."""
    return set(Path("/tmp").glob("ringrig-????????"))


def refused(run, code, words):
    assert run.returncode == code, run.stdout
    assert words in run.stdout
    assert "next:" in run.stdout
    assert "Traceback" not in run.stdout


def test_the_suite_runs_on_a_board(visitor, door):
    """pytest travels with it; the verdict is on the board's kernel; everything is taken away again."""
    shutil.copytree(ROOT / "suites", visitor.root / "suites", dirs_exist_ok=True)
    before = on_the_board()

    run = visitor.pytest("suites/register/test_entries.py", "-q", kernel=door.spec, seconds=300)

    assert run.returncode == 0, run.stdout
    assert set(visitor.outcomes().values()) <= {"passed", "skipped"}
    assert "passed" in visitor.outcomes().values()
    assert visitor.run_json()["release"] == platform.release()
    assert visitor.run_json()["ran"]["release"] == platform.release()
    assert (visitor.latest / "guests" / "guest-1" / "agent.log").read_text() == ""
    assert on_the_board() <= before


def test_cases_have_only_what_travelled(visitor, door):
    """The board's Python without its own packages, and the clone's cases."""
    visitor.write(
        test_board="import json, os, sys, pytest, ringrig.uring\n"
        "def test_pytest(): assert 'sources.zip' in pytest.__file__\n"
        "def test_code(): assert ringrig.uring.__file__.startswith('/tmp/ringrig-')\n"
        "def test_place(): assert os.getcwd().startswith('/tmp/ringrig-')\n"
        "def test_shared(): assert json.loads(os.environ['RINGRIG_FACTS'])['shared']\n"
        "def test_no_more(): assert not any('site-packages' in path for path in sys.path)\n"
        "def test_fails(): assert 1 == 2\n"
    )

    run = visitor.pytest("-n2", kernel=door.spec, seconds=120)

    assert run.returncode == 1, run.stdout
    found = visitor.outcomes()
    assert found.pop("test_fails") == "failed"
    assert set(found.values()) == {"passed"}, run.stdout


def test_a_run_that_is_killed_leaves_nothing_on_the_board(visitor, door):
    """kill -9 of pytest: the agent sees the end of its stream, and its folder goes with it."""
    visitor.write(
        test_long="import time\ndef test_it():\n    print(open('/proc/self/stat').read())\n    time.sleep(1000)\n"
    )
    before = on_the_board()
    run = visitor.start(kernel=door.spec)
    until(lambda: any((one / "suite/suites/test_long.py").exists() for one in on_the_board() - before))
    until(lambda: agents(on_the_board() - before))
    pids = agents(on_the_board() - before)

    run.kill()
    run.wait()

    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    until(lambda: on_the_board() <= before)


def agents(folders):
    """Processes that work in one of the folders."""
    found = []
    for cwd in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if any(cwd.resolve().is_relative_to(folder) for folder in folders):
                found.append(int(cwd.parts[2]))
        except OSError:
            pass
    return found


def until(condition, *, seconds=60):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.1)


def test_an_unknown_host_is_not_trusted(tmp_path, door):
    """Nobody answers questions about keys here: the host must be known before."""
    visitor = visiting(tmp_path, door, known=False)

    refused(visitor.pytest(kernel=door.spec), KernelUnavailable.exit_code, "not found in known_hosts")


def test_a_host_with_another_key_is_not_trusted(tmp_path, door):
    """It may be another machine."""
    visitor = visiting(tmp_path, door, known=(door.keys / "user_key.pub").read_text())

    refused(visitor.pytest(kernel=door.spec), KernelUnavailable.exit_code, "does not match")


def test_a_key_that_the_board_does_not_take(tmp_path, door):
    """The message has the ssh command that must work first."""
    visitor = visiting(tmp_path, door, key="host_key")

    run = visitor.pytest(kernel=door.spec)

    refused(run, KernelUnavailable.exit_code, "uthentication failed")
    assert f"ssh -p {door.port} {USER}@127.0.0.1 true" in run.stdout


def test_a_port_where_nobody_listens(visitor):
    """Said at once."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    run = visitor.pytest(kernel=f"ssh:{USER}@127.0.0.1:{port}")

    refused(run, KernelUnavailable.exit_code, "Unable to connect")


@pytest.mark.parametrize(
    ("script", "words"),
    [("exit 127", "no python3 of at least 3.11"), ("echo 3 9 6.1.0", "3 9 6.1.0"), ("echo what?", "what?")],
    ids=["none", "old", "strange"],
)
def test_a_board_without_a_python_that_will_do(tmp_path, script, words):
    """The message has what it said, or that it said nothing."""
    (tmp_path / "python3").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "python3").chmod(0o755)
    door = Door(tmp_path, python=tmp_path)
    visitor = visiting(tmp_path, door)
    visitor.write(test_a="def test_a(): pass\n")
    before = on_the_board()
    try:
        run = visitor.pytest(kernel=door.spec)
    finally:
        door.shut()

    refused(run, GuestLacks.exit_code, words)
    assert on_the_board() <= before
