"""QEMU guests, started through virtme-ng's command line (design, laws 2–4).

virtme-ng puts one shell string together, knows no time limit and answers every failure with 255, so this
module owns the process, the console, the channel and the deadline, and looks at no exit code.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from ringrig.errors import HostLacks, NoBoot
from ringrig.vm import accel
from ringrig.vm import guest as guests
from ringrig.vm.box import Box, end_box, python_parts
from ringrig.vm.plan import Plan
from ringrig.vm.qmp import Monitor, Reach

_GUEST_FILES = Path(__file__).parent.parent / "guest"
_SSH_PORT = "ringrig.ssh"
# The plainest CPU with a random number generator (sshd and Python wait for one): Python starts twice as fast
# as on `max`, whose vector and protection features are emulated. One thread for all CPUs: with a thread each,
# QEMU 7.2 now and then lets a CPU run into the int3 of another's text patching, and a sound kernel dies.
_TCG = "-cpu qemu64,+rdrand -accel tcg,thread=single"
# All on the console, and early; /dev/kmsg drops marks beyond 10 in 5 s unless told; every CPU's stack in a panic.
_APPEND = (
    "ignore_loglevel printk.devkmsg=on printk.time=1 log_buf_len=4M no5lvl "
    "sysrq_always_enabled unknown_nmi_panic=1 panic_print=0x40 hung_task_panic=0 mitigations=off raid=noautodetect"
)
_KERNEL_LINE = re.compile(rb"^\[ *\d+\.\d{6}\].*", re.MULTILINE)
BOOT_SECONDS = 60.0
"""Limit from start to the SSH server's first byte at native speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What virtme-ng would choose by the host it runs on, pinned, so that two machines run the same guest."""

    cpus: int = 2
    memory: str = "1G"
    accel: str = "auto"
    """kvm, tcg or auto (accel.py)."""


@dataclass(slots=True, kw_only=True)
class QemuGuest:
    """A live QEMU guest (the `Guest` protocol)."""

    name: str
    console: Path
    facts: dict[str, object]
    slowness: float
    process: subprocess.Popen[bytes]
    sockets: Path
    log: Path
    deadline: float
    drains: list[subprocess.Popen[bytes]]
    """What carries the guest's output to its files."""
    _ended: bool = field(default=False)

    def stream(self) -> socket.socket:
        """A byte stream to the guest's SSH server.

        NoBoot: it died or stayed silent; the message has the console's end.
        """
        channel = self._connect()
        why = guests.await_word(channel, alive=self.alive, deadline=self.deadline)
        if why is None:
            return channel
        if self.alive():
            self.dump()
        raise self.no_boot(why)

    def _connect(self) -> socket.socket:
        while True:
            try:
                with Reach(self.sockets) as reach:
                    return reach.connect("ssh")
            except OSError:
                if not self.alive():
                    raise self.no_boot("QEMU did not start") from None
                if time.monotonic() > self.deadline:
                    raise self.no_boot("QEMU did not open its sockets in time") from None
                time.sleep(0.02)

    def alive(self) -> bool:
        return not self._ended and self.process.poll() is None

    def dump(self) -> None:
        """Stacks of all CPUs and of blocked tasks by sysrq over the serial line, then a panic by NMI with all CPUs' stacks."""
        try:
            with Reach(self.sockets) as reach, Monitor(reach.connect("qmp")) as qmp:
                line = self._take_console(reach, qmp)
                for key in b"lw":
                    qmp.execute("chardev-send-break", id="console")
                    line.sendall(bytes([key]))
                    self._settle(quiet=0.5 * min(self.slowness, 4))
                # A CPU with interrupts off hears nothing else, and its stack is the one that matters.
                qmp.execute("inject-nmi")
                self._settle(quiet=1.0 * min(self.slowness, 4))
        except OSError:
            return  # it died meanwhile: the console has what there is

    def _take_console(self, reach: Reach, qmp: Monitor) -> socket.socket:
        """The serial line for both directions: virtme-ng's own backend can only print."""
        with suppress(OSError):
            return reach.connect("console")
        address = {"type": "unix", "data": {"path": "/ringrig/sockets/console"}}
        backend = {"type": "socket", "data": {"addr": address, "server": True, "wait": False}}
        qmp.execute("chardev-change", id="console", backend=backend)
        line = reach.connect("console")
        with self.console.open("ab") as file:
            drain = subprocess.Popen(["cat"], stdin=line.fileno(), stdout=file, start_new_session=True)
        self.drains.append(drain)
        return line

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            end_box(self.process)
            for drain in self.drains:  # the last words are still on their way to the files
                with suppress(subprocess.TimeoutExpired):
                    drain.wait(timeout=1)
            shutil.rmtree(self.sockets, ignore_errors=True)

    def console_size(self) -> int:
        try:
            return self.console.stat().st_size
        except FileNotFoundError:
            return 0

    def bytes_of_guest(self) -> int:
        """What the kernel itself printed. Nothing else on the console is a sign of life: QEMU's complaints, or what the
        set-up code and the decompressor may get to say even where KVM is broken."""
        try:
            return sum(map(len, _KERNEL_LINE.findall(self.console.read_bytes())))
        except FileNotFoundError:
            return 0

    def _settle(self, *, quiet: float) -> None:
        """Wait until the console has been silent for `quiet` seconds (at most ten times that)."""
        limit, size, since = time.monotonic() + 10 * quiet, -1, time.monotonic()
        while time.monotonic() < min(limit, since + quiet):
            if (now := self.console_size()) != size:
                size, since = now, time.monotonic()
            time.sleep(0.05)

    def no_boot(self, why: str) -> NoBoot:
        self.end()
        tail = guests.last_words(self.console, self.log)
        return NoBoot(
            f"{self.facts['label']}: {why}. The console's end:\n{tail}",
            next_step=f"read {self.console}; try --accel tcg, or another --kernel to tell the machine from the kernel",
        )


def start(plan: Plan, *, name: str, folder: Path, config: Config, say: Callable[[str], None]) -> QemuGuest:
    """Boot the plan's image and return at once; `stream()` waits for it.

    KVM is tried where it may work, and given up for good where it does not. `folder` gets the console and
    logs. HostLacks: no QEMU, no bubblewrap. NoBoot: not a sign of life under the accelerator that was asked
    for.
    """
    choice = accel.choose(config.accel)
    guest = _launch(plan, name, folder, config, choice.kind)
    if choice.certain:
        return guest
    why = accel.witness(guest.alive, guest.bytes_of_guest)
    if why is None:
        accel.remember("kvm", "a guest printed under KVM")
        return guest
    if config.accel == "kvm":
        raise guest.no_boot(f"no sign of life under KVM ({why})")
    guest.end()
    say(f"KVM does not work here ({why}): guests are emulated (TCG)")
    guest = _launch(plan, name, folder, config, "tcg")
    # Only a guest that prints under TCG shows that it was KVM's fault.
    if accel.witness(guest.alive, guest.bytes_of_guest) is None:
        accel.remember("tcg", why)
    return guest


def _launch(plan: Plan, name: str, folder: Path, config: Config, kind: str) -> QemuGuest:
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        raise HostLacks(
            "There is no qemu-system-x86_64 here.",
            next_step="start with ./rig, which installs it (Debian: qemu-system-x86), or use --kernel host",
        )
    sockets = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=plan.scratch))
    console, log = folder / "console.log", folder / "virtme-ng.log"
    folder.mkdir(parents=True, exist_ok=True)
    console.write_bytes(b"")
    image = Path(plan.path)
    home = Path(plan.modules) if plan.modules else image.parent
    inside = Path("/ringrig/kernel") / image.relative_to(home)
    box = Box(
        readable={
            **python_parts(),
            "/ringrig/kernel": home,
            "/ringrig/keys": plan.keys,
            "/ringrig/guest": _GUEST_FILES,
            **{f"/ringrig/pack/{name}": Path(plan.pack, name) for name in plan.zips},
            "/ringrig/suite.tar": Path(plan.suite),
            **({"/ringrig/root": Path(plan.root)} if plan.root else {"/ringrig/sshd": Path(plan.sshd)}),
            **({"/ringrig/root/usr/lib/modules": home / "lib/modules"} if plan.root and plan.modules else {}),
        },
        writable={"/ringrig/sockets": sockets},
        kvm=True,
    )
    where = "/ringrig/sockets"
    opts = " ".join(
        [
            f"-chardev socket,id=rigssh,path={where}/ssh,server=on,wait=off",
            f"-device virtio-serial-pci -device virtserialport,chardev=rigssh,name={_SSH_PORT}",
            *([_TCG] if kind == "tcg" else []),
            f"-qmp unix:{where}/qmp,server=on,wait=off -gdb unix:{where}/gdb,server=on,wait=off",
        ]
    )
    bin_dir = Path(sys.prefix, "bin")
    command = [
        str(bin_dir / "vng"),
        "--run",
        str(inside),
        "--force-9p",
        "--disable-microvm",
        "--name",
        name,
        "--cpus",
        str(config.cpus),
        "--memory",
        config.memory,
        *(["--disable-kvm"] if kind == "tcg" else []),
        *(["--root", "/ringrig/root", "--rodir", "/ringrig=/ringrig"] if plan.root else []),
        f"--append={_APPEND}",
        f"--qemu-opts={opts}",
        "--verbose",
        "--exec",
        "sh /ringrig/guest/boot.sh",
    ]
    argv, alive = box.bound(command, scratch=sockets)
    # With --verbose the serial console is virtme-ng's standard error.
    drains = [_drain(log), _drain(console)]
    out, err = (drain.stdin for drain in drains)
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            pass_fds=[alive],
            env={"PATH": f"{bin_dir}:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TERM": "dumb"},
        )
    finally:
        for pipe in (out, err):
            assert pipe is not None
            pipe.close()
    facts: dict[str, object] = {
        "label": plan.label,
        "path": plan.path,
        "guest": "qemu",
        "accel": kind,
        "cpus": config.cpus,
        "memory": config.memory,
        "root": plan.root or "host",
        "root over": "9p",
        "virtme-ng": version("virtme-ng"),
        "qemu": qemu_version(),
        "command": argv,
    }
    (folder / "guest.json").write_text(json.dumps(facts, indent=1) + "\n")
    slowness = 1.0 if kind == "kvm" else accel.TCG_SLOWNESS
    return QemuGuest(
        name=name,
        console=console,
        slowness=slowness,
        process=process,
        sockets=sockets,
        log=log,
        deadline=time.monotonic() + BOOT_SECONDS * slowness,
        facts=facts,
        drains=drains,
    )


def _drain(path: Path) -> subprocess.Popen[bytes]:
    """A pipe that ends in a file: QEMU reopens its standard streams by name with O_TRUNC, which would cut a
    file.
    """
    with path.open("ab") as file:
        return subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file, start_new_session=True)


def qemu_version() -> str:
    out = subprocess.run(
        ["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=False
    ).stdout
    return out.splitlines()[0].removeprefix("QEMU emulator version ") if out else "unknown"
