"""A clone of the project for one test: its own cases and run folders, the project's own code."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Clone:
    """`root` holds cases that the test writes; `pytest(…)` runs them as a developer would."""

    def __init__(self, root, *, cache, **environment):
        self.root = root
        (root / "suites").mkdir(parents=True)
        (root / "ringrig").symlink_to(ROOT / "ringrig")
        (root / "conftest.py").write_text('pytest_plugins = ["ringrig.plugin"]\n')
        (root / "pytest.ini").write_text(
            "[pytest]\naddopts = --import-mode=importlib --strict-markers -p no:hypothesispytest\ntestpaths = suites\n"
        )
        self.environment = {
            **os.environ,
            "XDG_CACHE_HOME": str(cache),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "160",
            **environment,
        }
        self.environment.pop("RINGRIG_FACTS", None)

    def write(self, **files):
        """A file in suites/ for each name: `test_a="…"`; a double underscore stands for a slash."""
        for name, text in files.items():
            path = self.root / "suites" / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def command(self, *arguments, kernel="host", before=()):
        # One word: pytest takes a path that stands alone for a test path.
        kernels = [f"--kernel={kernel}"] if kernel else []
        return [*before, sys.executable, "-m", "pytest", *kernels, *arguments]

    def start(self, *arguments, stdin=subprocess.DEVNULL, **how):
        return subprocess.Popen(
            self.command(*arguments, **how),
            cwd=self.root,
            env=self.environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def pytest(self, *arguments, seconds=60, **how):
        """The finished run: `returncode`, and `stdout` with both streams."""
        return subprocess.run(
            self.command(*arguments, **how),
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )

    @property
    def latest(self):
        return self.root / "runs" / "latest"

    def results(self):
        """{node id without the folder: line} of the last run's results.jsonl; each line must be complete."""
        lines = (self.latest / "results.jsonl").read_text().splitlines()
        return {line["nodeid"].removeprefix("suites/"): line for line in map(json.loads, lines)}

    def outcomes(self):
        return {nodeid.rsplit("::", 1)[-1]: line["outcome"] for nodeid, line in self.results().items()}

    def run_json(self):
        return json.loads((self.latest / "run.json").read_text())
