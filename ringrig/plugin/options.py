"""The rig's options, and those of pytest that cannot work where cases run elsewhere."""

from __future__ import annotations

import argparse
import math
import re

import pytest

from ringrig.model.profiles import profiles


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ringrig", "kernel under test")
    group.addoption(
        "--kernel",
        metavar="K",
        help="host, debian[:X.Y], debian-uml[:X.Y], source[:X.Y], tree:PATH[@REV], a file, ssh:[user@]host[:port]",
    )
    group.addoption(
        "--config",
        action="append",
        default=[],
        metavar="NAME|FILE[,…]",
        help="source, tree: configuration fragments (kconfigs/ or yours); base comes first",
    )
    group.addoption(
        "--patch",
        action="append",
        default=[],
        metavar="FILE|DIR",
        help="source, tree: patches to build it with",
    )
    group.addoption(
        "--guest",
        choices=["auto", "qemu", "uml"],
        default="auto",
        help="qemu, or uml (User-Mode Linux: native speed without KVM); default: qemu where KVM works or the image "
        "is prebuilt for it, else uml",
    )
    group.addoption(
        "--image",
        default="host",
        metavar="NAME",
        help="a guest's root: host (this machine, read-only) or debian",
    )
    group.addoption(
        "--accel",
        choices=["auto", "kvm", "tcg"],
        default="auto",
        help="how QEMU runs a guest (default: what works)",
    )
    group.addoption("--cpus", type=int, default=2, metavar="N", help="CPUs of a guest (default: 2)")
    group.addoption("--memory", default="1G", metavar="SIZE", help="memory of a guest (default: 1G)")
    group.addoption(
        "--case-timeout",
        type=float,
        default=20.0,
        metavar="S",
        help="deadline of a case, in seconds at native speed (20)",
    )
    group.addoption(
        "--run-folder",
        metavar="DIR",
        help="where the run leaves its results (default: a new folder in runs/)",
    )
    group.addoption("--fresh-vm", action="store_true", help="boot a guest for every case")
    group.addoption(
        "--keep-guest",
        action="store_true",
        help="stop at the first failure, with the guest alive and a shell in it",
    )
    group.addoption(
        "--require",
        action="append",
        default=[],
        metavar="CAPABILITY",
        help="a case left out for want of it fails",
    )
    group.addoption(
        "--crashing",
        action="store_true",
        help="on host and ssh: run also cases that can crash a broken kernel",
    )
    group.addoption(
        "--judged-by",
        metavar="PROFILE",
        help="the model's profile that a kernel must match (default: that of its release); "
        "frozen where a series or a bisection must not choose its judge",
    )
    group.addoption(
        "--model-budget",
        type=_seconds,
        default=0.0,
        metavar="TIME",
        help="suites/model: each of its cases goes on with fresh seeds for TIME (90, 10m, 2h); they are printed",
    )
    group.addoption(
        "--model-seed",
        type=int,
        default=None,
        metavar="N",
        help="suites/model: all of its cases explore from seed N instead of their own",
    )
    group.addoption(
        "--race-seed",
        default=None,
        metavar="N",
        help="suites/concurrency: all of its cases roll with seed N (a number or a word) instead of their own",
    )


def _seconds(text: str) -> float:
    """Of `90`, `90s`, `10m` or `2h`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: seconds, or a number with m or h behind it")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def check(config: pytest.Config) -> None:
    """Refuse, with the reason, what cannot work with a case in another process or on another machine."""
    get = config.getoption
    if get("usepdb", False) or get("trace", False):
        raise pytest.UsageError(
            "--pdb and --trace cannot work: the case runs in a forked child of an agent, with no terminal. "
            "Use --keep-guest for a shell beside the failed case, or -l and -vv for its variables."
        )
    if get("capture", "fd") == "no" and not config.pluginmanager.hasplugin("ringrig.plugin.shell"):
        raise pytest.UsageError(
            "-s cannot work: the case's output belongs to another process and comes back with its report. "
            "Use -rA to see the output of passed cases too."
        )
    if get("keep_guest") and get("numprocesses", None):
        raise pytest.UsageError("--keep-guest keeps one guest for one terminal: leave out -n.")
    if get("fresh_vm") and (get("kernel") == "host" or get("kernel").startswith("ssh:")):
        raise pytest.UsageError(
            f"--fresh-vm needs a kernel that the rig boots; {get('kernel')} is up already."
        )
    if not 0 < get("case_timeout") < math.inf:
        raise pytest.UsageError("--case-timeout takes seconds, more than 0.")
    if get("cpus") < 1:
        raise pytest.UsageError("--cpus takes a number, at least 1.")
    if not re.fullmatch(r"[1-9]\d*[MG]", get("memory")):
        raise pytest.UsageError("--memory takes a size like 512M or 2G.")
    if get("judged_by") and get("judged_by") not in profiles():
        raise pytest.UsageError(f"--judged-by takes one of: {', '.join(profiles())}")
    if get("keep_guest"):
        config.option.maxfail = 1
