"""What a stuck process looks like from outside: its threads, its rings, and who holds the lock it waits for.

/proc/PID/task/*/stack wants root and CONFIG_STACKTRACE. Who holds a lock, and since where, lockdep alone knows.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_HELD_BY = re.compile(r"\d+ locks? held by (.*)/(\d+):")
_LOCK = re.compile(r"#\d+: (\S+) \((.+?)\)\{[^}]*\}-\{[^}]*\}, at: (\S+)")
_FRAME = re.compile(r"\[<[0-9a-f]*>\] (\S+)")
_LOCKING = re.compile(r"_*(switch_to|schedule|mutex|rt_mutex|rwsem|down_)")
_IDLE = re.compile(r"io_wqe?_worker\b")
_LOCKDEP = Path("/proc/lockdep_stats")
_SYSRQ = Path("/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """One thread as /proc shows it; io-wq workers are among a process's threads."""

    tid: int
    name: str
    state: str
    syscall: str
    stack: str

    @property
    def uninterruptible(self) -> bool:
        return self.state.startswith("D")

    @property
    def frames(self) -> list[str]:
        return _FRAME.findall(self.stack)

    @property
    def place(self) -> str:
        """The first function that is not the lock's own."""
        frames = self.frames
        return next((frame for frame in frames if not _LOCKING.match(frame)), "an unknown place")

    def __str__(self) -> str:
        lines = [f"thread {self.tid} {self.name} state {self.state}", f"  syscall {self.syscall}"]
        return "\n".join([*lines, *(f"  {line}" for line in self.stack.splitlines())])


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A line of lockdep's: a task that has taken `lock`, or waits for it, at function `place`."""

    tid: int
    task: str
    address: str
    lock: str
    place: str


class Watched:
    """`work` in a thread of its own, which may never come back; what it raises is raised here."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._error = error

    def ended_within(self, seconds: float) -> bool:
        """Start, and wait that long at most."""
        self._thread.start()
        self._thread.join(seconds)
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()


def threads(pid: int) -> list[Thread]:
    """All threads of a process, the main one first."""
    found = []
    for task in sorted(Path(f"/proc/{pid}/task").glob("*"), key=lambda path: int(path.name)):
        fields = dict(line.split(":\t", 1) for line in _read(task / "status").splitlines() if ":\t" in line)
        found.append(
            Thread(
                tid=int(task.name),
                name=fields.get("Name", "?"),
                state=fields.get("State", "?"),
                syscall=_read(task / "syscall").strip(),
                stack=_read(task / "stack"),
            )
        )
    return found


def asleep(tid: int) -> bool:
    """A thread of this process sleeps in the kernel.

    A thread of Python's that waits for the interpreter's lock seems so too; not as its state is read, as this lets go of the lock.
    """
    stat = Path(f"/proc/self/task/{tid}/stat").read_text(encoding="ascii")
    return stat.rpartition(") ")[2].startswith("S")


def portrait(pid: int) -> str:
    """Each thread's state and kernel stack, and what the process's rings say of themselves."""
    out = [str(thread) for thread in threads(pid)]
    for fd in sorted(Path(f"/proc/{pid}/fd").glob("*"), key=lambda path: int(path.name)):
        with contextlib.suppress(OSError):
            if "io_uring" in str(fd.readlink()):
                out.append(f"fd {fd.name} {fd.readlink()!s}")
                out += [f"  {line}" for line in _read(Path(f"/proc/{pid}/fdinfo/{fd.name}")).splitlines()]
    return "\n".join(out) or f"process {pid}: nothing to be read"


def diagnosis(pid: int, *, own_kernel: bool) -> str:
    """What hangs, in which lock, and who holds it; then the portrait.

    `own_kernel`: the kernel's log may be asked for all locks held (sysrq d), which a shared one's may not.
    """
    seen = threads(pid)
    stuck = [thread for thread in seen if thread.uninterruptible]
    if not stuck:
        return f"no thread is stuck in the kernel: what the case waits for does not come\n{portrait(pid)}"
    lines = [
        f"{thread.name}/{thread.tid} hangs in the kernel, uninterruptible: waits "
        f"{'for a mutex' if any('mutex' in frame for frame in thread.frames) else ''} in {thread.place}"
        for thread in stuck
    ]
    lines += [
        f"{thread.name}/{thread.tid} is an idle io-wq worker: it will not let go of anything"
        for thread in seen
        if thread.name.startswith("iou-wrk") and _IDLE.match(thread.place)
    ]
    lines += _holders(seen, own_kernel=own_kernel)
    return "\n".join([*lines, portrait(pid)])


def _holders(seen: list[Thread], *, own_kernel: bool) -> list[str]:
    if not _LOCKDEP.exists():
        return [
            "who holds it: not recorded, this kernel is built without lockdep (--config base,debug has it)"
        ]
    if not own_kernel:
        return ["who holds it: lockdep knows, but a shared kernel's log is not filled for it (sysrq d)"]
    try:
        table = parse_held(ask_locks())
    except OSError as error:
        return [f"who holds it: sysrq d failed: {error}"]
    return name_holders(seen, table)


def name_holders(seen: list[Thread], table: list[Held]) -> list[str]:
    """What `table` says of the locks that stuck threads of `seen` wait for."""
    threads_by_id = {thread.tid: thread for thread in seen}

    def waits(one: Held) -> bool:
        thread = threads_by_id.get(one.tid)
        return thread is not None and thread.uninterruptible and thread.place == one.place

    wanted = {one.address for one in table if waits(one)}
    lines = []
    for one in table:
        if one.address not in wanted:
            continue
        said = f"{one.task}/{one.tid} {'waits for' if waits(one) else 'holds'} {one.lock}, at {one.place}"
        if not waits(one) and one.tid in threads_by_id:
            thread = threads_by_id[one.tid]
            said += f"; it is now in {thread.place}, state {thread.state}"
        lines.append(said)
    return lines or ["who holds it: no living task, says lockdep"]


def ask_locks() -> str:
    """The kernel's "Showing all locks held in the system", through its log; OSError where that is not to be had."""
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.lseek(log, 0, os.SEEK_END)
        _SYSRQ.write_text("d")
        records = []
        with contextlib.suppress(BlockingIOError):
            while True:
                records.append(os.read(log, 8192).decode(errors="replace").partition(";")[2])
        return "".join(records)
    finally:
        os.close(log)


def parse_held(text: str) -> list[Held]:
    """lockdep's table (kernel/locking/lockdep.c, debug_show_all_locks())."""
    found, task, tid = [], "", 0
    for line in text.splitlines():
        if by := _HELD_BY.search(line):
            task, tid = by[1], int(by[2])
        elif lock := _LOCK.search(line):
            found.append(Held(tid=tid, task=task, address=lock[1], lock=lock[2], place=lock[3]))
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        return f"({path}: {error.strerror})"
