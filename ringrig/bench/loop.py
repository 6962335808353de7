"""nops.c as Python sees it. Travels to guests: nothing but the standard library and cffi's backend."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

LIBRARY = "libnops.so"
DECLARATIONS = "_ringrig_nops"
BATCH = 32
"""Requests submitted and completed at a time (nops.c)."""


class Fault(RuntimeError):
    """A check of the loop failed: the kernel did something else than the benchmark is about."""


class Native(NamedTuple):
    """cffi's two halves: memory and types, and the functions of nops.h."""

    ffi: Any
    lib: Any


class Request(NamedTuple):
    """What is submitted: an opcode, and for a read its file and length."""

    opcode: int
    fd: int = -1
    length: int = 0


class Loop:
    """One row's ring, its buffers and its request."""

    def __init__(
        self, native: Native, request: Request, *, buffers: str, replenish: int, layout: str
    ) -> None:
        """`buffers` is one of nops.h's NOPS_…, `layout` merged or rfc. Fault: the kernel refuses the set-up."""
        self._ffi, self._lib = native
        self._fault = self._ffi.new("struct nops_fault *")
        row = self._ffi.new("struct nops_row *")
        row.opcode, row.fd, row.len = request
        row.buffers, row.replenish = getattr(self._lib, buffers), replenish
        row.layout = self._lib.NOPS_RFC if layout == "rfc" else self._lib.NOPS_MERGED
        self._nops = self._lib.nops_open(row, self._fault)
        if self._nops == self._ffi.NULL:
            raise self._failed()

    def run(self, batches: int) -> float:
        """Seconds that so many batches took. Fault: a completion is not what it must be."""
        nanoseconds: int = self._lib.nops_run(self._nops, batches, self._fault)
        if nanoseconds < 0:
            raise self._failed()
        return nanoseconds / 1e9

    def close(self) -> None:
        """Give the ring and its memory back; a second call does nothing."""
        if self._nops != self._ffi.NULL:
            self._lib.nops_close(self._nops)
            self._nops = self._ffi.NULL

    def _failed(self) -> Fault:
        what, got = self._ffi.string(self._fault.what).decode(), self._fault.got
        meant = f" ({os.strerror(-got)})" if -4096 < got < 0 else ""
        return Fault(f"{what} is {got}{meant}, and must be {self._fault.wanted}")


def load(folder: Path) -> Native:
    """What native.build() left in `folder`. ImportError: no cffi backend there or here fits this Python."""
    sys.path.append(str(folder))
    module: Any = importlib.import_module(DECLARATIONS)
    return Native(ffi=module.ffi, lib=module.ffi.dlopen(str(folder / LIBRARY)))
