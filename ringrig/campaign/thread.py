"""A mailbox with a whole thread → the series in it, as b4 understands it: revisions, replies, follow-up trailers.

b4 is used as a library, and with nothing but the mailbox: it asks no server and reads no configuration.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from email.message import EmailMessage
from pathlib import Path

import b4

from ringrig.campaign.patches import Given, Patch
from ringrig.errors import BadPatch, BadSpec


def series(messages: Sequence[EmailMessage], *, revision: int | None, name: str) -> Given:
    """The newest revision in it, or the one that is wanted. `name`: what the mailbox is called in errors.

    BadSpec: it has no patch, or not that revision. BadPatch: a patch of the series is missing from it.
    """
    box = _box(messages)
    if not box.series:
        raise BadSpec(
            f"{name} holds no patch.", next_step="save the whole thread, for example with `b4 mbox`"
        )
    chosen(box.series, revision, name=name)
    found = box.get_series(revision, codereview_trailers=False)
    assert found is not None
    present = [number for number, one in enumerate(found.patches) if one is not None]
    check_whole(present, found.expected, name=f"{name}: v{found.revision}")
    patches = _patches(found, name)
    others = [one for number, one in box.series.items() if number != found.revision]
    notes = []
    if others and revision is None:
        listing = ", ".join(f"v{number}" for number in sorted(box.series))
        notes.append(f"{name} holds {listing}: v{found.revision} is taken (another: --revision N)")
    if found.partial_reroll:
        notes.append(
            f"v{found.revision} replaces some patches only: the others are those of the revision before"
        )
    if trailers := sum(len(one.trailers) for one in box.followups):
        notes.append(f"{trailers} trailers of replies are added where they belong, as `b4 am` does")
    return Given(
        title=found.subject or patches[0].subject,
        revision=found.revision,
        patches=patches,
        base=found.base_commit or "",
        prerequisites=tuple(found.prereq_patch_ids or ()),
        notes=tuple(notes),
    )


def chosen(known: Iterable[int], wanted: int | None, *, name: str) -> int:
    """Of the revisions that `name` holds the newest, or the one that is wanted. BadSpec: it is not there."""
    revisions = sorted(set(known))
    if wanted is not None and wanted not in revisions:
        listing = ", ".join(f"v{number}" for number in revisions)
        raise BadSpec(f"{name} holds no v{wanted}; it holds {listing}.", next_step="take one of these")
    return revisions[-1] if wanted is None else wanted


def check_whole(present: Collection[int], expected: int, *, name: str) -> None:
    """BadPatch: of the patches 1 to `expected` one is missing from `name`."""
    if absent := [number for number in range(1, expected + 1) if number not in present]:
        raise BadPatch(
            f"{name} lacks patch {', '.join(f'{number}/{expected}' for number in absent)}.",
            next_step="take the whole series: the thread as `b4 mbox` saves it, or all files of `git format-patch`",
        )


def read(path: Path) -> list[EmailMessage]:
    """The messages of a mailbox or maildir, in its order. OSError."""
    return list(b4.get_msgs_from_mailbox_or_maildir(str(path)))


def _box(messages: Sequence[EmailMessage]) -> b4.LoreMailbox:
    b4.can_network = False
    b4.MAIN_CONFIG = {**b4.DEFAULT_CONFIG, "attestation-policy": "off"}
    b4.logger.setLevel(logging.CRITICAL + 1)
    box = b4.LoreMailbox()
    for number, message in enumerate(messages):
        if not message.get("Message-Id"):
            # As `git format-patch --stdout` writes them; b4 tells messages apart by it.
            message["Message-Id"] = f"<{number}@mailbox>"
        box.add_message(message)
    return box


def _patches(found: b4.LoreSeries, name: str) -> tuple[Patch, ...]:
    patches = []
    for number, one in enumerate(found.patches[1:], start=1):
        assert one is not None
        try:
            message = one.get_am_message()
        except SystemExit as error:  # b4's way to refuse what could hide code from a reader's eye
            raise BadPatch(
                f"Patch {number}, {one.subject!r}, holds control characters that change how it reads.",
                next_step="look at it with `cat -A`",
            ) from error
        patches.append(
            Patch(
                number=number,
                subject=one.subject,
                author=f"{one.fromname} <{one.fromemail}>",
                message_id=one.msgid,
                source=name,
                content=b4.LoreMessage.get_msg_as_bytes(message, headers="decode"),
            )
        )
    return tuple(patches)
