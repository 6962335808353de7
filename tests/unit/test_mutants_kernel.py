"""What becomes of mutants around the build: whom the compiler means, patches of single ones, catalogues and folders."""

import argparse
import re
import subprocess
from types import SimpleNamespace

import pytest
from fakes.clone import ROOT

from ringrig.campaign import kernel, mutate, nearest
from ringrig.campaign.csource import Source
from ringrig.campaign.instrument import Woven, place
from ringrig.campaign.mutants import Edit, Mutant
from ringrig.errors import BadSpec

KBUF = "// x\nint f(int a)\n{\n\tif (a < 1)\n\t\treturn -EINVAL;\n\treturn a;\n}\n"
NET = "// y\nint g(int a)\n{\n\treturn f(a) + 1;\n}\n"


def edit(original, mutated, *, kind="expr", file="kbuf.c", function="f"):
    return Edit(file=file, function=function, kind=kind, original=original, mutated=mutated)


@pytest.mark.parametrize(
    ("edits", "changed"),
    [
        ([edit("a < 1", "a <\n 2")], {"kbuf.c": "if ((a < 2))"}),
        ([edit("return -EINVAL;", "", kind="stmt")], {"kbuf.c": "if (a < 1)\n\t\t{ }\n"}),
        ([edit("return -EINVAL;", "a = 1; return a;", kind="stmt")], {"kbuf.c": "\t\t{ a = 1; return a; }\n"}),
        (
            [edit("a < 1", "0"), edit("return a;", "", kind="stmt"), edit("f(a)", "0", file="net.c", function="g")],
            {"kbuf.c": "if ((0))", "net.c": "return (0) + 1;"},
        ),
    ],
)  # fmt: skip
def test_a_patch_is_the_mutant_alone(tmp_path, edits, changed):
    """As git applies it, in all its files and places; the others are not in it."""
    one = Mutant(id="one", origin="chosen", edits=tuple(edits), note="what is seen")
    other = Mutant(id="other", origin="chosen", edits=(edit("-EINVAL", "-EFAULT"),))
    sources = {"kbuf.c": Source(KBUF), "net.c": Source(NET)}
    placed = place([one, other], sources)
    (tmp_path / "io_uring").mkdir()
    for name, source in sources.items():
        (tmp_path / "io_uring" / name).write_text(source.text)

    text = kernel.patch(one, SimpleNamespace(files=sources), placed)
    subprocess.run(["git", "apply", "-"], input=text, cwd=tmp_path, text=True, check=True)

    assert text.startswith("one\n\nwhat is seen\n---\n")
    for name, source in sources.items():
        now = (tmp_path / "io_uring" / name).read_text()
        assert changed[name] in now if name in changed else now == source.text
        assert "-EFAULT" not in now


def test_whom_the_compilers_words_mean(tmp_path):
    """Errors, by file, line and column; notes and other files mean nobody."""
    woven = {
        "kbuf.c": Woven("", ((1, 4, range(10, 20)), (2, 4, range(30, 40)), (3, 9, range(1, 5)))),
        "net.c": Woven("", ((4, 4, range(10, 20)),)),
    }
    (tmp_path / "log").write_text(
        "  CC      io_uring/kbuf.o\n"
        "../src/io_uring/kbuf.c: In function ‘f’:\n"
        "../src/io_uring/kbuf.c:4:33: error: ‘nobody’ undeclared\n"
        "../src/io_uring/kbuf.c:4:12: note: each undeclared identifier is reported once\n"
        "../src/io_uring/kbuf.c:9:2: warning: statement with no effect [-Wunused-value]\n"
        "../src/io_uring/poll.c:4:12: error: other file\n"
        "../src/io_uring/net.c:4:12: warning: makes pointer from integer [-Wint-conversion]\n"
    )

    errors = kernel._blame(tmp_path / "log", woven, kernel._ERROR)
    doubts = kernel._blame(tmp_path / "log", woven, kernel._DOUBT)

    assert errors == {2: "io_uring/kbuf.c:4: ‘nobody’ undeclared"}
    assert list(doubts) == [4]


def test_a_complaint_about_a_macro_means_who_used_it(tmp_path):
    """gcc names the line of its definition first; an error of somebody's own has no use for the notes behind it."""
    woven = {"kbuf.c": Woven("", ((1, 9, range(10, 20)), (2, 9, range(30, 40)), (3, 4, range(1, 9))))}
    (tmp_path / "log").write_text(
        "../src/include/linux/check.h:2:7: error: expected expression before ‘do’\n"
        "io_uring/kbuf.c:3:7: note: in expansion of macro ‘OUTER’\n"
        "io_uring/kbuf.c:9:33: note: in expansion of macro ‘CHECK’\n"
        "io_uring/kbuf.c:4:3: error: ‘x’ undeclared\n"
        "io_uring/kbuf.c:9:12: note: in expansion of macro ‘CHECK’\n"
    )

    found = kernel._blame(tmp_path / "log", woven, kernel._ERROR)

    assert found == {
        2: "include/linux/check.h:2: expected expression before ‘do’",
        3: "io_uring/kbuf.c:4: ‘x’ undeclared",
    }


@pytest.mark.parametrize(
    ("series", "folder"),
    [("6.12", "6.12"), ("6.1", "6.1"), ("6.6", "6.1"), ("7.3", "6.12"), ("5.19", "6.1")],
)
def test_the_catalogue_is_that_of_the_version_or_the_nearest_before(series, folder):
    """Versions are numbers: 6.6 is before 6.12."""
    assert mutate._nearest(series, ROOT) == ROOT / "mutants" / folder


@pytest.mark.parametrize(
    ("misspelt", "says"),
    [
        ("register-eexist-as-enval", r"(?s)'register-eexist-as-enval'.*nearest are\n +register-eexist-as-einval"),
        ("kasn", r"(?s)'kasn'.*nearest are\n +kasan"),
        ("*qqq*", r"(?s)'\*qqq\*'.*ids are in .*small\.toml; tools: kasan"),
    ],
)  # fmt: skip
def test_an_only_that_no_mutant_matches_is_told_with_the_nearest(misspelt, says):
    """Also beside one that is right: nobody takes a campaign over some of what was meant for the whole."""
    chosen = argparse.Namespace(
        catalogue=[str(ROOT / "tests/data/mutants/small.toml")],
        generate=False,
        only=["unregister-*", misspelt],
    )
    with pytest.raises(BadSpec) as told:
        mutate._catalogue(chosen, None, ROOT)
    assert re.search(says, str(told.value))


def test_a_mutant_where_a_case_is_wanted(monkeypatch):
    """`--only A B` gives one id to --only, and the other for a case."""
    monkeypatch.chdir(ROOT)
    chosen = argparse.Namespace(catalogue=[str(ROOT / "tests/data/mutants/small.toml")], paths=["suites"])
    mutate._are_no_mutants(chosen, ROOT)
    chosen.paths = ["suites/status", "register-eexist-as-einval", "nothing"]

    with pytest.raises(
        BadSpec, match=r"register-eexist-as-einval is a mutant[^$]*--only register-eexist-as-einval"
    ):
        mutate._are_no_mutants(chosen, ROOT)


def test_a_folder_that_is_too_large_does_not_travel(tmp_path, monkeypatch):
    """Somebody's home, for one; its size is said."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/file").write_bytes(bytes(2_000_000))
    assert mutate._here() == tmp_path
    monkeypatch.setattr(mutate, "_MOST_FILES", 1_500_000)

    with pytest.raises(BadSpec, match="it has 2 MB"):
        mutate._here()


def test_cases_are_collected_as_pytest_names_them():
    """From wherever the command was given; no such case is an error with pytest's words."""
    found = nearest.collect(["suites/unregister/test_pairs.py"], ROOT)

    assert len(found) > 10
    assert all(one.startswith("suites/unregister/test_pairs.py::test_") for one in found)
    with pytest.raises(BadSpec, match=r"no such cases.*not_there"):
        nearest.collect(["suites/not_there.py"], ROOT)
