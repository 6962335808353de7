"""What a run left out, and the command that completes it. Pure: reasons in, lines out."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence

from ringrig.vm.plan import Plan

_WHAT_NOW = {
    "own_kernel": "run them on a kernel of their own: --kernel debian:6.12, or any image",
    "hugetlb": "reserve some: sysctl vm.nr_hugepages=8",
    "compat32": "a kernel with CONFIG_IA32_EMULATION serves it: --config compat32 where it is built here",
    "loop_disk": "root on a kernel with CONFIG_BLK_DEV_LOOP: --config disks where it is built here",
    "fuse_file": "root on a kernel with CONFIG_FUSE_FS: --config disks where it is built here",
    "caught": "root on a kernel with CONFIG_PREEMPT: --config preempt,slub,kfence in QEMU where it is built here",
    "polled_disk": "root on a kernel with CONFIG_BLK_DEV_NULL_BLK: --config disks where it is built here",
}
# What User-Mode Linux has not, whatever the version (docs/guests.md); the same source in QEMU has it.
_UML_LACKS = ("hugetlb", "memfd_secret", "prot_none", "compat32")


def lines(plan: Plan, skipped: Mapping[str, str], arguments: Sequence[str]) -> list[str]:
    """For the verdict: cases left out by their reason, options that the architecture has not, and what to do.

    `skipped` has the reason by node id, `arguments` are the run's own.
    """
    out: list[str] = []
    reasons = Counter(skipped.values())
    if reasons:
        count = reasons.total()
        out.append(f"PARTIAL: {count} {'case was' if count == 1 else 'cases were'} left out:")
        out += [f"  {n:4} {why}{_what_now(plan, why)}" for why, n in reasons.most_common()]
    out += [f"PARTIAL: built without {option}" for option in plan.lacks]
    if plan.guest != "uml" or plan.kind != "image":
        return out
    of_uml = {nodeid.split("::")[0]: why for nodeid, why in skipped.items() if _is_of_uml(why)}
    if of_uml or plan.lacks:
        if any(why.startswith("needs compat32") for why in of_uml.values()):
            arguments = [*arguments, "--config=compat32"]
        completing = _completing(plan, sorted(of_uml), arguments)
        out.append(f"  → User-Mode Linux has no such thing; QEMU has: {completing}")
    return out


def _is_of_uml(why: str) -> bool:
    return any(why.startswith(f"needs {name}") for name in _UML_LACKS)


def _what_now(plan: Plan, why: str) -> str:
    if plan.guest == "uml" and _is_of_uml(why):
        return ""
    found = next((hint for name, hint in _WHAT_NOW.items() if why.startswith(f"needs {name}")), None)
    return f"\n       → {found}" if found else ""


def _completing(plan: Plan, files: Sequence[str], arguments: Sequence[str]) -> str:
    """The same kernel in QEMU, or, of what is prebuilt for UML only, Debian's own of that series."""
    built_here = plan.spec.startswith(("source", "tree:"))
    kernel = (
        plan.spec
        if built_here
        else f"debian:{plan.spec.partition(':')[2] or '.'.join(plan.release.split('.')[:2])}"
    )
    words = ["./rig", "run", "--kernel", kernel]
    if built_here:
        words += [word for word in arguments if word.startswith(("--config=", "--patch="))]
        words += ["--guest", "qemu"]
    return shlex.join([*words, *files])
