"""User-Mode Linux guests: a kernel that is a process of the host, at native speed, with no need of KVM (design, law 2).

Its root is hostfs, which shows it the files of the process, so the process lives in a box: named parts, read-only, in
namespaces of its own and without a capability, also when root starts it. Nothing in the box can be written but memory.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ringrig.errors import NoBoot
from ringrig.kernel.uml import LIBRARIES
from ringrig.vm import guest as guests
from ringrig.vm.box import Box, end_box, python_parts
from ringrig.vm.plan import Plan

BOOT_SECONDS = 30.0
"""Limit from start to the SSH server's first byte."""
_GUEST_FILES = Path(__file__).parent.parent / "guest"
_KERNEL, _STATE, _DISK, _PRELOAD = "/ringrig/kernel", "/run/uml", "/tmp/disk", "/ringrig/xstate.so"
# All on the console; a panic ends the process by itself (arch/um/kernel/um_arch.c, panic_exit). What distribution
# kernels measure and test of themselves at boot (RAID, crypto) takes three times as long as the rest of it. Before 6.2
# the host's randomness is trusted only if told so; without it sshd waits for more for ever.
_APPEND = (
    "ignore_loglevel", "printk.devkmsg=on", "printk.time=1", "log_buf_len=4M", "sysrq_always_enabled",
    "initcall_blacklist=raid6_select_algo,raid6_init,calibrate_xor_blocks", "cryptomgr.notests",
    "random.trust_cpu=on",
)  # fmt: skip
# No core files. A randomized heap would make the memory larger by the gap before it (linux_main), up to 6.13 or so.
_WRAPPER = f"""
ulimit -c 0
mke2fs -q -t ext4 -O ^has_journal {_DISK} 64M >/tmp/mke2fs.log 2>&1
exec taskset -c "$0" setarch -R "$@"
"""
_MCONSOLE = struct.Struct("=III512s")
_MAGIC, _VERSION = 0xCAFEBABE, 2


@dataclass(slots=True, kw_only=True)
class UmlGuest:
    """A live User-Mode Linux (the `Guest` protocol)."""

    name: str
    console: Path
    facts: dict[str, object]
    slowness: float = 1.0
    process: subprocess.Popen[bytes]
    channel: socket.socket
    """Our end of its first serial line."""
    deadline: float
    _ended: bool = field(default=False)

    def stream(self) -> socket.socket:
        """The byte stream to the guest's SSH server. NoBoot: it died or stayed silent; the message has the console's end."""
        why = guests.await_word(self.channel, alive=self.alive, deadline=self.deadline)
        if why is None:
            return self.channel
        if self.alive():
            self.dump()
        self.end()
        raise NoBoot(
            f"{self.facts['label']}: {why}. The console's end:\n{guests.last_words(self.console)}",
            next_step=f"read {self.console}; try another --kernel, or --guest qemu, to tell the machine from the kernel",
        )

    def alive(self) -> bool:
        return not self._ended and self.process.poll() is None

    def dump(self) -> None:
        """Stacks of blocked tasks by sysrq through UML's management console; then the kernel faults, as far as it can tell,
        and panics with the registers and the stack of where it was, which it does with interrupts off, too
        (arch/um/kernel/trap.c, segv; relay_signal, which shows less, where the kernel got over that).
        """
        pid = self._kernel()
        if pid is None:
            return
        with suppress(OSError):
            _mconsole(Path(f"/proc/{pid}/root{_STATE}/guest/mconsole"), "sysrq w")
        self._settle()
        for last in (signal.SIGSEGV, signal.SIGFPE):
            with suppress(OSError):
                os.kill(pid, last)
            self._settle()

    def _kernel(self) -> int | None:
        """The host's process id of the kernel: bubblewrap's child's only child."""
        pid = self.process.pid
        for _ in range(2):
            try:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            except OSError:
                return None
            if not children:
                return None
            pid = int(children[0])
        return pid

    def _settle(self) -> None:
        """Wait until the console has been silent for a fifth of a second (at most two)."""
        limit, size, since = time.monotonic() + 2, -1, time.monotonic()
        while time.monotonic() < min(limit, since + 0.2):
            if (now := self.console.stat().st_size) != size:
                size, since = now, time.monotonic()
            time.sleep(0.02)

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            end_box(self.process)
            self.channel.close()
            assert self.process.stdin is not None
            self.process.stdin.close()


def start(plan: Plan, *, name: str, folder: Path) -> UmlGuest:
    """Boot the plan's executable and return at once; `stream()` waits for it. HostLacks: no bubblewrap."""
    console = folder / "console.log"
    ours, theirs = socket.socketpair()
    scratch = Path(plan.scratch, f"uml-{name}")
    scratch.mkdir()
    with theirs, console.open("ab") as log:
        argv, alive = _box(plan).bound(_command(plan, name, theirs.fileno()), scratch=scratch)
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,  # and not the host's /dev/null, whose mode its owner could change
            stdout=log,
            stderr=log,
            pass_fds=[theirs.fileno(), alive],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TERM": "dumb"},
        )
    facts: dict[str, object] = {
        "label": plan.label,
        "path": plan.path,
        "guest": "uml",
        "accel": "native",
        "cpus": f"up to {plan.cpus}",  # as many as the kernel knows of, on one processor of the host
        "memory": plan.memory,
        "root": "host",
        "root over": "hostfs",
        "command": argv,
    }
    (folder / "guest.json").write_text(json.dumps(facts, indent=1) + "\n")
    return UmlGuest(
        name=name,
        console=console,
        facts=facts,
        process=process,
        channel=ours,
        deadline=time.monotonic() + BOOT_SECONDS,
    )


def _box(plan: Plan) -> Box:
    return Box(
        readable={
            **python_parts(),
            f"{_KERNEL}/linux": Path(plan.path),
            **({LIBRARIES: Path(plan.libs)} if plan.libs else {}),
            **({_PRELOAD: Path(plan.preload)} if plan.preload else {}),
            "/ringrig/keys": plan.keys,
            "/ringrig/guest": _GUEST_FILES,
            **{f"/ringrig/pack/{name}": Path(plan.pack, name) for name in plan.zips},
            "/ringrig/suite.tar": Path(plan.suite),
            "/ringrig/sshd": Path(plan.sshd),
        },
        own_user=True,
    )


def _command(plan: Plan, name: str, line: int) -> list[str]:
    return [
        *("/bin/sh", "-c", _WRAPPER),
        str(_processor(name)),
        "env",
        *([f"LD_LIBRARY_PATH={LIBRARIES}"] if plan.libs else []),
        *([f"LD_PRELOAD={_PRELOAD}"] if plan.preload else []),
        f"{_KERNEL}/linux",
        f"mem={plan.memory}",
        *("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"),
        *("con=null", "con0=fd:0,fd:1", "ssl=null", f"ssl0=fd:{line}"),
        *(f"ubd0={_DISK}", f"uml_dir={_STATE}", "umid=guest"),
        "lpj=40000000",
        "seccomp=auto",
        f"ncpus={plan.cpus}",
        *_APPEND,
        *("init=/bin/sh", "--", "/ringrig/guest/uml.sh"),
    ]


def _processor(name: str) -> int:
    """The host's processor for a guest: neighbouring workers, and guests one after the other, get different ones."""
    processors = sorted(os.sched_getaffinity(0))
    return processors[sum(map(int, re.findall(r"\d+", name))) % len(processors)]


def _mconsole(path: Path, command: str) -> None:
    """Tell the management console a command (arch/um/drivers/mconsole.h). OSError: nobody listens.

    Its answer cannot leave the box: it has a network namespace of its own.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
        speaker.sendto(_MCONSOLE.pack(_MAGIC, _VERSION, len(command), command.encode()), str(path))
