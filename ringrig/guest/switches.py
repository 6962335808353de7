"""The switches of a kernel that has mutants in it (mutants/kernel/mutants.c): which is on, and which were met."""

from __future__ import annotations

import ctypes
import os
from array import array

_DEBUGFS = "/sys/kernel/debug"
_libc = ctypes.CDLL(None, use_errno=True)


class Switches:
    """Opened when first asked for: only the guest of a campaign has any. OSError: this kernel has none."""

    def __init__(self) -> None:
        self._mutant = self._reached = -1

    def choose(self, mutant: int) -> None:
        """Switch `mutant` on and all others off (0: all), and forget what was reached."""
        if self._mutant < 0:
            if not os.path.ismount(_DEBUGFS) and _libc.mount(b"none", _DEBUGFS.encode(), b"debugfs", 0, None):
                raise OSError(ctypes.get_errno(), "debugfs cannot be mounted", _DEBUGFS)
            self._mutant = os.open(f"{_DEBUGFS}/ringrig/mutant", os.O_WRONLY | os.O_CLOEXEC)
            self._reached = os.open(f"{_DEBUGFS}/ringrig/reached", os.O_RDWR | os.O_CLOEXEC)
        os.write(self._mutant, str(mutant).encode())
        os.pwrite(self._reached, b"0", 0)

    def reached(self) -> str:
        """The mutants whose place was executed since: a number in hex, with bit N for mutant N."""
        data = b""
        while part := os.pread(self._reached, 1 << 16, len(data)):
            data += part
        return hex(sum(1 << number for number, count in enumerate(array("I", data)) if count))
