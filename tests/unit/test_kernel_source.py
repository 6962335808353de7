"""A tree of the user's: read as it is, labelled truly, and never touched."""

import pytest
from fakes import kernel_tree
from fakes.kernel_tree import git

from ringrig.errors import BadPatch, BadSpec
from ringrig.kernel import source


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tree(tmp_path):
    return kernel_tree.make(tmp_path / "linux")


def quiet(_):
    pass


def kbuf(origin):
    return origin.repo.show(origin.tree, "io_uring/kbuf.c")


def test_a_tree_is_taken_as_it_is(tree):
    """Changes that are not committed, staged or not, and files that git does not know, but not what it ignores."""
    (tree / "io_uring/kbuf.c").write_text("int changed;\n")
    (tree / "io_uring/staged.c").write_text("int staged;\n")
    git(tree, "add", "io_uring/staged.c")
    (tree / "io_uring/unknown.c").write_text("int unknown;\n")
    (tree / "io_uring/kbuf.o").write_text("an object")

    origin = source.tree(f"tree:{tree}", say=quiet)

    assert kbuf(origin) == "int changed;\n"
    assert origin.repo.show(origin.tree, "io_uring/staged.c") == "int staged;\n"
    assert origin.repo.show(origin.tree, "io_uring/unknown.c") == "int unknown;\n"
    assert origin.repo.show(origin.tree, "io_uring/kbuf.o") == ""


def test_the_label_names_commit_and_difference(tree):
    """Clean: the commit. Dirty: a hash that is the same for the same difference and another for another."""
    clean = source.tree(f"tree:{tree}", say=quiet).label
    labels = []
    for text in ("int one;\n", "int two;\n", "int one;\n"):
        (tree / "io_uring/kbuf.c").write_text(text)
        labels.append(source.tree(f"tree:{tree}", say=quiet).label)

    assert clean == "tree:linux (v6.12)"
    assert labels[0].startswith("tree:linux (v6.12, dirty ")
    assert labels[0] == labels[2] != labels[1]


def test_a_commit_is_taken_whatever_the_files_say(tree):
    """tree:PATH@REV"""
    (tree / "io_uring/kbuf.c").write_text("int second;\n")
    git(tree, "commit", "-qam", "second")
    (tree / "io_uring/kbuf.c").write_text("int dirt;\n")

    assert kbuf(source.tree(f"tree:{tree}@v6.12", say=quiet)) == kernel_tree.KBUF
    assert kbuf(source.tree(f"tree:{tree}@HEAD", say=quiet)) == "int second;\n"


@pytest.mark.parametrize("spec", ["tree:{}", "tree:{}@v6.12"])
def test_the_tree_is_not_touched(tree, spec):
    """Files, refs, index, objects: byte for byte the same."""
    (tree / "io_uring/kbuf.c").write_text("int dirt;\n")
    before = kernel_tree.contents(tree)

    source.tree(spec.format(tree), say=quiet)

    assert kernel_tree.contents(tree) == before


def test_a_worktree_is_a_tree_too(tree, tmp_path):
    """Its .git is a file, and its objects are the main repository's."""
    git(tree, "worktree", "add", "-q", str(tmp_path / "other"), "HEAD")
    (tmp_path / "other/io_uring/kbuf.c").write_text("int other;\n")

    assert kbuf(source.tree(f"tree:{tmp_path / 'other'}", say=quiet)) == "int other;\n"


def test_a_tree_without_git_will_do(tmp_path):
    """An unpacked tarball; two states of it are told apart."""
    tree = kernel_tree.make(tmp_path / "linux", repository=False)
    one = source.tree(f"tree:{tree}", say=quiet)
    (tree / "io_uring/kbuf.c").write_text("int x;\n")
    other = source.tree(f"tree:{tree}", say=quiet)

    assert one.label == "tree:linux (no git repository)"
    assert (kbuf(one), kbuf(other)) == (kernel_tree.KBUF, "int x;\n")


def test_a_tree_inside_another_repository_is_no_repository(tmp_path):
    """A tarball unpacked below somebody's home that is under git: its own files count, not that repository."""
    git_home = tmp_path / "home"
    git_home.mkdir()
    git(git_home, "init", "-q")
    tree = kernel_tree.make(git_home / "linux", repository=False)

    assert source.tree(f"tree:{tree}", say=quiet).label == "tree:linux (no git repository)"
    with pytest.raises(BadSpec, match="no git repository"):
        source.tree(f"tree:{tree}@HEAD", say=quiet)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("tree:{}/nowhere", "no directory"),
        ("tree:{}@nosuch", "no revision 'nosuch'"),
        ("tree:{}@--all", "no revision"),
        ("tree:{}/io_uring", "no kernel tree: it has no Kbuild, Makefile, io_uring"),
    ],
)
def test_what_is_no_kernel_tree_is_refused(tree, spec, words):
    """With what is missing."""
    with pytest.raises(BadSpec, match=words):
        source.tree(spec.format(tree), say=quiet)


def test_a_patch_gives_another_tree(tree, tmp_path):
    """And the first one is still there."""
    origin = source.tree(f"tree:{tree}", say=quiet)
    patch = tmp_path / "0001.patch"
    patch.write_text(kernel_tree.PATCH)

    patched = origin.repo.apply(origin.tree, patch, to="it")

    assert "head + 2" in origin.repo.show(patched, "io_uring/kbuf.c")
    assert "head + 1" in kbuf(origin)


def test_a_patch_that_does_not_apply_shows_the_hunk(tree, tmp_path):
    """File, line, the hunk's own lines; and which source it was for."""
    (tree / "io_uring/kbuf.c").write_text(kernel_tree.KBUF.replace("head + 1", "head + 7"))
    origin = source.tree(f"tree:{tree}", say=quiet)
    patch = tmp_path / "0001.patch"
    patch.write_text(kernel_tree.PATCH)

    with pytest.raises(BadPatch) as caught:
        origin.repo.apply(origin.tree, patch, to=origin.label)

    assert "io_uring/kbuf.c, the hunk at line 6" in str(caught.value)
    assert "| -\treturn head + 1;" in str(caught.value)
    assert "tree:linux (v6.12, dirty" in str(caught.value)


@pytest.mark.parametrize("text", ["", "no patch at all\n", kernel_tree.PATCH[:-30]])
def test_what_is_no_patch_is_refused(tree, tmp_path, text):
    """Empty, prose, cut short."""
    origin = source.tree(f"tree:{tree}", say=quiet)
    patch = tmp_path / "0001.patch"
    patch.write_text(text)

    with pytest.raises(BadPatch, match=r"0001\.patch does not apply"):
        origin.repo.apply(origin.tree, patch, to="it")
