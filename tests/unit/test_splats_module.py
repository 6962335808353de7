"""The build of tests/disasters/module: what it says when something is missing."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ringrig.errors import HostLacks, KernelUnavailable, RigError

DISASTERS = Path(__file__).parents[1] / "disasters"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_module", DISASTERS / "build_module.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it but what a test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, script: str = "exit 0") -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_missing_programs_are_named(build: ModuleType, programs: Path, tmp_path: Path) -> None:
    """The message names Debian's packages, all of them at once."""
    program(programs, "apt-get")
    program(programs, "dpkg-deb")

    with pytest.raises(HostLacks, match="binutils, make missing") as caught:
        build.build_module("6.12.0-x", tmp_path / "cache")

    assert caught.value.next_step == "apt-get install binutils make"


def test_unknown_release_is_named(build: ModuleType, programs: Path, tmp_path: Path) -> None:
    """apt's own last word is passed on."""
    for name in ("make", "dpkg-deb", "ld"):
        program(programs, name)
    program(programs, "apt-get", 'echo "E: Unable to locate package $3" >&2; exit 100')

    with pytest.raises(KernelUnavailable, match=r"Unable to locate package linux-headers-6\.12\.0-x"):
        build.build_module("6.12.0-x", tmp_path / "cache")

    assert not (tmp_path / "cache/disaster-module/6.12.0-x/headers").exists()


FAKES = {
    "apt-get": 'touch "$3.deb"',
    "dpkg-deb": """case $1 in
--field) echo "linux-headers-6.12.0-common (= 6.12), linux-image-6.12.0-x, linux-kbuild-6.12.0, gcc-12" ;;
--extract) t="$3/usr/src/linux-headers-6.12.0-x"; mkdir -p "$t"; touch "$t/.config"
    echo "include /usr/src/linux-headers-6.12.0-common/Makefile" > "$t/Makefile" ;;
esac""",
    "make": """echo make >> "$CALLS"; for word in "$@"; do
case $word in M=*) cp "${word#M=}/ringrig_disaster.c" "${word#M=}/ringrig_disaster.ko" ;; esac; done""",
    "ld": "",
    "gcc": "",
}


def test_a_module_is_built_once_and_again_where_the_cache_was_moved(
    build: ModuleType, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers refer to themselves in the cache, whatever /usr/src has; a moved cache is not trusted."""
    for name, script in FAKES.items():
        program(programs, name, script)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))

    built = [build.build_module("6.12.0-x", tmp_path / "old") for _ in range(2)]
    (tmp_path / "old").rename(tmp_path / "new")
    shutil.rmtree(tmp_path / "new/disaster-module/6.12.0-x" / built[0].parent.name)
    moved = build.build_module("6.12.0-x", tmp_path / "new")

    makefile = moved.parents[1] / "headers/usr/src/linux-headers-6.12.0-x/Makefile"
    assert built[0] == built[1]
    assert (
        makefile.read_text()
        == f"include {moved.parents[1]}/headers/usr/src/linux-headers-6.12.0-common/Makefile\n"
    )
    assert (tmp_path / "calls").read_text() == "make\n" * 2
    assert moved.read_bytes() == (DISASTERS / "module/ringrig_disaster.c").read_bytes()


def test_a_cache_that_cannot_be_written(build: ModuleType, tmp_path: Path) -> None:
    """A file where the folder should be: said in a sentence."""
    (tmp_path / "cache").touch()

    with pytest.raises(RigError, match="Cannot make the cache folder"):
        build.build_module("6.12.0-x", tmp_path / "cache")


@pytest.mark.parametrize(
    ("text", "compiler"),
    [
        ('CONFIG_CC_VERSION_TEXT="gcc-12 (Debian 12.2.0) 12.2.0"', "gcc-12"),
        ('CONFIG_CC_VERSION_TEXT="x86_64-linux-gnu-gcc-14 (Debian 14.2.0) 14.2.0"', "gcc-14"),
        ('CONFIG_CC_VERSION_TEXT="gcc-12 (Debian 12.2.0) 12.2.0"', "gcc"),
        ("", "gcc"),
    ],
)
def test_the_kernels_own_compiler_is_preferred(
    build: ModuleType, programs: Path, tmp_path: Path, text: str, compiler: str
) -> None:
    """The major version the kernel was built with, or else the machine's gcc."""
    (tmp_path / ".config").write_text(text + "\n")
    program(programs, compiler)

    assert build._compiler(tmp_path / ".config") == compiler


def test_no_compiler_is_named(build: ModuleType, programs: Path, tmp_path: Path) -> None:
    """Neither gcc-12 nor gcc: the one the kernel wants is asked for."""
    (tmp_path / ".config").write_text('CONFIG_CC_VERSION_TEXT="gcc-12 (Debian) 12.2.0"\n')

    with pytest.raises(HostLacks, match="need gcc-12"):
        build._compiler(tmp_path / ".config")


def test_every_word_of_the_module_is_documented() -> None:
    """docs/splats.md has a row for each disaster."""
    source = (DISASTERS / "module/ringrig_disaster.c").read_text()
    words = re.findall(r'^\t\{ "([\w-]+)", do_', source, re.MULTILINE)
    page = (DISASTERS.parents[1] / "docs/splats.md").read_text()

    assert len(words) == 17
    assert [word for word in words if not re.search(rf"^\| `{word}\b", page, re.MULTILINE)] == []
