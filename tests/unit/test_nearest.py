"""Cases asked of a campaign: a name that exists nowhere is told with the nearest that do."""

from pathlib import Path

import pytest

from ringrig.campaign import nearest
from ringrig.errors import BadSpec

CASES = [
    "suites/status/test_head.py::test_a_head[1]",
    "suites/status/test_head.py::test_a_head[2]",
    "suites/commit/test_when.py::test_now",
]


@pytest.fixture
def root(monkeypatch, tmp_path):
    """A clone whose collection is CASES."""

    def collect(names, _root):
        told = [name.removeprefix(f"{tmp_path}/") for name in names]
        for name in told:
            if not any(
                case == name or case.startswith((f"{name}/", f"{name}::", f"{name}["))
                for case in [*CASES, "suites/"]
            ):
                raise BadSpec("pytest's words", next_step="-")
        return [case for case in CASES if case.startswith(tuple(told))]

    monkeypatch.setattr(nearest, "collect", collect)
    return tmp_path


def test_cases_there_are(root):
    """As pytest collects them, from names relative to the clone or not."""
    assert nearest.known(["suites/commit"], root=root) == CASES[2:]
    assert nearest.known([f"{root}/suites/status/test_head.py"], root=root) == CASES[:2]


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("suites/comit", "suites/commit"),
        ("suites/status/test_heads.py", "suites/status/test_head.py"),
        ("suites/status/test_head.py::test_a_haed", "suites/status/test_head.py::test_a_head"),
        ("suites/status/test_head.py::test_a_head[3]", "suites/status/test_head.py::test_a_head[1]"),
        ("test_now", "suites/commit/test_when.py::test_now"),
    ],
)
def test_the_nearest_names(root, asked, near):
    """Of folders, files, tests and parameters, whichever the name is like."""
    with pytest.raises(BadSpec, match="There is no case") as told:
        nearest.known(["suites/commit", asked], root=root)

    assert near in told.value.next_step


def test_nothing_like_it(root):
    """Then the whole list is pointed to; an expression that fits nothing is told as that."""
    with pytest.raises(BadSpec) as told:
        nearest.known(["%%%"], root=root)

    assert "lists every case" in told.value.next_step
    with pytest.raises(BadSpec, match="No case fits -k nothing"):
        nearest.known(["-k", "nothing"], root=Path(root))


def test_an_expression_that_is_none():
    """Is told in pytest's words, not as one that fits nothing."""
    with pytest.raises(BadSpec, match="Wrong expression passed to '-k': a and"):
        nearest.known(["suites/abi", "-k", "a and"], root=Path(__file__).parents[2])
