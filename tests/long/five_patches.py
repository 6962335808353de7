"""Five patches to Debian's 6.12 as they would be sent: the third breaks what `status` says of a ring's head, the fifth mends it.

    python tests/long/five_patches.py FOLDER

makes FOLDER/patches (`git format-patch` of version 2), FOLDER/thread.mbox (both versions and what a reviewer answered, 11 mails) and
FOLDER/linux, the repository that they come from, with the tags `base`, `v1` and `v2`. Version 1 has four patches and the bug.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from bisect_history import Line, commit, tag

sys.path.append(str(Path(__file__).parents[1]))  # as pytest does
from fakes import kernel_tree, threads

from ringrig.kernel import source
from ringrig.kernel.repo import Repo, git

_KBUF = "io_uring/kbuf.c"
_STATUS = "int io_register_pbuf_status(struct io_ring_ctx *ctx, void __user *arg)\n{\n"
_UNREGISTER = "int io_unregister_pbuf_ring(struct io_ring_ctx *ctx, void __user *arg)\n{\n"
_FIND = """\
static int io_pbuf_find(struct io_ring_ctx *ctx, unsigned int bgid, struct io_buffer_list **bl)
{
	*bl = io_buffer_get_list(ctx, bgid);
	if (!*bl)
		return -ENOENT;
	return (*bl)->flags & IOBL_BUF_RING ? 0 : -EINVAL;
}

"""
_LOOK = """\
	bl = io_buffer_get_list(ctx, {bgid});
	if (!bl)
		return -ENOENT;
	if (!(bl->flags & IOBL_BUF_RING))
		return -EINVAL;
"""
_ASK = """\
	ret = io_pbuf_find(ctx, {bgid}, &bl);
	if (ret)
		return ret;
"""
_HEAD = """\
static u32 io_pbuf_head(const struct io_buffer_list *bl)
{
	return bl->head + 1;
}

"""
Steps = tuple[tuple[str, str], ...]
PATCHES: tuple[tuple[str, Steps], ...] = (
    (
        "find a ring in one place",
        (
            (_UNREGISTER, _FIND + _UNREGISTER),
            (_STATUS, _STATUS + "\tint ret;\n"),
            (_LOOK.format(bgid="buf_status.buf_group"), _ASK.format(bgid="buf_status.buf_group")),
        ),
    ),
    (
        "find the ring to unregister there, too",
        (
            (_UNREGISTER, _UNREGISTER + "\tint ret;\n"),
            (_LOOK.format(bgid="reg.bgid"), _ASK.format(bgid="reg.bgid")),
        ),
    ),
    (
        "a helper for the head",
        ((_STATUS, _HEAD + _STATUS), ("buf_status.head = bl->head;", "buf_status.head = io_pbuf_head(bl);")),
    ),
    (
        "say what an aligned address is",
        (("if (reg.ring_addr & ~PAGE_MASK)", "if (!PAGE_ALIGNED(reg.ring_addr))"),),
    ),
    ("the head is where it is", (("return bl->head + 1;", "return bl->head;"),)),
)


def make(folder: Path) -> None:
    """All that the first lines of this file name."""
    origin = source.package("6.12", say=lambda line: print(line, file=sys.stderr))
    linux = folder / "linux"
    git(["init", "-q", "-b", "main", str(linux)])
    repo = Repo(path=linux / ".git")
    (repo.path / "objects/info/alternates").write_text(f"{origin.repo.path}/objects\n")
    clock = itertools.count(1_700_000_000, 3600)
    base = commit(repo, clock, origin.tree, "Linux 6.12")
    tag(repo, "base", base)
    git(["update-ref", "refs/heads/main", base], where=linux)
    for version, count in (("v1", 4), ("v2", 5)):
        line = Line(repo, clock, base, origin.tree)
        for subject, steps in PATCHES[:count]:
            _step(line, subject, steps)
        tag(repo, version, line.tip)
    first, second = (
        threads.mails(linux, f"base..v{number}", "--base=base", f"-v{number}") for number in (1, 2)
    )
    kernel_tree.git(
        linux, "format-patch", "-q", "-v2", "--base=base", "-o", str(folder / "patches"), "base..v2"
    )
    answers = [
        threads.reply(first[2], "The head is off by one, is it not?"),
        threads.reply(second[1], "Reviewed-by: Rita Reviewer <rita@example.com>", number=2),
    ]
    (folder / "thread.mbox").write_text("".join([*first, answers[0], *second, answers[1]]))


def _step(line: Line, subject: str, steps: Steps) -> None:
    text = line.files.get(_KBUF) or line.repo.show(line.tree, _KBUF)
    for old, new in steps:
        assert text.count(old) == 1, (subject, old)
        text = text.replace(old, new)
    line.files[_KBUF] = text
    line.record(f"io_uring/kbuf: {subject}\n\nWhy.")


if __name__ == "__main__":
    make(Path(sys.argv[1]).absolute())
