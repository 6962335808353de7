"""The suite's version: the commit alone where nothing differs, and no two states by one name."""

import subprocess
from importlib.metadata import version

import pytest

from ringrig.plugin.record import VERSION_FILE, suite_version


def git(where, *words):
    who = ["-c", "user.name=A", "-c", "user.email=a@b"]
    done = subprocess.run(["git", "-C", where, *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path):
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites/test_a.py").write_text("1")
    (tmp_path / "notes").write_text("1")
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_a_clone_without_a_change_is_its_commit(clone):
    """Whatever differs where no run looks, or is ignored."""
    (clone / "notes").write_text("2")
    (clone / "suites/__pycache__").mkdir()
    (clone / "suites/__pycache__/test_a.pyc").write_text("x")

    commit = git(clone, "describe", "--always")
    assert suite_version(clone) == f"{version('ringrig')} ({commit})"


def test_each_state_has_a_name_of_its_own(clone):
    """Two edits, staged or not, a file that is new or gone; and the same state has the same one again."""
    names = [clean := suite_version(clone)]
    for text in ("2", "3"):
        (clone / "suites/test_a.py").write_text(text)
        names.append(suite_version(clone))
    git(clone, "add", ".")
    assert suite_version(clone) == names[-1]
    (clone / "suites/test_new.py").write_text("1")
    names.append(suite_version(clone))
    (clone / "suites/test_new.py").write_text("2")
    names.append(suite_version(clone))
    (clone / "suites/test_a.py").unlink()
    names.append(suite_version(clone))

    assert len(set(names)) == len(names)
    assert all(name.startswith(f"{clean.removesuffix(')')}+") for name in names[1:])
    (clone / "suites/test_new.py").unlink()
    git(clone, "checkout", "-q", "HEAD", "suites/test_a.py")
    assert suite_version(clone) == clean


def test_a_suite_that_has_travelled_is_what_it_was(clone):
    """Its version came with it."""
    (clone / VERSION_FILE).write_text("0.1.0 (abc+1234)")

    assert suite_version(clone) == "0.1.0 (abc+1234)"


def test_without_a_repository(tmp_path):
    """The project's version is all that is known."""
    assert suite_version(tmp_path) == version("ringrig")
