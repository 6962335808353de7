"""Mutants and their places: found once or not, nested, woven into one source whose lines stay where they were."""

import re
import subprocess

import pytest

from ringrig.campaign.csource import Source
from ringrig.campaign.instrument import place, weave, without
from ringrig.campaign.mutants import Edit, Mutant
from ringrig.errors import BadCatalogue

TEXT = """\
// SPDX-License-Identifier: GPL-2.0
static int io_first(struct ctx __user *ctx, int a, int b) __must_hold(&ctx->lock)
{
	if (a == b && ctx)
		return -EINVAL;
	ctx->a = a;
	ctx->b = a;
	return a + b;
}

int io_second(int a, int b)
{
	if (a ==
		b)
		return -EINVAL;
	while (a < b) { a++; }
	return aa == b;
}
"""


def mutant(id, original, mutated, *, function="io_first", kind="expr", within="", file="kbuf.c", at=None):
    edit = Edit(
        file=file, function=function, kind=kind, original=original, mutated=mutated, within=within, at=at
    )
    return Mutant(id=id, origin="chosen", edits=(edit,))


def placed(*mutants, text=TEXT):
    return place(mutants, {"kbuf.c": Source(text)})


def woven(*mutants, text=TEXT):
    return weave(text, placed(*mutants, text=text).spots["kbuf.c"]).text.removeprefix('#include "mutants.h" ')


def flat(text):
    return " ".join(text.split())


def test_a_text_is_looked_for_in_its_function_only():
    """It is in both; each mutant means its own."""
    both = placed(
        mutant("one", "return -EINVAL;", "", kind="stmt"),
        mutant("two", "return -EINVAL;", "", kind="stmt", function="io_second"),
    )

    assert [Source(TEXT).line(spot.start) for spot in both.spots["kbuf.c"]] == [5, 15]


def test_white_space_does_not_matter_and_words_are_whole():
    """`a == b` is there as `a ==⏎ b`, and not in `aa == b`."""
    (spot,) = placed(mutant("one", "a == b", "1", function="io_second")).spots["kbuf.c"]

    assert TEXT[spot.start : spot.end].split() == ["a", "==", "b"]


def test_the_text_is_that_of_within():
    """`= a` is there twice, and once in the statement meant."""
    (spot,) = placed(mutant("one", "a", "b", within="ctx->b = a;")).spots["kbuf.c"]

    assert Source(TEXT).line(spot.start) == 7
    assert TEXT[spot.start - 2 :].startswith("= a;")


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (
            mutant("one", "= a;", "= b;"),
            r"Mutant one: the text is 2 times in io_first\(\) of io_uring/kbuf\.c \(lines 6, 7\)",
        ),
        (mutant("one", "b", "a", within="= a;"), r"one: the text of `within` is 2 times .*lines 6, 7"),
    ],
)
def test_a_text_that_is_there_twice_names_its_mutant(one, says):
    """And the lines; it says that `within` helps."""
    with pytest.raises(BadCatalogue, match=says) as caught:
        placed(one)
    assert "within" in caught.value.next_step


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (mutant("gone", "a == c", "1"), "the text is not in io_first: 'a == c'"),
        (mutant("gone", "a == b", "1", function="io_third"), "has no function io_third"),
        (mutant("gone", "a == b", "1", file="rsrc.c"), "there is no io_uring/rsrc.c"),
        (mutant("gone", "a == b", "1", within="while"), "the text of `within` is not in io_first"),
    ],
)
def test_what_is_gone_is_stale_and_no_obstacle_to_the_others(one, why):
    """The source is another one; the others keep their places."""
    found = placed(one, mutant("here", "a == b", "a != b"))

    assert list(found.stale) == ["gone"]
    assert why in found.stale["gone"]
    assert [one.id for one in found.mutants.values()] == ["here"]


def test_a_mutant_of_two_places_is_there_with_both_or_not_at_all():
    """Half a bug is another bug."""
    whole = Mutant(
        id="two",
        origin="chosen",
        edits=(
            Edit(file="kbuf.c", function="io_first", kind="expr", original="a == b", mutated="0"),
            Edit(file="kbuf.c", function="io_second", kind="expr", original="a > b", mutated="0"),
        ),
    )

    found = placed(whole, mutant("here", "a + b", "0"))

    assert list(found.stale) == ["two"]
    assert [spot.number for spot in found.spots["kbuf.c"]] == [2]


def test_texts_that_half_overlap_name_both_mutants():
    """Neither can hold the other."""
    with pytest.raises(BadCatalogue, match="Mutants one and two half overlap"):
        placed(mutant("one", "a == b", "0"), mutant("two", "b && ctx", "0"))


def test_neighbours_do_not_overlap():
    """Nor does a text that begins where another ends."""
    found = placed(
        mutant("one", "ctx->a = a;", "", kind="stmt"), mutant("two", "ctx->b = a;", "", kind="stmt")
    )

    assert len(found.spots["kbuf.c"]) == 2


def test_an_expression_asks_which_mutant_is_on():
    """Itself where none is."""
    out = flat(woven(mutant("one", "a == b", "a !=\n b")))

    assert "if ((ringrig_at(1) ? (a != b) : (a == b)) && ctx)" in out


def test_a_statement_becomes_a_choice_of_two():
    """In braces, so that an `if` before it keeps one statement; an empty one is nothing."""
    out = flat(woven(mutant("one", "return -EINVAL;", "", kind="stmt")))

    assert "if (a == b && ctx) { if (ringrig_at(1)) { } else { return -EINVAL; } } ctx->a = a;" in out


def test_two_of_the_same_text_stand_in_a_row():
    """Neither hides the other."""
    out = flat(woven(mutant("one", "a == b", "0"), mutant("two", "a == b", "1")))

    assert "(ringrig_at(1) ? (0) : ringrig_at(2) ? (1) : (a == b))" in out


def test_two_of_the_same_statement_stand_in_a_row():
    """else if, in effect."""
    out = flat(
        woven(
            mutant("one", "ctx->a = a;", "", kind="stmt"),
            mutant("two", "ctx->a = a;", "ctx->a = b;", kind="stmt"),
        )
    )

    assert "{ if (ringrig_at(1)) { } else if (ringrig_at(2)) { ctx->a = b; } else { ctx->a = a; } }" in out


def test_one_within_the_other_is_asked_where_the_outer_is_off():
    """Three deep: a statement, an expression in it, and a part of that."""
    out = flat(
        woven(
            mutant("inner", "a", "b", within="a == b"),
            mutant("outer", "if (a == b && ctx) return -EINVAL;", "", kind="stmt"),
            mutant("middle", "a == b", "0"),
        )
    )

    assert (
        "{ if (ringrig_at(2)) { } else { if ((ringrig_at(3) ? (0) : ((ringrig_at(1) ? (b) : (a)) == b)) && ctx)"
        " return -EINVAL; } }"
    ) in out


def test_every_line_stays_where_it_was():
    """However many lines the mutated texts have: splats and compilers name lines of the unchanged file."""
    out = woven(
        mutant("one", "a == b", "a\n>=\nb"),
        mutant("two", "a == b", "0", function="io_second"),
        mutant("three", "while (a < b) { a++; }", "while (a <\n b)\n;", kind="stmt", function="io_second"),
    )

    assert len(out.splitlines()) == len(TEXT.splitlines())
    for before, after in zip(TEXT.splitlines(), out.splitlines(), strict=True):
        if "ringrig_at" not in after:
            assert re.sub(r"\W", "", before) == re.sub(r"\W", "", after)


def test_the_woven_source_compiles_and_behaves(tmp_path):
    """By a real compiler: mutant 0 is the unchanged function, each other its own."""
    text = "int f(int a, int b)\n{\n\tif (a < b)\n\t\treturn a + 1;\n\treturn 0;\n}\n"
    inside = [
        mutant("one", "a < b", "a > b", function="f"),
        mutant("two", "a + 1", "a", function="f"),
        mutant("three", "return a + 1;", "", kind="stmt", function="f"),
        mutant("four", "a < b", "1", function="f"),
    ]
    (tmp_path / "mutants.h").write_text("extern int on;\n#define ringrig_at(n) (on == (n))\n")
    (tmp_path / "f.c").write_text(weave(text, placed(*inside, text=text).spots["kbuf.c"]).text)
    (tmp_path / "main.c").write_text(
        "#include <stdio.h>\nint on;\nint f(int, int);\nint main(void)\n{\n"
        '\tfor (on = 0; on < 5; on++)\n\t\tprintf("%d %d\\n", f(1, 2), f(2, 1));\n}\n'
    )

    subprocess.run(["gcc", "-Wall", "-Werror", "-o", "try", "f.c", "main.c"], cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "try"], capture_output=True, text=True, check=True).stdout

    assert said.splitlines() == ["2 0", "0 3", "1 0", "0 0", "2 3"]


@pytest.mark.parametrize("broken", [1, 2])
@pytest.mark.parametrize("first", ["// the licence\n", "/* the\n * licence */\n", ""])
def test_the_compilers_columns_name_the_mutant(tmp_path, broken, first):
    """Of two in one line with tabs, which gcc counts up to the next multiple of eight; all of the line where a file
    does not begin with a comment, for gcc then looks at another line's tabs.
    """
    text = f"{first}int f(int a, int b)\n{{\n\treturn\ta + b;\n}}\n"
    inside = [
        mutant("one", "a", "nobody" if broken == 1 else "b", function="f", within="a + b"),
        mutant("two", "b", "nobody" if broken == 2 else "a", function="f", within="a + b"),
    ]
    out = weave(text, placed(*inside, text=text).spots["kbuf.c"])
    (tmp_path / "mutants.h").write_text("extern int on;\n#define ringrig_at(n) (on == (n))\n")
    (tmp_path / "f.c").write_text(out.text)

    said = subprocess.run(
        ["gcc", "-c", "f.c"], cwd=tmp_path, capture_output=True, text=True, check=False
    ).stderr
    line, column = map(int, re.search(r"f\.c:(\d+):(\d+): error", said).groups())

    assert line == first.count("\n") + 3
    assert out.blamed(line, column) == ({broken} if first else {1, 2})


def test_a_column_of_nobody_blames_all_of_its_line():
    """An unbalanced text is noticed only behind it."""
    out = weave(
        TEXT, placed(mutant("one", "a == b", "0"), mutant("two", "ctx", "0", within="&& ctx")).spots["kbuf.c"]
    )

    assert out.blamed(4, 1) == {1, 2}
    assert out.blamed(5, 1) == set()


def test_those_that_are_left_keep_their_numbers():
    """The kernel's switch and the cases' reach go by number."""
    found = without(placed(mutant("one", "a == b", "0"), mutant("two", "a + b", "0")), [1])

    assert list(found.mutants) == [2]
    assert [spot.number for spot in found.spots["kbuf.c"]] == [2]


def test_an_offset_decides_where_there_is_one():
    """Generated mutants are found by the parser, not by their text."""
    at = TEXT.index("-EINVAL", TEXT.index("io_second"))
    (spot,) = placed(mutant("one", "-EINVAL", "0", at=at)).spots["kbuf.c"]

    assert (spot.start, spot.end) == (at, at + 7)
