"""Catalogues of mutants: what is read, and what is refused with the file's and the mutant's name."""

import pytest
from fakes.clone import ROOT

from ringrig.campaign import mutants
from ringrig.errors import BadCatalogue

WHOLE = {
    "id": "one",
    "file": "kbuf.c",
    "function": "io_f",
    "kind": "expr",
    "original": "a == b",
    "mutated": "a != b",
}


def table(**changes):
    """One [[mutant]]; a value of None leaves the line out."""
    lines = [f"{key} = {value!r}" for key, value in (WHOLE | changes).items() if value is not None]
    return "[[mutant]]\n" + "\n".join(lines) + "\n"


@pytest.fixture
def load(tmp_path):
    def load(text):
        (tmp_path / "some.toml").write_text(text)
        return mutants.load([tmp_path / "some.toml"])

    return load


def test_a_mutant_is_what_its_table_says(load):
    """All fields; a second place by [[mutant.also]]."""
    text = (
        'origin = "reverted"\n'
        + table(note="seen", needs="kasan", within="if (a == b)")
        + "[[mutant.also]]\nfile = 'net.c'\nfunction = 'io_g'\nkind = 'stmt'\noriginal = 'f();'\nmutated = ''\n"
    )

    (one,) = load(text)

    assert (one.id, one.origin, one.note, one.needs, one.equivalent) == (
        "one",
        "reverted",
        "seen",
        "kasan",
        "",
    )
    assert [(edit.file, edit.function, edit.kind, edit.within) for edit in one.edits] == [
        ("kbuf.c", "io_f", "expr", "if (a == b)"),
        ("net.c", "io_g", "stmt", ""),
    ]


def test_files_and_folders_come_in_their_order(tmp_path):
    """A folder's by name; what is no .toml is none."""
    for name, id in (("b.toml", "two"), ("a.toml", "one")):
        (tmp_path / name).write_text(table(id=id))
    (tmp_path / "notes.txt").write_text("no TOML")

    assert [one.id for one in mutants.load([tmp_path])] == ["one", "two"]
    assert [one.id for one in mutants.load([tmp_path / "b.toml", tmp_path / "a.toml"])] == ["two", "one"]


def test_without_a_word_mutants_are_chosen(load):
    """The file's origin is for all of it."""
    assert [one.origin for one in load(table() + table(id="two"))] == ["chosen", "chosen"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[mutant]", "is no TOML"),
        ("", r"no \[\[mutant\]\]"),
        ("mutant = 3", r"no \[\[mutant\]\]"),
        ("mutant = [3]", r"no \[\[mutant\]\]"),
        ('origin = "elsewhere"\n' + table(), "origin is 'elsewhere'"),
        (table() + table(id=None), r"\[\[mutant\]\] number 2: it has no id"),
        (table() + table(id="two", original=None), "two: it has no original"),
        (table(mutated=1), "one: it has no mutated"),
        (table(id="../../etc/passwd"), "its id is '../../etc/passwd'"),
        (table(id=7), "its id is 7"),
        (table(kind="block"), "kind is 'block'"),
        (table(file="../kernel/fork.c"), "file is '../kernel/fork.c'"),
        (table(needs="luck"), "needs 'luck'"),
        (table(orignal="a"), "nobody knows orignal"),
        (table() + "[[mutant.also]]\nfile = 'net.c'\n", "one: it has no function, kind"),
        (table() + table(), "some.toml has a mutant of that id already"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_and_mutant(load, text, says):
    """A catalogue is written by hand, and perhaps by others."""
    with pytest.raises(BadCatalogue, match=rf"some\.toml.*{says}"):
        load(text)


def test_a_catalogue_that_is_not_there(tmp_path):
    """Neither a file nor an empty folder."""
    with pytest.raises(BadCatalogue, match=r"none\.toml cannot be read"):
        mutants.load([tmp_path / "none.toml"])
    with pytest.raises(BadCatalogue, match="no mutants"):
        mutants.load([tmp_path])


@pytest.mark.parametrize("series", ["6.1", "6.12"])
def test_the_projects_own_catalogues_can_be_read(series):
    """More than a hundred each, and each says what somebody would see."""
    found = mutants.load([ROOT / "mutants" / series])

    assert len(found) > 120
    assert all(one.note for one in found)
    assert {one.origin for one in found} <= set(mutants.ORIGINS)
