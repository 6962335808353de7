"""A series comes as a thread, a folder, a patch or a range, and stands on the base it says or is told."""

import subprocess

import pytest
from fakes import kernel_tree, threads
from fakes.kernel_tree import git

from ringrig.campaign import base, intake
from ringrig.campaign.patches import Given, Patch, changed, patch_id
from ringrig.errors import BadPatch, BadSpec


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return kernel_tree.make(tmp_path / "linux")


def take(given, tree=None, revision=None):
    return intake.take(str(given), tree=tree, revision=revision)


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


def subjects(given):
    return [one.subject for one in given.patches]


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


def applied(given, tree, folder):
    """The trees that it comes to."""
    return base.apply(given, choose(given, tree=tree, revision=given.base), folder, say=lambda _: None).trees


@pytest.mark.parametrize(
    "setting",
    [
        "diff.noprefix=true",
        "diff.mnemonicPrefix=true",
        "color.ui=always",
        "diff.external=/bin/false",
        "diff.c.textconv=tr a-z A-Z <",
        "diff.c.command=/bin/false",
        "diff.algorithm=patience",
        "diff.renames=copies",
        "diff.context=0",
        "log.showSignature=true",
    ],
)
def test_a_range_whatever_the_trees_configuration(tree, tmp_path, setting):
    """It is for people: the commits come to the same, and so do prerequisites."""
    made = threads.branch(tree, 2)
    wanted = patch_id(git(tree, "show", made[0]).encode())
    (tree / ".git/info/attributes").write_text("*.c diff=c\n")
    git(tree, "config", *setting.split("=", 1))

    given = take("v6.12..topic", tree)
    needs = Given(title="t", patches=given.patches[1:], base=given.base, prerequisites=(wanted,))

    assert subjects(given) == ["io_uring/kbuf: add one_1()", "io_uring/kbuf: add one_2()"]
    assert applied(given, tree, tmp_path / "range")[-1] == git(tree, "rev-parse", "topic^{tree}")
    assert [one.subject for one in choose(needs, tree=tree).prerequisites] == subjects(given)[:1]


def test_a_range_stays_bytes(tree, tmp_path):
    """Latin-1, and lines that end as DOS has them, in what it changes and around it; so do the diffs made of it."""
    git(tree, "checkout", "-q", "-b", "topic")
    file, ids = tree / "io_uring/kbuf.c", []
    for content in (b"/* Andr\xe9 */\r\nint a;\r\n", b"/* Andr\xe9 */\r\nint b;\n/* Zo\xeb */\r\n"):
        file.write_bytes(content)
        git(tree, "-c", "core.autocrlf=false", "commit", "-q", "-a", "-m", "bytes")
        ids.append(git(tree, "rev-parse", "HEAD^{tree}"))

    given = take("v6.12..topic", tree)
    done = base.apply(given, choose(given, tree=tree, revision="v6.12"), tmp_path / "p", say=lambda _: None)
    (tmp_path / "whole").write_bytes(done.whole(2))

    assert list(done.trees[1:]) == ids
    assert done.repo.apply(done.source, tmp_path / "whole", to="it") == ids[1]
    assert changed(done.changes(2, 2)) == {"io_uring/kbuf.c": [2, 3]}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("v6.12..v6.12", "holds no commit"),
        ("topic..v6.12", "v6.12 is an ancestor of topic"),
        ("v6.12..nowhere", "no range"),
        ("v6.12...topic", "no range"),
        ("nowhere.mbox", "There is no"),
    ],
)
def test_what_is_no_range(tree, given, says):
    """Said with what to look at."""
    threads.branch(tree, 1)

    with pytest.raises(BadSpec, match=says):
        take(given, tree)


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


GIVEN = Given(title="t", patches=(Patch(number=1, subject="s", content=kernel_tree.PATCH.encode()),))


def choose(given, **options):
    return base.choose(given, **{"kernel": None, "tree": None, "revision": None, **options})


def test_the_base_is_what_is_told_or_what_the_series_says(tree):
    """--base, else base-commit, else HEAD."""
    first = git(tree, "rev-parse", "v6.12")
    threads.branch(tree, 1)
    said = Given(title="t", patches=GIVEN.patches, base=first)

    assert choose(GIVEN, tree=tree, revision="v6.12").spec == f"tree:{tree}@{first}"
    assert choose(said, tree=tree).why == f"{first[:12]}, which the series names"
    assert choose(GIVEN, tree=tree).spec == f"tree:{tree}@{git(tree, 'rev-parse', 'HEAD')}"
    assert choose(GIVEN, kernel="source:6.12").spec == "source:6.12"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"revision": "v9"}, "no revision 'v9'"),
        ({"kernel": "source:6.12"}, "names the base already"),
        ({"tree": None}, "No kernel is named"),
        ({"tree": None, "kernel": "debian:6.12"}, "not built here"),
    ],
)
def test_a_base_that_cannot_be(tree, options, says):
    """Refused before anything is built."""
    with pytest.raises(BadSpec, match=says):
        choose(GIVEN, **{"tree": tree, **options})


def test_an_unknown_base_commit_is_no_reason_to_take_another(tree):
    """A series tested on what it was not made for says nothing."""
    with pytest.raises(BadSpec, match="base-commit 1234567, which"):
        choose(Given(title="t", patches=GIVEN.patches, base="1234567"), tree=tree)


def test_prerequisites_are_found_by_their_patch_id(tree):
    """Among the tree's branches, on other commits than the author's; one that is nowhere is named."""
    first = git(tree, "rev-parse", "v6.12")
    made = threads.branch(tree, 2)
    show = ["git", "-C", str(tree), "show", made[1]]
    wanted = patch_id(subprocess.run(show, check=True, capture_output=True).stdout)
    needs = Given(title="t", patches=GIVEN.patches, base=first, prerequisites=(wanted,))

    assert [one.subject for one in choose(needs, tree=tree).prerequisites] == ["io_uring/kbuf: add one_2()"]
    assert choose(needs, tree=tree, revision="topic").prerequisites == ()
    for given, options in (
        (Given(title="t", patches=GIVEN.patches, base=first, prerequisites=("0" * 40,)), {"tree": tree}),
        (needs, {"kernel": "source:6.12"}),
    ):
        with pytest.raises(BadPatch, match="needs a patch first"):
            choose(given, **options)


def test_prerequisites_are_found_in_the_tree_of_another_user(tree, monkeypatch):
    """Which git by itself refuses to read."""
    first = git(tree, "rev-parse", "v6.12")
    [made] = threads.branch(tree, 1)
    needs = Given(
        title="t",
        patches=GIVEN.patches,
        base=first,
        prerequisites=(patch_id(git(tree, "show", made).encode()),),
    )
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")

    assert [one.subject for one in choose(needs, tree=tree).prerequisites] == ["io_uring/kbuf: add one_1()"]


def test_every_patch_is_applied_before_anything_is_built(tree, tmp_path):
    """Each on top of the one before; one that does not apply is named with its file and hunk."""
    threads.branch(tree, 2)
    given = take("v6.12..topic", tree)
    on = choose(given, tree=tree)

    done = base.apply(given, on, tmp_path / "patches", say=lambda _: None)

    assert done.trees[2] == git(tree, "rev-parse", "topic^{tree}")
    assert changed(done.changes(2, 2)) == {"io_uring/kbuf.c": [15, 16, 17, 18, 19]}
    twice = Given(
        title="t",
        patches=(
            given.patches[0],
            GIVEN.patches[0],
            Patch(number=3, subject="again", content=kernel_tree.PATCH.encode()),
        ),
    )
    with pytest.raises(BadPatch) as told:
        base.apply(twice, on, tmp_path / "twice", say=lambda _: None)
    assert told.value.what.startswith("Patch 3 of 3, 'again': it does not apply to tree:linux (v6.12) with")
    assert "io_uring/kbuf.c, the hunk at line 6" in told.value.what


def test_a_patch_that_does_not_apply_is_named_by_what_it_came_from(tree, tmp_path):
    """Which is there: the commit, file or mailbox."""
    made = threads.branch(tree, 2)
    git(tree, "format-patch", "-q", "-N", "-o", str(tmp_path / "out"), "topic~1..topic")
    (tmp_path / "mbox").write_text("".join(threads.mails(tree, "v6.12..topic", "-n")[1:] * 2))
    (tmp_path / "mbox").write_text((tmp_path / "mbox").read_text().replace("2/2", "1/1"))
    [file] = (tmp_path / "out").iterdir()

    for given, source in (
        ("topic~1..topic", f"commit {made[1][:12]}"),
        (tmp_path / "out", str(file)),
        (tmp_path / "mbox", str(tmp_path / "mbox")),
    ):
        with pytest.raises(BadPatch) as told:
            series = take(given, tree)
            base.apply(
                series, choose(series, tree=tree, revision="v6.12"), tmp_path / "p", say=lambda _: None
            )
        assert f", 'io_uring/kbuf: add one_2()' ({source}): it does not apply" in told.value.what
        assert str(tmp_path / "p") not in told.value.what


def test_lines_that_a_diff_changes():
    """Added lines; of lines that only go away, the one that follows."""
    diff = """\
diff --git a/x.c b/x.c
--- a/x.c
+++ b/x.c
@@ -1,4 +1,3 @@
 one
-two
 three
 four
@@ -10,3 +9,4 @@
 ten
-eleven
+ELEVEN
+more
 twelve
"""

    assert changed(diff) == {"x.c": [2, 10, 11]}
