"""The example CI files: they are what GitHub and GitLab take, and call what there is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = {"github": "vendor.github-workflows", "gitlab": "vendor.gitlab-ci"}


def check(file, schema):
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_valid(name):
    """By the schema that check-jsonschema carries, so without the network."""
    done = check(ROOT / f"docs/ci/{name}.yml", FILES[name])

    assert done.returncode == 0, done.stdout


def test_a_file_that_is_not_valid_is_noticed(tmp_path):
    """The check checks."""
    text = (ROOT / "docs/ci/github.yml").read_text()
    (tmp_path / "bad.yml").write_text(text.replace("runs-on:", "run-on:"))

    assert check(tmp_path / "bad.yml", FILES["github"]).returncode == 1


def scripts(name):
    """What the file has a shell run."""
    told = yaml.safe_load((ROOT / f"docs/ci/{name}.yml").read_text())
    if name == "github":
        return [step["run"] for step in told["jobs"]["series"]["steps"] if "run" in step]
    return ["\n".join(told["ringrig"][part]) for part in ("before_script", "script", "after_script")]


@pytest.mark.parametrize("name", FILES)
def test_the_shell_reads_its_scripts(name):
    """And nothing that a pull request names is pasted into them."""
    for script in scripts(name):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=10)
        assert "${{" not in script


@pytest.mark.parametrize("name", FILES)
def test_it_calls_rig_as_rig_is(name):
    """Commands and options exist."""
    lines = [line for script in scripts(name) for line in script.splitlines() if "./rig " in line]
    assert any("./rig series" in line for line in lines)
    for command in {re.search(r"\./rig (\w+)", line)[1] for line in lines}:
        argv = [sys.executable, "-m", "ringrig.cli", command, "-h"]
        told = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout
        used = {
            word for line in lines if f"./rig {command}" in line for word in re.findall(r"--[a-z-]+", line)
        }
        assert all(re.search(rf"{option}\b", told) for option in used)
