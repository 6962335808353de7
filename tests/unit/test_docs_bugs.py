"""docs/bugs: programs for mailing lists, made by `rig reproduce`. They compile without a warning, and the table has them all."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

BUGS = Path(__file__).parents[2] / "docs/bugs"
PROGRAMS = sorted(BUGS.glob("*.c"))


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_every_program_compiles_without_a_warning(tmp_path: Path) -> None:
    """As a kernel developer would: -Wall -Wextra."""
    programs = list(BUGS.rglob("*.c"))
    command = ["cc", "-Wall", "-Wextra", "-Werror", "-c", *map(str, programs)]

    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(list(tmp_path.glob("*.o"))) == len(programs) > 0


def test_the_table_names_every_program_and_no_other() -> None:
    """One row each."""
    rows = re.findall(
        r"^\| \[`([\w-]+\.c)`\]\(([\w-]+\.c)\) \|", (BUGS / "README.md").read_text(), re.MULTILINE
    )

    assert sorted(name for name, _ in rows) == [program.name for program in PROGRAMS]
    assert all(name == target for name, target in rows)


def test_every_program_says_which_case_it_is_of() -> None:
    """So that it can be made anew."""
    assert [one.name for one in PROGRAMS if "suites/" not in one.read_text().split("#include")[0]] == []
