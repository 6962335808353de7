"""The box a guest lives in: bubblewrap namespaces with a root of named parts, read-only but for one exchange directory.

QEMU's 9p server exports the box's root to the guest, so the guest sees what is named here and nothing else:
no keys, no $HOME, no network. The box is also what ends a guest: its processes share a PID namespace that the
kernel kills as a whole when the rig's process dies, however it dies.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ringrig.errors import HostLacks

# What programs of the host need from /etc to run; nothing that can be a secret.
_ETC = (
    "alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "modprobe.d", "nsswitch.conf",
    "os-release", "protocols", "services", "ssl/certs", "ssl/openssl.cnf", "terminfo", "python3", "python3.11",
)  # fmt: skip
_TOP = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "gnu")
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nsshd:x:65533:65533::/run/sshd:/usr/sbin/nologin\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
# Without a password, and not locked: sshd refuses the key of a locked account.
_SHADOW = "root:*:19000:0:99999:7:::\n"
_GROUP = "root:x:0:\ntty:x:5:\nkvm:x:106:\nsshd:x:65533:\nnogroup:x:65534:\n"
# Started by virtme-ng's init when found; nothing in a guest needs them, and one costs a second emulated.
_NOT_IN_GUEST = tuple(
    f"/usr/{folder}/{name}"
    for folder in ("bin", "lib/systemd")
    for name in ("systemd-tmpfiles", "systemd-udevd")
)
# In the box: goes on only if the one who started it still lives, for a pipe's other end is there. Whoever dies later takes
# the box along: by now its first process has told the kernel to see to that.
_IF_ALIVE = 'alive=$0; read -t 0 -u "$alive" && exit 1; exec "$@" {alive}<&-'


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """What the boxed program may see: host paths by their place in the box."""

    readable: Mapping[str, Path] = field(default_factory=dict)
    writable: Mapping[str, Path] = field(default_factory=dict)
    kvm: bool = False
    own_user: bool = False
    """A user namespace in which nobody has a capability or can make another, whoever starts it."""

    def argv(self, command: Sequence[str], *, scratch: Path) -> list[str]:
        """The bubblewrap command line for `command`; `scratch` keeps the few files the box invents.

        HostLacks: no bubblewrap.
        """
        bwrap = shutil.which("bwrap")
        if bwrap is None:
            raise HostLacks(
                "Guests are boxed with bubblewrap, and there is no 'bwrap' here.",
                next_step="install it (Debian: apt-get install bubblewrap), or start with ./rig, which does",
            )
        # An own session keeps Ctrl-C of the terminal away from the guest: the rig decides how it ends.
        out = [bwrap, "--die-with-parent", "--new-session", "--unshare-pid", "--unshare-net", "--unshare-ipc"]
        if self.own_user:
            out += ["--unshare-user", "--disable-userns", "--uid", "0", "--gid", "0", "--cap-drop", "ALL"]
        out += [*_invented_etc(scratch), *_host_parts()]
        # Of the host's devices only KVM: a wild guest kernel could ask the 9p server to open any that is in sight.
        # Root without a capability still owns /dev/null and what is in /proc/sys: neither is there to be changed.
        out += ["--tmpfs", "/dev", "--dir", "/dev/shm"] if self.own_user else ["--dev", "/dev"]
        out += ["--dev-bind-try", "/dev/kvm", "/dev/kvm"] if self.kvm else []
        out += ["--proc", "/proc", *(["--remount-ro", "/proc"] if self.own_user else [])]
        for place in ("/tmp", "/run", "/root", "/var"):
            out += ["--tmpfs", place]
        for flag, mounts in (("--ro-bind", self.readable), ("--bind", self.writable)):
            for place, path in mounts.items():
                out += [flag, str(path), place]
        out += ["--remount-ro", "/"] if self.own_user else []
        out += ["--setenv", "HOME", "/root", "--setenv", "TMPDIR", "/tmp", "--unsetenv", "XDG_CACHE_HOME"]
        return [*out, "--chdir", "/", "--", *command]

    def bound(self, command: Sequence[str], *, scratch: Path) -> tuple[list[str], int]:
        """argv() of a command that ends with this process however that ends, and the descriptor to pass it. HostLacks: as there."""
        pipe = _pipe()
        return self.argv(["bash", "-c", _IF_ALIVE, str(pipe), *command], scratch=scratch), pipe


@functools.cache
def _pipe() -> int:
    """The end to read of a pipe whose other end this process alone has, as long as it lives."""
    return os.pipe()[0]


def _host_parts() -> list[str]:
    out: list[str] = []
    for name in _TOP:
        path = Path("/", name)
        if path.is_symlink():
            out += ["--symlink", str(path.readlink()), f"/{name}"]
        elif path.is_dir():
            out += ["--ro-bind", str(path), f"/{name}"]
    for name in _ETC:
        if (path := Path("/etc", name)).exists():
            out += ["--ro-bind", str(path), str(path)]
    # Bubblewrap binds over no symbolic link, which systemd-udevd is one of: over what it points to.
    unwanted = [path for path in map(Path, _NOT_IN_GUEST) if path.exists()]
    for path in dict.fromkeys(path.resolve() for path in unwanted):
        out += ["--ro-bind", "/dev/null", str(path)]
    for folder in ("/sys", "/home", "/opt", "/srv", "/mnt", "/etc/ssh", "/etc/sudoers.d"):
        out += ["--dir", folder]
    return out


def _invented_etc(scratch: Path) -> list[str]:
    out: list[str] = []
    files = {"passwd": _PASSWD, "shadow": _SHADOW, "group": _GROUP, "hosts": "127.0.0.1 localhost\n",
             "fstab": "", "sudoers": "", "resolv.conf": ""}  # fmt: skip
    for name, text in files.items():
        path = scratch / f"etc-{name}"
        path.write_text(text)
        out += ["--ro-bind", str(path), f"/etc/{name}"]
    return out


def python_parts() -> dict[str, Path]:
    """The directories this interpreter and its environment live in, at their own places; /usr is in every
    box anyway.
    """
    return {p: Path(p) for p in (sys.prefix, sys.base_prefix) if not Path(p).is_relative_to("/usr")}


def end_box(process: subprocess.Popen[bytes]) -> None:
    """Kill a boxed program with all that runs in its box; a second call does nothing.

    The box's first process dies with bubblewrap, but not in the moments before it has told the kernel to see to that.
    """
    if process.poll() is not None:
        return
    # Or it might make that process just now, as it may until it has really stopped.
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    first = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    inside = [int(pid) for pid in first.read_text().split()] if first.exists() else []
    process.kill()
    for pid in inside:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
