"""What a guest is given to read."""

import subprocess
import sys

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


def test_a_guest_looks_for_what_was_compiled_here(tmp_path):
    """Names that differ would be no error: it would only rewrite every case by itself, 0.1 s each natively."""
    from _pytest.assertion.rewrite import PYC_TAIL

    folder = pack.dependencies(say=lambda _: None)
    asked = (
        f"import sys; sys.path.insert(0, {str(folder / 'packages.zip')!r})\n"
        "from _pytest.assertion import rewrite; print(rewrite.__file__, rewrite.PYC_TAIL)"
    )
    told = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True).stdout

    assert told.split() == [str(folder / "packages.zip/_pytest/assertion/rewrite.pyc"), PYC_TAIL]
