"""A series comes as a thread, a folder, a patch or a range; what is missing from it, or is none, is named."""

import os

import pytest
from fakes import kernel_tree, threads
from fakes.kernel_tree import git
from fakes.threads import subjects, take

from ringrig.errors import BadPatch, BadSpec

tree = threads.tree


def thread(tree, tmp_path, *, without=None):
    """Two revisions of three patches with cover letters, replies that quote and one that carries a trailer."""
    threads.branch(tree, 3)
    first = threads.mails(tree, "v6.12..topic", "--cover-letter")
    threads.branch(tree, 3, word="two")
    second = threads.mails(tree, "v6.12..topic", "-v2", "--cover-letter", "--base=v6.12")
    replies = [
        threads.reply(first[2], "NAK.", number=1),
        threads.reply(second[2], "Reviewed-by: Rita Reviewer <rita@example.com>", number=2),
    ]
    kept = [mail for number, mail in enumerate(second) if number != without]
    path = tmp_path / "thread.mbox"
    path.write_text("".join([*first, *kept, *replies]))
    return path


def test_a_thread_gives_its_newest_revision(tree, tmp_path):
    """In order, without what replies quote, with the trailers they carry, and what it says of its base."""
    given = take(thread(tree, tmp_path))

    assert given.revision == 2
    assert subjects(given) == [f"io_uring/kbuf: add two_{number}()" for number in (1, 2, 3)]
    assert b"Reviewed-by: Rita" in given.patches[1].content
    assert given.base == git(tree, "rev-parse", "v6.12")
    assert "v1, v2: v2 is taken" in given.notes[0]


def test_another_revision_is_taken_when_told(tree, tmp_path):
    """One that is not there is refused with those that are."""
    path = thread(tree, tmp_path)

    assert subjects(take(path, revision=1))[0] == "io_uring/kbuf: add one_1()"
    with pytest.raises(BadSpec, match=r"holds no v3; it holds v1, v2"):
        take(path, revision=3)


def test_a_missing_patch_is_named(tree, tmp_path):
    """By its number."""
    with pytest.raises(BadPatch, match="v2 lacks patch 2/3"):
        take(thread(tree, tmp_path, without=2))


def test_a_thread_without_message_ids(tree, tmp_path):
    """As `git format-patch --stdout` writes it, numbered or not."""
    threads.branch(tree, 12)
    for option in ("-n", "-N"):
        text = git(tree, "format-patch", "--stdout", option, "v6.12..topic")
        (tmp_path / "mbox").write_text(f"{text}\n")

        assert subjects(take(tmp_path / "mbox"))[10:] == [f"io_uring/kbuf: add one_{n}()" for n in (11, 12)]


def test_a_folder_of_patches(tree, tmp_path):
    """What `git format-patch` leaves, the newest revision of it; bare diffs go by their names."""
    threads.branch(tree, 2)
    git(tree, "format-patch", "-q", "-o", str(tmp_path / "out"), "--cover-letter", "v6.12..topic")
    git(tree, "format-patch", "-q", "-o", str(tmp_path / "out"), "-v2", "--base=v6.12", "v6.12..topic")
    (tmp_path / "bare").mkdir()
    for name in ("b.diff", "a.diff"):
        (tmp_path / "bare" / name).write_text(kernel_tree.PATCH)

    given = take(tmp_path / "out")

    assert (given.revision, len(given.patches)) == (2, 2)
    assert given.base == git(tree, "rev-parse", "v6.12")
    assert len(take(tmp_path / "out", revision=1).patches) == 2
    assert subjects(take(tmp_path / "bare")) == ["a.diff", "b.diff"]


@pytest.mark.parametrize("cover", [(), ("--cover-letter",)])
def test_a_patch_that_is_missing_from_a_folder_is_named(tree, tmp_path, cover):
    """With a cover letter or without; one of another series may stand before them all."""
    threads.branch(tree, 3)
    out = tmp_path / "out"
    git(tree, "format-patch", "-q", "-n", "-o", str(out), *cover, "v6.12..topic")
    mail = (out / "0003-io_uring-kbuf-add-one_3.patch").read_text()
    (out / "0000-before.patch").write_text(mail.replace("[PATCH 3/3]", "[PATCH 4/5]"))

    assert len(take(out).patches) == 4
    (out / "0003-io_uring-kbuf-add-one_3.patch").unlink()
    with pytest.raises(BadPatch, match=r"out: v1 lacks patch 3/3"):
        take(out)


def test_a_series_of_one_patch_in_two_revisions(tree, tmp_path):
    """Whose subjects have no numbers: one is taken, not both."""
    threads.branch(tree, 1)
    first = threads.mails(tree, "v6.12..topic")
    second = [one.replace("[PATCH]", "[PATCH v2]") for one in first]
    (tmp_path / "mbox").write_text("".join([*first, *second]))

    assert [take(tmp_path / "mbox", revision=one).revision for one in (None, 1)] == [2, 1]
    assert len(take(tmp_path / "mbox").patches) == 1


def test_what_has_no_revisions(tree, tmp_path):
    """A range and a bare diff, of which none can be chosen, and a mail of another one."""
    threads.branch(tree, 1)
    (tmp_path / "bare").write_text(kernel_tree.PATCH)
    (tmp_path / "mail").write_text(threads.mails(tree, "v6.12..topic")[0])

    for given in ("v6.12..topic", tmp_path / "bare"):
        with pytest.raises(BadSpec, match="has no revisions of which v3"):
            take(given, tree, revision=3)
    with pytest.raises(BadSpec, match="mail holds no v3; it holds v1"):
        take(tmp_path / "mail", revision=3)


def test_one_patch_alone(tree, tmp_path):
    """A mail, even one of a series, or a bare diff."""
    threads.branch(tree, 2)
    (tmp_path / "one").write_text(threads.mails(tree, "v6.12..topic")[1])
    (tmp_path / "two").write_text(kernel_tree.PATCH)

    assert subjects(take(tmp_path / "one")) == ["io_uring/kbuf: add one_2()"]
    assert subjects(take(tmp_path / "two")) == ["two"]


def test_a_range_of_commits(tree):
    """A merge is what it brings to its first parent."""
    threads.branch(tree, 1)
    git(tree, "checkout", "-q", "-b", "side", "v6.12")
    threads.commit(tree, "other.c", "int x;\n", "side")
    git(tree, "checkout", "-q", "topic")
    git(tree, "merge", "-q", "--no-ff", "-m", "merge side", "side")

    given = take("v6.12..topic", tree)

    assert subjects(given) == ["io_uring/kbuf: add one_1()", "merge side"]
    assert b"+int x;" in given.patches[1].content
    assert given.base == git(tree, "rev-parse", "v6.12")


def test_an_empty_commit_is_no_patch(tree):
    """`b4 prep` keeps a cover letter so; a range of such alone is none."""
    git(tree, "checkout", "-q", "-b", "topic", "v6.12")
    git(tree, "commit", "-q", "--allow-empty", "-m", "a cover letter")
    with pytest.raises(BadSpec, match="changes nothing"):
        take("v6.12..topic", tree)

    threads.commit(tree, "other.c", "int x;\n", "one")
    given = take("v6.12..topic", tree)

    assert subjects(given) == ["one"]
    assert "changes nothing: a cover letter" in given.notes[0]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("v6.12..v6.12", "holds no commit"),
        ("topic..v6.12", "v6.12 is an ancestor of topic"),
        ("v6.12..nowhere", "no range"),
        ("v6.12...topic", "no range"),
        ("nowhere.mbox", "There is no"),
        ("../nowhere.mbox", "There is no"),
    ],
)
def test_what_is_no_range(tree, given, says):
    """Said with what to look at."""
    threads.branch(tree, 1)

    with pytest.raises(BadSpec, match=says):
        take(given, tree)


def test_a_range_that_stands_on_nothing(tree):
    """A root commit, as a shallow clone has one, says what it lacks."""
    git(tree, "checkout", "-q", "--orphan", "root")
    git(tree, "commit", "-q", "-m", "root")

    with pytest.raises(BadSpec, match=r"begins with .*'root'"):
        take("v6.12..root", tree)


def test_a_pipe(tree):
    """<(git format-patch --stdout …) of a shell."""
    threads.branch(tree, 1)
    reader, writer = os.pipe()
    os.write(writer, git(tree, "format-patch", "--stdout", "v6.12..topic").encode())
    os.close(writer)

    assert subjects(take(f"/dev/fd/{reader}")) == ["io_uring/kbuf: add one_1()"]
    os.close(reader)


def test_what_holds_no_patch(tmp_path):
    """An empty mailbox, one with words only, an empty folder; a range without a tree."""
    (tmp_path / "empty").write_text("")
    (tmp_path / "words").write_text("From a@b Mon\nFrom: a@b\nSubject: hello\nMessage-Id: <1@b>\n\nHello.\n")
    (tmp_path / "folder").mkdir()

    for name in ("empty", "words", "folder"):
        with pytest.raises(BadSpec, match="holds no patch"):
            take(tmp_path / name)
    with pytest.raises(BadSpec, match="no tree is named"):
        take("a..b")
