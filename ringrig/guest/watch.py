"""What the agent watches on the kernel around each case: log, taint, pinned pages.

Standard library only. Every reading that cannot be made is named in `blind` and never guessed (law 6).
"""

from __future__ import annotations

import os
import time

_PIN_COUNTERS = (b"nr_foll_pin_acquired ", b"nr_foll_pin_released ")
_LOG_LIMIT = 4000
"""Records of one case that travel to the host; a kernel that logs more has said enough (the console has
all).
"""


class Watch:
    """Readings of the running kernel. `blind` maps what cannot be read to why."""

    def __init__(self, *, marks: bool) -> None:
        self.blind: dict[str, str] = {}
        self._log = self._open("kernel log", "/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        self._mark = self._open("marks", "/dev/kmsg", os.O_WRONLY) if marks else None
        self._taint = self._open("taint", "/proc/sys/kernel/tainted", os.O_RDONLY)
        self._vmstat = self._open("pinned pages", "/proc/vmstat", os.O_RDONLY)
        # A kernel for one CPU counts exactly, and has nothing to refresh.
        exact = "SMP" not in os.uname().version.split()
        refresh = "/proc/sys/vm/stat_refresh"
        self._refresh = None if exact else self._open("pinned pages exactly", refresh, os.O_RDONLY)
        self._pinned = self.pins()
        if self._vmstat is not None and self._pinned is None:
            self.blind["pinned pages"] = "no nr_foll_pin_* counters in /proc/vmstat"
        if self._log is not None:
            os.lseek(self._log, 0, os.SEEK_END)

    def _open(self, what: str, path: str, flags: int) -> int | None:
        try:
            return os.open(path, flags | os.O_CLOEXEC)
        except OSError as error:
            self.blind[what] = f"{path}: {error.strerror}"
            return None

    def mark(self, text: str) -> None:
        """A line in the kernel log, so that a person (and the host, when the guest dies) sees where a case
        begins.
        """
        if self._mark is not None:
            try:
                os.write(self._mark, b"<14>ringrig: " + text.encode()[:900] + b"\n")
            except OSError as error:
                self.blind["marks"] = f"/dev/kmsg: {error.strerror}"

    def log(self) -> list[str]:
        """The kernel's own records since the last call, in /dev/kmsg's format: `prio,seq,usec,flags;text`."""
        out: list[str] = []
        while self._log is not None:
            try:
                record = os.read(self._log, 8192)
            except BlockingIOError:
                break
            except BrokenPipeError:  # records were overwritten before they were read: that is worth knowing
                out.append("4,0,0,-;ringrig: kernel log records were lost here")
                continue
            except OSError as error:
                self.blind["kernel log"] = f"/dev/kmsg: {error.strerror}"
                break
            facility = int(record.split(b",", 1)[0]) >> 3
            if facility == 0 and len(out) < _LOG_LIMIT:
                out.append(record.decode(errors="replace").rstrip("\n"))
        return out

    def taint(self) -> int | None:
        """/proc/sys/kernel/tainted, a bit set."""
        return None if self._taint is None else int(os.pread(self._taint, 32, 0))

    def pins(self) -> int | None:
        """Pages pinned now by the whole kernel: acquired less released (mm/gup.c counts both)."""
        if self._vmstat is None:
            return None
        if self._refresh is not None:  # each CPU keeps small differences to itself until asked (mm/vmstat.c)
            os.pread(self._refresh, 1, 0)
        text = b""
        while part := os.pread(self._vmstat, 1 << 16, len(text)):
            text += part
        values = []
        for name in _PIN_COUNTERS:
            at = text.find(name)
            if at < 0:
                return None
            values.append(int(text[at + len(name) : text.index(b"\n", at)]))
        return values[0] - values[1]

    def pins_back(self, *, seconds: float) -> int:
        """Wait until no more pages are pinned than at the last call; rings are torn down asynchronously.

        Pages left over at the limit, which the next call takes for granted.
        """
        limit, pause, before = time.monotonic() + seconds, 0.0005, self._pinned
        while True:
            now = self._pinned = self.pins()
            if now is None or before is None or now <= before:
                return 0
            if time.monotonic() > limit:
                return now - before
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
