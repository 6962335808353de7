"""`rig series` called by b4, once for each mail of a series: the mail comes on standard input, b4 tells or is asked what it belongs to.

The whole series is tested at the first call; the others find it done, for its folder is named by what is tested.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import b4

from ringrig.cache import Say, locked, writing
from ringrig.campaign import asked as asking
from ringrig.campaign import intake, kept, series
from ringrig.campaign.asked import Asked
from ringrig.campaign.patches import Given, has_diff, patch_id
from ringrig.campaign.rows import Series
from ringrig.errors import BadSpec
from ringrig.kernel.repo import asks, git_bytes


def run(arguments: Sequence[str], *, root: Path, say: Say) -> tuple[Series, int | None]:
    """The series that a mail belongs to, tested, and the mail's number in it: 0 for a cover letter, or where no mail came.

    None: the mail is of a revision that was not tested.

    BadSpec: b4 does not say which series that is; and RigErrors of the series.
    """
    chosen = asking.parser().parse_intermixed_args(arguments)
    first = Path(chosen.given[0]).resolve() if chosen.given else root
    if chosen.resume or (first.exists() and not first.is_relative_to(root)):
        return series.run(arguments, root=root, say=say), 0
    mail = sys.stdin.buffer.read()
    given = _of_prep() if chosen.b4_prep_check else _of_review(mail, chosen)
    asked = asking.ask(chosen, given, chosen.given, root=root, say=say)
    folder = root / "runs" / f"b4-{_digest(asked)}_series"
    with locked(f"series/{folder.name}", say=say):  # b4 may be at work twice
        known = asking.stored(folder)[1] if (folder / kept.FILE).exists() else ()
        with writing("a folder below runs", folder):
            folder.mkdir(parents=True, exist_ok=True)
        if not known:
            asking.store(asked, folder)
        applied = series.begin(asked, folder, known, chosen=chosen, say=say)
        if known and known != applied.trees:  # a tree that is tested as it is has changed
            for file in folder.glob("*/job.json"):
                file.unlink()
            asking.store(asked, folder, applied.trees)
        tested = series.carry_out(asked, applied, folder, chosen=chosen, root=root, say=say)
    return tested, _number(given, mail, prep=chosen.b4_prep_check)


def _of_prep() -> Given:
    """The series of the b4 prep branch that is checked out."""
    top = asks(["rev-parse", "--show-toplevel"], where=Path.cwd())
    program = shutil.which("b4") or str(Path(sys.executable).with_name("b4"))
    command = [program, "--offline-mode", "-n", "prep", "--show-info", "series-range"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if top is None or done.returncode or ".." not in done.stdout:
        raise BadSpec(
            f"b4 does not say what series this is: {done.stderr.strip() or 'no git tree here'}",
            next_step="set b4.prep-perpatch-check-cmd to this command, and run `b4 prep --check` on a prep branch",
        )
    return intake.take(done.stdout.strip(), tree=Path(top), revision=None)


def _of_review(mail: bytes, chosen: argparse.Namespace) -> Given:
    """The thread that b4 keeps of a series under review; without one, the patch if it is a series by itself."""
    tracking = os.environ.get("B4_TRACKING_FILE")
    told = json.loads(Path(tracking).read_text()).get("series", {}) if tracking else {}
    if blob := told.get("thread-blob"):
        return intake.of_bytes(
            git_bytes(["cat-file", "blob", blob], where=Path.cwd()), chosen.revision, name="the thread"
        )
    subject = b4.LoreSubject(str(intake.mail_of(mail)["Subject"] or ""))
    if subject.expected > 1 or not has_diff(mail):
        raise BadSpec(
            f"{subject.full_subject!r} is a part of a series, and b4 does not say where the rest is.",
            next_step="take the series under review first, so that B4_TRACKING_FILE names its thread",
        )
    return intake.of_bytes(mail, None, name="the mail")


def _number(given: Given, mail: bytes, *, prep: bool) -> int | None:
    """Which patch of the series a mail is: by message-id, by what it changes, by its subject. None: it is of another revision."""
    message = intake.mail_of(mail)
    own = str(message["Message-Id"] or "").strip("<> ")
    about = b4.LoreSubject(str(message["Subject"] or ""))
    if found := [one.number for one in given.patches if own and one.message_id == own]:
        return found[0]
    if not prep and about.revision != given.revision:
        return None
    if not has_diff(mail):
        return 0
    changes = patch_id(mail)
    same = [one.number for one in given.patches if changes and patch_id(one.content) == changes]
    return next(iter([*same, *(one.number for one in given.patches if one.subject == about.subject)]), 0)


def _digest(asked: Asked) -> str:
    return hashlib.sha256(repr(asdict(asked)).encode()).hexdigest()[:12]
