"""The indexes of a kernel's modules, made once in the cache.

virtme-ng would make missing ones itself: every guest at the same time, and in the user's own folder.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ringrig import cache
from ringrig.errors import HostLacks, KernelUnavailable


def index(root: Path, release: str) -> None:
    """Runs depmod over root/lib/modules/<release>. Raises HostLacks, KernelUnavailable, NoSpace."""
    depmod = shutil.which("depmod", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if depmod is None:
        raise HostLacks(
            "There is no depmod here.", next_step="start with ./rig, which installs it (Debian: kmod)"
        )
    done = subprocess.run([depmod, "-b", str(root), release], capture_output=True, text=True, check=False)
    if "No space left" in done.stderr:
        raise cache.full(f"indexing the modules of {release}")
    if done.returncode:
        raise KernelUnavailable(
            f"depmod cannot index the modules of {release}: {done.stderr.strip()[-400:]}",
            next_step="build the modules again, or `rig cache clear` and start again",
        )
