"""A series stands on the base it says or is told, and all of it is applied there before anything is built."""

import subprocess

import pytest
from fakes import kernel_tree, threads
from fakes.kernel_tree import git
from fakes.threads import subjects, take

from ringrig.campaign import base
from ringrig.campaign.patches import Given, Patch, changed, patch_id
from ringrig.errors import BadPatch, BadSpec

GIVEN = Given(title="t", patches=(Patch(number=1, subject="s", content=kernel_tree.PATCH.encode()),))
tree = threads.tree


def choose(given, **options):
    return base.choose(given, **{"kernel": None, "tree": None, "revision": None, **options})


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
        ({"tree": None, "kernel": "source:"}, "not built here"),
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
