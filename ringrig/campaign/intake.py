"""What `rig series` is given → patches: a mailbox, a folder of patches, one patch, or a range of commits."""

from __future__ import annotations

import email
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import b4

from ringrig.campaign import thread
from ringrig.campaign.history import about
from ringrig.campaign.patches import Given, Patch, has_diff, of_commit
from ringrig.errors import BadSpec
from ringrig.kernel.repo import commit_of, git

_KINDS = ("*.patch", "*.diff", "*.eml", "*.txt")
_REVISION = re.compile(r"v(\d+)-\d{4}-")
_FORMS = (
    "name a mailbox, a folder of patches, a patch, - for standard input, or with --tree a range like A..B"
)


def take(given: str, *, tree: Path | None, revision: int | None) -> Given:
    """The series. BadSpec: there is none in it; BadPatch: one of its patches is missing."""
    path = Path(given).expanduser()
    try:
        if given == "-":
            return of_bytes(sys.stdin.buffer.read(), revision, name="standard input")
        if path.is_dir():
            is_mail = b4.is_maildir(str(path))
            return (
                thread.series(thread.read(path), revision=revision, name=given)
                if is_mail
                else _folder(path, revision)
            )
        if path.exists():  # a pipe, too: <(b4 mbox -o - …)
            return of_bytes(path.read_bytes(), revision, name=given)
    except OSError as error:
        raise BadSpec(f"{given} cannot be read: {error.strerror}.", next_step="check the path") from error
    if ".." in given and ".." not in path.parts:
        if tree is None:
            raise BadSpec(f"{given} is a range, and no tree is named.", next_step="add --tree PATH")
        _has_no_revisions(given, revision)
        return _range(given, tree)
    raise BadSpec(f"There is no {given}.", next_step=_FORMS)


def of_bytes(content: bytes, revision: int | None, *, name: str) -> Given:
    """The series of a mailbox, a mail or a bare diff, which errors call `name`. As take()."""
    if not content.startswith(b"From ") and not re.search(
        rb"^Subject: ", content, re.MULTILINE | re.IGNORECASE
    ):
        if not has_diff(content):
            raise BadSpec(f"{name} holds no patch.", next_step=_FORMS)
        _has_no_revisions(name, revision)
        one = Patch(number=1, subject=Path(name).name, content=content, source=name)
        return Given(title=one.subject, patches=(one,))
    if not content.startswith(b"From "):
        content = b"From mboxrd@z Thu Jan  1 00:00:00 1970\n" + content
    messages = b4.mailsplit_bytes(content)
    subjects = [(one, b4.LoreSubject(str(one["Subject"] or ""))) for one in messages]
    patches = [
        (one, subject.revision)
        for one, subject in subjects
        if subject.patch and not subject.reply and has_diff(_body(one))
    ]
    numbered = any(subject.patch and not subject.counters_inferred for _, subject in subjects)
    if patches and (len(messages) == 1 or not numbered):
        wanted = thread.chosen([of for _, of in patches], revision, name=name)
        found = _numbered([_from_mail(one, name) for one, of in patches if of == wanted])
        return Given(
            title=found[0].subject,
            patches=found,
            revision=wanted,
            base=_base(content),
            prerequisites=_needs(content),
        )
    return thread.series(messages, revision=revision, name=name)


def _has_no_revisions(name: str, wanted: int | None) -> None:
    """BadSpec: one is wanted."""
    if wanted is not None:
        raise BadSpec(
            f"{name} has no revisions of which v{wanted} could be taken.",
            next_step="leave out --revision: mailboxes and folders have them",
        )


def _folder(path: Path, revision: int | None) -> Given:
    """As `git am FOLDER/*` would take it: in the order of the names, the newest revision of `git format-patch -v`."""
    files = sorted({file for kind in _KINDS for file in path.glob(kind)})
    of = {file: int(found[1]) if (found := _REVISION.match(file.name)) else 1 for file in files}
    contents = {file: file.read_bytes() for file in files}
    known = sorted({of[file] for file in files if has_diff(contents[file])})
    if not known:
        raise BadSpec(
            f"{path} holds no patch.", next_step=f"files are taken that are called {', '.join(_KINDS)}"
        )
    wanted = thread.chosen(known, revision, name=str(path))
    mine = [file for file in files if of[file] == wanted]
    patches = [_from_file(contents[file], file) for file in mine if has_diff(contents[file])]
    _check_whole([contents[file] for file in mine if has_diff(contents[file])], f"{path}: v{wanted}")
    covers = [mail_of(contents[file]) for file in mine if not has_diff(contents[file])]
    said = b"\n".join(contents[file] for file in mine)
    notes = (
        [f"{path} holds {', '.join(f'v{n}' for n in known)}: v{wanted} is taken"]
        if known[1:] and not revision
        else []
    )
    cover = b4.LoreSubject(str(covers[0]["Subject"])).subject if covers and covers[0]["Subject"] else ""
    return Given(
        patches=_numbered(patches),
        title=cover or patches[0].subject,
        revision=wanted,
        base=_base(said),
        prerequisites=_needs(said),
        notes=tuple(notes),
    )


def _check_whole(patches: Sequence[bytes], name: str) -> None:
    """BadPatch: the series of the last patch, by the numbers in the subjects, is not all there. Others may stand before it."""
    subjects = [b4.LoreSubject(str(mail_of(one)["Subject"] or "")) for one in patches]
    numbered = [one for one in subjects if not one.counters_inferred]
    if numbered:
        expected = numbered[-1].expected
        thread.check_whole([one.counter for one in numbered if one.expected == expected], expected, name=name)


def _from_file(content: bytes, file: Path) -> Patch:
    """A mail, or a bare diff."""
    message = mail_of(content)
    if message["Subject"]:
        return _from_mail(message, str(file))
    return Patch(number=1, subject=file.name, content=content, source=str(file))


def _from_mail(message: EmailMessage, source: str) -> Patch:
    return Patch(
        number=1,
        subject=b4.LoreSubject(str(message["Subject"])).subject,
        author=str(message["From"] or ""),
        message_id=str(message["Message-Id"] or "").strip("<>"),
        source=source,
        content=b4.LoreMessage.get_msg_as_bytes(message, headers="decode"),
    )


def mail_of(content: bytes) -> EmailMessage:
    """One mail, with or without the line that a mailbox puts before it."""
    bare = re.sub(rb"\AFrom [^\n]*\n", b"", content)
    return email.message_from_bytes(bare, EmailMessage, policy=b4.emlpolicy)


def _body(message: EmailMessage) -> bytes:
    payload = message.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _base(content: bytes) -> str:
    found = re.search(rb"^base-commit: ([0-9a-f]{7,40})\s*$", content, re.MULTILINE)
    return found[1].decode() if found else ""


def _needs(content: bytes) -> tuple[str, ...]:
    found = re.findall(rb"^prerequisite-patch-id: ([0-9a-f]{40})\s*$", content, re.MULTILINE)
    return tuple(one.decode() for one in found)


def _numbered(patches: Sequence[Patch]) -> tuple[Patch, ...]:
    return tuple(replace(one, number=number) for number, one in enumerate(patches, start=1))


def _range(given: str, tree: Path) -> Given:
    """The commits of A..B; of merges what they bring to their first parent. BadSpec: no such range, or nothing in it.

    One that changes nothing is no patch (`b4 prep` keeps a cover letter so).
    """
    names = [end or "HEAD" for end in given.split("..")]
    commits = [commit_of(name, where=tree) for name in names]
    if "..." in given or None in commits:
        raise BadSpec(
            f"{tree} has no range {given!r}.",
            next_step=f"write A..B; git -C {tree} log --oneline -9 lists commits",
        )
    listed = git(["rev-list", "--reverse", "--first-parent", given], where=tree).split()
    if not listed:
        raise BadSpec(
            f"{given} holds no commit: {names[1]} is an ancestor of {names[0]}, or the same.",
            next_step=f"turn it round, or look: git -C {tree} log --oneline --graph {names[0]} {names[1]}",
        )
    if (base := commit_of(f"{listed[0]}^", where=tree)) is None:
        raise BadSpec(
            f"{given} begins with {about(tree, listed[0])}, before which {tree} has nothing it could be applied to.",
            next_step=f"name a later A; of a shallow clone: git -C {tree} fetch --unshallow",
        )
    made = [of_commit(commit, tree=tree) for commit in listed]
    patches = [one for one in made if has_diff(one.content)]
    if not patches:
        raise BadSpec(
            f"{given} changes nothing: its commits are empty.", next_step="name a range with changes in it"
        )
    notes = tuple(f"{one.source} changes nothing: {one.subject}" for one in made if one not in patches)
    return Given(title=given, patches=_numbered(patches), base=base, notes=notes)
