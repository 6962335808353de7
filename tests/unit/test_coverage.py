"""Coverage: from counters to lines, what counts, what cannot be reached, and who reaches what. Real gcov, a small program."""

import base64
import json
import shutil
import subprocess
import zlib
from collections import Counter
from xml.etree import ElementTree

import pytest

from ringrig.campaign import coverage, coverage_scope
from ringrig.campaign.coverage_counts import Counts, count, nothing
from ringrig.errors import BadCatalogue, BadSpec, BuildFailed

KBUF = """\
#include <stdlib.h>

int io_select(int wanted)
{
	if (wanted > 3)
		return 1;
	if (wanted < 0)
		return 2;
	return 0;
}

int main(int argc, char **argv)
{
	return io_select(atoi(argv[1])) & 0;
}
"""
DATA = """\
[[part]]
file = "kbuf.c"
function = "io_select"

[[line]]
file = "kbuf.c"
function = "io_select"
text = "return 2;"
kind = "never"
why = "nobody wants less than nothing"

[[branch]]
file = "kbuf.c"
function = "io_select"
text = "if (wanted < 0)"
branches = 1
kind = "never"
why = "nobody wants less than nothing"

[[line]]
file = "kbuf.c"
function = "main"
kind = "case"
why = "no case yet"
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A program built as the kernel's files are: notes and source in one folder; called(5): its counters after that."""
    place = tmp_path_factory.mktemp("built")
    notes = place / "notes"
    notes.mkdir()
    (place / "kbuf.c").write_text(KBUF)
    subprocess.run(
        ["gcc", "-O0", "-fprofile-arcs", "-ftest-coverage", f"-ffile-prefix-map={place}=/build/src/io_uring",
         "-c", f"{place}/kbuf.c", "-o", f"{place}/kbuf.o"],
        check=True, cwd=place,
    )  # fmt: skip
    subprocess.run(["gcc", "--coverage", "kbuf.o", "-o", "program"], check=True, cwd=place)
    shutil.move(place / "kbuf.gcno", notes / "kbuf.gcno")
    shutil.copy(place / "kbuf.c", notes)

    def called(number):
        (place / "kbuf.gcda").unlink(missing_ok=True)
        subprocess.run([place / "program", str(number)], check=True)
        return {"kbuf": base64.b64encode(zlib.compress((place / "kbuf.gcda").read_bytes())).decode()}

    return notes, called


@pytest.fixture
def scope(tmp_path):
    """scope(data, source): what a data file makes of kbuf.c."""

    def make(data=DATA, source=KBUF):
        (tmp_path / "6.12.toml").write_text(data)
        return coverage_scope.load(tmp_path / "6.12.toml", {"kbuf.c": source})

    return make


@pytest.fixture
def run(built, tmp_path, monkeypatch):
    """run([5, None]): a run folder of cases that call the program so; None: the guest was lost."""
    notes, called = built
    monkeypatch.setattr(coverage, "FOLDER", tmp_path)
    (tmp_path / "6.12.toml").write_text(DATA)

    def make(calls):
        folder = tmp_path / "run"
        shutil.copytree(notes, folder / "coverage/io_uring")
        (folder / "run.json").write_text(json.dumps({"release": "6.12.117", "label": "a kernel"}))
        for number, call in enumerate(calls):
            gcov = None if call is None else called(call)
            line = {"nodeid": f"case-{number}", "guest": "gw0-1", "gcov": gcov}
            with (folder / f"coverage/counters-gw{number % 2}.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
        return folder

    return make


def test_counters_become_lines_and_branches(built):
    """Of each case on its own."""
    notes, called = built

    small, large = count([called(1), called(5)], notes)

    assert (small.lines["kbuf.c", 6], large.lines["kbuf.c", 6]) == (0, 1)
    assert sorted(small.branches["kbuf.c", 5, "kbuf", n] for n in (0, 1)) == [0, 1]
    assert [
        small.branches["kbuf.c", 5, "kbuf", n] + large.branches["kbuf.c", 5, "kbuf", n] for n in (0, 1)
    ] == [1, 1]


def test_what_nobody_executed_is_known_from_the_notes_alone(built):
    """Lines with code are there, with 0; others are not."""
    none = nothing(built[0])

    assert none.lines["kbuf.c", 6] == 0
    assert ("kbuf.c", 6) in none.lines
    assert ("kbuf.c", 2) not in none.lines


def test_counters_of_another_build_are_an_error(built, tmp_path):
    """Not zeros."""
    notes, called = built
    shutil.copytree(notes, tmp_path / "other")
    note = bytearray((notes / "kbuf.gcno").read_bytes())
    note[8] ^= 1  # its stamp
    (tmp_path / "other/kbuf.gcno").write_bytes(note)

    with pytest.raises(BuildFailed, match="stamp mismatch"):
        count([called(1)], tmp_path / "other")


def test_only_the_named_parts_of_other_files_count(tmp_path):
    """A function, or what lies between two texts in it."""
    source = "int one(void)\n{\n\tcase A:\n\treturn 1;\n\tcase B:\n\treturn 2;\n}\n\nint two(void)\n{\n\treturn 3;\n}\n"
    head = '[[part]]\nfile = "net.c"\nfunction = '
    (tmp_path / "data").write_text(f'{head}"one"\nfrom = "case A:"\nto = "case B:"\n{head}"two"\n')

    found = coverage_scope.load(tmp_path / "data", {"net.c": source, "rw.c": source})

    assert found.lines == {"net.c": {3, 4, 5, 9, 10, 11, 12}}
    assert ("net.c", 4) in found
    assert ("rw.c", 4) not in found
    assert found.functions["net.c", 4] == "one"


def test_a_text_is_there_once_or_after_another(scope):
    """And what is gone after an update is named; the rest of the data still counts."""
    entry = '[[line]]\nfile = "kbuf.c"\nfunction = "{}"\ntext = "{}"\n{}kind = "never"\nwhy = ""\n'
    twice = KBUF.replace("return 0;", "return 1;")
    after = 'after = "if (wanted > 3)"\n'

    found = scope(
        entry.format("io_select", "return 1;", "")
        + entry.format("io_select", "return 1;", after)
        + entry.format("io_gone", "return 1;", ""),
        twice,
    )

    assert [one.place for one in found.listed] == [("kbuf.c", 6)]
    assert found.stale == ("kbuf.c, io_select(): 'return 1;' is there 2 times", "kbuf.c has no io_gone()")


@pytest.mark.parametrize(
    "data",
    [
        "[[line]\n",
        '[[line]]\nfile = "kbuf.c"\nfunction = "f"\nkind = "never"\n',
        '[[line]]\nfile = "kbuf.c"\nfunction = "f"\nkind = "seldom"\nwhy = ""\n',
        '[[branch]]\nfile = "kbuf.c"\nfunction = "f"\nkind = "never"\nwhy = ""\n',
        '[[part]]\nfile = "kbuf.c"\nfunction = "f"\ntext = "x"\n',
        '[[lines]]\nfile = "kbuf.c"\nfunction = "f"\n',
    ],
)
def test_data_that_is_not_in_order_is_refused(scope, data):
    """Each with its file."""
    with pytest.raises(BadCatalogue, match=r"6\.12\.toml"):
        scope(data)


def judged(lines, branches, scope):
    return coverage.judge(
        Counts(
            lines=Counter({("kbuf.c", n): c for n, c in lines.items()}),
            branches=Counter(
                {("kbuf.c", n, "kbuf", i): c for n, cs in branches.items() for i, c in enumerate(cs)}
            ),
        ),
        scope(),
    )


def test_what_cannot_be_reached_does_not_count(scope):
    """Neither the line, nor as many branches as are listed; what else is missing has its reason, if one is known."""
    found = judged({5: 1, 6: 0, 7: 1, 8: 0, 14: 0}, {5: [0, 1], 7: [0, 1]}, scope)

    assert found.wrong == []
    assert found.excluded == {("kbuf.c", 8), ("kbuf.c", 7, "kbuf", 0)}
    assert [(one.place[1], one.branches, one.kind) for one in found.missing] == [
        (5, 1, ""),
        (6, 0, ""),
        (14, 0, "case"),
    ]


def test_an_unreachable_line_that_was_reached_is_named(scope):
    """And so is a branch."""
    found = judged({5: 1, 7: 2, 8: 1}, {7: [1, 1]}, scope)

    assert found.wrong == [
        "kbuf.c:8 cannot be reached (nobody wants less than nothing), and was, 1 times",
        "kbuf.c:7: 1 of its branches cannot be taken (nobody wants less than nothing), and were",
    ]


def test_branches_that_this_build_does_not_have_are_not_missed(scope):
    """An architecture's compiler folds what another one's asks."""
    assert judged({5: 1, 7: 1}, {5: [1, 1]}, scope).wrong == []


def test_a_run_is_reported(run):
    """Figures, what is missing, whose counters were lost; for machines Cobertura, HTML and JSON, that agree."""
    folder = run([1, None, 2])

    lines, wrong = coverage.report(folder)

    assert not wrong
    assert "kbuf.c       6 of 7 reachable lines (85.7 %), 2 of 3 reachable branches (66.7 %)" in lines
    assert "lost with their guests: the counters of 1 cases" in lines
    assert "  case-1" in lines
    assert "      6  not executed        return 1;" in lines
    tree = ElementTree.parse(folder / "coverage/cobertura.xml").getroot()
    hits = {int(line.get("number")): int(line.get("hits")) for line in tree.iter("line")}
    assert hits[6] == 0
    assert hits[5] == 2
    assert 8 not in hits
    assert "io_select" in next((folder / "coverage/html").glob("*kbuf.c*.html")).read_text()
    assert json.loads((folder / "coverage/coverage.json").read_text())["lost"] == ["case-1"]


def test_a_run_that_reaches_the_unreachable_fails(run):
    """Though everything is covered."""
    lines, wrong = coverage.report(run([5, 1, -1]))

    assert wrong
    assert "WRONG: kbuf.c:8 cannot be reached (nobody wants less than nothing), and was, 1 times" in lines


def test_who_reaches_a_line(run):
    """By node id; a line without code is no answer."""
    folder = run([1, 5, 7])
    coverage.report(folder)

    assert list(coverage.reach(folder, "kbuf.c:6")) == [
        "kbuf.c:6, io_select(): executed 2 times, in 2 of 3 cases",
        "  case-2",
        "  case-1",
    ]
    with pytest.raises(BadSpec, match="no code that counts"):
        list(coverage.reach(folder, "kbuf.c:2"))
    with pytest.raises(BadSpec, match="is no line of"):
        list(coverage.reach(folder, "kbuf.c"))


def test_a_run_without_counters_is_no_run_without_coverage(run):
    """It is an error: nothing was measured."""
    with pytest.raises(BadSpec, match="no counters"):
        coverage.report(run([None, None]))


def test_the_data_is_in_order():
    """Every reason is one, and what cannot be reached says why."""
    for file in coverage_scope.FOLDER.glob("*.toml"):
        found = coverage_scope._tables(file)

        assert all(entry["why"] for kind in ("line", "branch") for entry in found[kind])
