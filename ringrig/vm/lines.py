"""file:line of the source that was built, beside each function in a splat or a stack."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import defaultdict
from functools import cached_property
from itertools import pairwise
from pathlib import Path

# As the kernel prints an address: symbol+offset/size (kernel/kallsyms.c, sprint_symbol()).
_PLACE = re.compile(r"(?<![\w.])([A-Za-z_][\w.]*)\+0x([0-9a-f]+)/0x([0-9a-f]+)")
_SOURCE = "/build/src/"


class Lines:
    """The line tables of one kernel; without a vmlinux, or without binutils, texts stay as they are."""

    def __init__(self, vmlinux: Path | None) -> None:
        self._vmlinux = vmlinux if vmlinux is not None and shutil.which("addr2line") else None

    def annotate(self, text: str) -> str:
        """The text with `(io_uring/kbuf.c:181)` after each address; after an inlined one, with where it is inlined."""
        if self._vmlinux is None or not _PLACE.search(text):
            return text
        lines = text.split("\n")
        wanted = {found[0]: self._address(found, line) for line in lines for found in _PLACE.finditer(line)}
        places = self._look_up({address for address in wanted.values() if address})

        def told(found: re.Match[str]) -> str:
            place = places.get(wanted[found[0]] or 0)
            return f"{found[0]} ({place})" if place else found[0]

        return "\n".join(_PLACE.sub(told, line) for line in lines)

    def where(self, function: str) -> str:
        """file:line at which a function begins; empty if there is none of that name, or more than one."""
        starts = self._symbols[0].get(function, []) if self._vmlinux is not None else []
        return self._look_up(set(starts)).get(starts[0], "") if len(starts) == 1 else ""

    @cached_property
    def _symbols(self) -> tuple[dict[str, list[int]], dict[int, int]]:
        """Addresses by name, and by address where the next symbol begins, which is how the kernel counts sizes."""
        out = subprocess.run(["nm", str(self._vmlinux)], capture_output=True, text=True, check=False).stdout
        found = [line.split() for line in out.splitlines()]
        named = [(int(words[0], 16), words[2]) for words in found if len(words) == 3 and words[1] in "tTwW"]
        by_name: dict[str, list[int]] = defaultdict(list)
        for address, name in named:
            by_name[name].append(address)
        starts = sorted({address for address, _ in named})
        return by_name, dict(pairwise(starts))

    def _address(self, found: re.Match[str], line: str) -> int | None:
        by_name, ends = self._symbols
        starts = by_name.get(found[1], [])
        if len(starts) > 1:  # static functions of one name: told apart by their size
            starts = [start for start in starts if ends.get(start, 0) - start == int(found[3], 16)]
        if len(starts) != 1:
            return None
        # A call trace holds return addresses, which may lie on the next line already.
        back = 0 if "RIP" in line or found[2] == "0" else 1
        return starts[0] + int(found[2], 16) - back

    def _look_up(self, addresses: set[int]) -> dict[int, str]:
        argv = ["addr2line", "-a", "-i", "-e", str(self._vmlinux), *map(hex, sorted(addresses))]
        out = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
        chains: dict[int, list[str]] = {}
        address = 0
        for line in out.splitlines():
            if re.fullmatch(r"0x[0-9a-f]+", line):
                address = int(line, 16)
                chains[address] = []
            elif not line.startswith("?"):
                chains[address].append(_short(line))
        return {
            at: ", inlined at ".join([chain[0], *chain[-1:]] if len(chain) > 1 else chain)
            for at, chain in chains.items()
            if chain
        }


def _short(place: str) -> str:
    """The file below the source's top: the build names it in several ways."""
    path, _, number = place.partition(" (")[0].rpartition(":")
    inside = os.path.normpath(path)
    return f"{inside.removeprefix(_SOURCE)}:{number}"
