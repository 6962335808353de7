"""What a guest is given to read."""

import subprocess

from ringrig.vm import pack


def test_cases_are_compiled_here_once(tmp_path, monkeypatch):
    """Also where the user's Python keeps no bytecode: an emulated guest would do it anew each time."""
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites/test_a.py").write_text("def test_a():\n    assert 1 == 1\n")
    (tmp_path / "conftest.py").write_text("def pytest_addoption(parser):\n    parser.addoption('--kernel')\n")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    pack.rewritten(tmp_path, ["suites"])
    [compiled] = tmp_path.glob("suites/__pycache__/test_a.*-pytest-*.pyc")

    monkeypatch.setattr(subprocess, "run", None)
    pack.rewritten(tmp_path, ["suites"])
    assert compiled.exists()
