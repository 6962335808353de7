"""Code that cases run through does not sleep, but where docs/suites.md says why."""

import ast

from fakes.clone import ROOT

RUNS_IN_GUESTS = ("suites", "ringrig/model", "ringrig/uring")


def test_who_sleeps_is_in_the_table():
    """And who is there still does."""
    text = (ROOT / "docs/suites.md").read_text(encoding="utf-8")
    table = text.partition("\n## Sleeps\n")[2].partition("\n## ")[0]
    files = {
        str(path.relative_to(ROOT))
        for top in RUNS_IN_GUESTS
        for path in (ROOT / top).rglob("*.py")
        if any(map(_sleeps, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    }

    assert files
    assert {file for file in files if f"`{file}`" not in table} == set()
    named = {word for word in table.split("`") if word.endswith(".py")}
    assert named - files == {"ringrig/uring/walks.py"}  # nanosleep(), by its number


def _sleeps(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in {"sleep", "usleep", "nanosleep"}
