"""The rig's own failures, each with the next step to take; a case's failure is never one of them.

Exit codes 0–5 keep pytest's meaning; the rig's own start at 10 (docs/exit-codes.md lists them all).
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class RigError(Exception):
    """What went wrong, in a full sentence, and the next step for the person who reads it."""

    exit_code: ClassVar[int] = 10

    def __init__(self, what: str, *, next_step: str) -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what}\n  next: {self.next_step}"


class BadSpec(RigError, ValueError):
    """An argument (kernel spec, image name, …) has no meaning."""

    exit_code = 11


class KernelUnavailable(RigError, LookupError):
    """The spec is well formed, but no such package, file, tree or board is to be had."""

    exit_code = 12


class NotAKernel(RigError, ValueError):
    """The file is there and is no bootable kernel image."""

    exit_code = 13


class HostLacks(RigError, RuntimeError):
    """This machine lacks a program or package that the job needs."""

    exit_code = 14


class NoBoot(RigError, RuntimeError):
    """The kernel did not reach the agent."""

    exit_code = 15


class GuestLacks(RigError, RuntimeError):
    """The kernel runs, but lacks what every case needs (io_uring, 9p, …)."""

    exit_code = 16


class WrongKernel(RigError, RuntimeError):
    """The kernel that runs is not the one that was meant (GNU build-id)."""

    exit_code = 17


class NoSpace(RigError, OSError):
    """A file system is full or cannot be written."""

    exit_code = 18


class GuestLost(RigError, RuntimeError):
    """A guest stopped answering or died; its console says more."""

    exit_code = 19


class NothingRan(RigError, RuntimeError):
    """Every case was skipped or left out: that is no pass."""

    exit_code = 20


class BadConfig(RigError, ValueError):
    """A configuration fragment with a line that is no option, or an option that did not come out as asked for."""

    exit_code = 21


class BadPatch(RigError, ValueError):
    """A patch that is none, or that does not apply to the source it is for."""

    exit_code = 22


class BuildFailed(RigError, RuntimeError):
    """The kernel's own build failed; the compiler's words are in the message, the whole log in the cache."""

    exit_code = 23
    log: Path | None = None


class BadCatalogue(RigError, ValueError):
    """A file of mutants that cannot be read, or a mutant that the source cannot take."""

    exit_code = 24


class NotClean(RigError, RuntimeError):
    """Cases fail on the unchanged kernel, so that a failure under a mutant would say nothing."""

    exit_code = 25


class CasePasses(RigError, RuntimeError):
    """A case that was to be explained fails in none of its runs."""

    exit_code = 27


class ClusterAway(RigError, ConnectionError):
    """No scheduler answers, or it has no worker that can take a job."""

    exit_code = 28


class NoVerdict(RigError, RuntimeError):
    """A run that a campaign cannot do without ended without a verdict: a series' base, or a machine that fails."""

    exit_code = 30


class NotReproducible(RigError, RuntimeError):
    """No C program can be made that shows what a case shows: the message says what stands in the way."""

    exit_code = 26


class WrongEnds(RigError, ValueError):
    """An end of a bisection is not what it was said to be, or there is nothing between the two."""

    exit_code = 29
