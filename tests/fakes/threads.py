"""Patches as they are sent: a branch of a small kernel tree, its mails, and a thread with replies and revisions."""

from pathlib import Path

import pytest
from fakes import kernel_tree
from fakes.kernel_tree import git

from ringrig.campaign import intake

REPLY = """\
From: Rita Reviewer <rita@example.com>
Date: Mon, 1 Jan 2024 12:00:00 +0000
Subject: Re: {subject}
Message-Id: <reply-{number}@example.com>
In-Reply-To: {to}

On Mon, the author wrote:
> diff --git a/io_uring/kbuf.c b/io_uring/kbuf.c
> --- a/io_uring/kbuf.c

{words}
"""


def commit(tree: Path, file: str, text: str, subject: str) -> str:
    """One commit; its id."""
    (tree / file).write_text(text)
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", f"{subject}\n\nWhy.")
    return git(tree, "rev-parse", "HEAD")


def branch(tree: Path, count: int, *, word: str = "one") -> list[str]:
    """`count` commits on top of v6.12, each of which adds a function to kbuf.c; their ids."""
    git(tree, "checkout", "-q", "-B", "topic", "v6.12")
    made = []
    for number in range(1, count + 1):
        text = (tree / "io_uring/kbuf.c").read_text()
        text += f"\nint {word}_{number}(void)\n{{\n\treturn {number};\n}}\n"
        made.append(commit(tree, "io_uring/kbuf.c", text, f"io_uring/kbuf: add {word}_{number}()"))
    return made


def mails(tree: Path, spec: str, *options: str) -> list[str]:
    """What `git format-patch` writes of a range, threaded, the cover letter first where options ask for one."""
    words = ["format-patch", "--stdout", "--thread", *options, spec]
    # Two made in one second would have the same message-id.
    text = (
        git(tree, *words).replace("cover.", f"cover-{git(tree, 'rev-parse', spec.partition('..')[2])}.")
        + "\n"
    )
    parts = text.split("\nFrom ")
    return [parts[0] + "\n", *(f"From {part}\n" for part in parts[1:])]


def reply(mail: str, words: str, *, number: int = 1) -> str:
    """A reviewer's answer to a mail, with the patch quoted in it."""
    lines = mail.splitlines()
    subject = next(line for line in lines if line.startswith("Subject: ")).removeprefix("Subject: ")
    to = next(line for line in lines if line.startswith("Message-Id: ")).removeprefix("Message-Id: ")
    text = REPLY.format(subject=subject, number=number, to=to, words=words)
    return f"From mboxrd@z Thu Jan  1 00:00:00 1970\n{text}\n"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return kernel_tree.make(tmp_path / "linux")


def take(given, tree=None, revision=None):
    return intake.take(str(given), tree=tree, revision=revision)


def subjects(given):
    return [one.subject for one in given.patches]
