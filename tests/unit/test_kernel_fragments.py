"""Configuration fragments: what is written in them, which wins, and what is no fragment."""

import pytest

from ringrig.errors import BadConfig, BadSpec
from ringrig.kernel import fragments
from ringrig.kernel.config import requirements
from ringrig.kernel.spec import Image

NAMES = [
    "base",
    "compat32",
    "debug",
    "disks",
    "faults",
    "gcov",
    "kasan",
    "kcsan",
    "kfence",
    "kmemleak",
    "preempt",
    "slub",
    "trace",
    "um",
]


@pytest.fixture
def fragment(tmp_path):
    """fragment(text, name="mine"): a user's fragment, read."""

    def make(text, name="mine"):
        (tmp_path / name).write_text(text)
        return fragments.read(tmp_path / name)

    return make


@pytest.mark.parametrize("name", NAMES)
def test_each_fragment_says_in_a_line_what_it_is_for(name):
    """The first line of the file; it is what help shows."""
    found = fragments.find(name)

    assert found.summary.endswith(".") and len(found.summary) > 20
    assert found.options


def test_these_are_known():
    """All files of kconfigs/ but its README."""
    assert [one.name for one in fragments.known()] == NAMES


def test_a_name_with_a_typo_gets_the_nearest():
    """And the list of all."""
    with pytest.raises(BadSpec, match=r"'kasn' \(did you mean kasan"):
        fragments.find("kasn")


def test_sections_are_for_one_architecture(fragment):
    """What stands before the first is for all."""
    one = fragment(
        "# For a test.\nCONFIG_A=y\n# [x86]\nCONFIG_B=y\n# [um]\nCONFIG_C=y\n# [all]\nCONFIG_D=n\n"
    )

    assert fragments.text(fragments.merge([one], "x86")) == "CONFIG_A=y\nCONFIG_B=y\n# CONFIG_D is not set\n"
    assert fragments.text(fragments.merge([one], "um")) == "CONFIG_A=y\nCONFIG_C=y\n# CONFIG_D is not set\n"


def test_the_later_one_wins(fragment):
    """Also against "is not set", and it says who asked."""
    first, second = (
        fragment("CONFIG_A=y\nCONFIG_B=1\n", "first"),
        fragment("# CONFIG_A is not set\n", "second"),
    )

    requested = fragments.merge([first, second], "x86")

    assert {name: option.value for name, option in requested.options.items()} == {"B": "1", "A": "n"}
    assert requested.options["A"].where.endswith("second:1")


@pytest.mark.parametrize(
    "line", ["CONFIG_FOO y", "CONFG_X=y", "CONFIG_X=yes", "CONFIG_X", " CONFIG_X=y", 'CONFIG_X="y', "X=y"]
)
def test_a_line_that_is_no_option(fragment, line):
    """Named with file and line."""
    with pytest.raises(BadConfig, match="mine:2: this is no option"):
        fragment(f"# A comment.\n{line}\n")


def test_a_section_for_no_architecture(fragment):
    """Its options would never be asked for."""
    with pytest.raises(BadConfig, match="mine:1: there is no architecture 'arm'"):
        fragment("# [arm]\nCONFIG_A=y\n")


def test_a_file_that_is_no_text(tmp_path):
    """Such as /proc/config.gz."""
    (tmp_path / "config.gz").write_bytes(b"\x1f\x8b\x08\x00")

    with pytest.raises(BadSpec, match=r"config\.gz cannot be read"):
        fragments.find(str(tmp_path / "config.gz"))


def test_base_comes_first_and_um_where_it_belongs():
    """Whoever names them himself does not get them twice."""
    assert [one.name for one in fragments.gather([], "x86")] == ["base"]
    assert [one.name for one in fragments.gather(["kasan", "base"], "um")] == ["base", "um", "kasan"]


@pytest.mark.parametrize("arch", ["x86", "um"])
def test_base_asks_for_what_a_guest_needs(tmp_path, arch):
    """What config.py would refuse to boot without."""
    config = tmp_path / "config"
    config.write_text(fragments.text(fragments.merge(fragments.gather([], arch), arch)))
    image = Image(
        spec="source:6.12",
        label="",
        path=config,
        release="",
        build_id=None,
        modules=None,
        config=config,
        package=None,
        arch=arch,
    )

    assert requirements(image)


def test_a_complete_configuration_stands_in_for_base(fragment, tmp_path):
    """It is where to start, and no demand: what another version lacks of it is nobody's loss."""
    header = "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 6.12.1 Kernel Configuration\n#\n"
    fragment(f"{header}CONFIG_A=y\nCONFIG_B=y\n", "dot-config")

    chosen = fragments.gather([str(tmp_path / "dot-config"), "preempt"], "x86")
    requested = fragments.merge(chosen, "x86")

    assert [one.complete for one in chosen] == [True, False]
    assert requested.target == "alldefconfig"
    assert list(requested.options) == ["PREEMPT"]
    assert fragments.text(requested).startswith("CONFIG_A=y\nCONFIG_B=y\n")
    with pytest.raises(BadConfig, match="is a configuration for x86"):
        fragments.merge(chosen, "um")


def test_variables_for_make(fragment):
    """They are no options; the last one wins, and an architecture has its own."""
    first = fragment("CONFIG_A=y\n# make GCOV_PROFILE_kbuf.o=n\n# makes sense\n", "first")
    second = fragment("# make GCOV_PROFILE_kbuf.o=y\n# [um]\n# make CFLAGS_x.o=-DX=1\n", "second")

    requested = fragments.merge([first, second], "um")

    assert requested.variables == {"GCOV_PROFILE_kbuf.o": "y", "CFLAGS_x.o": "-DX=1"}
    assert fragments.text(requested) == "CONFIG_A=y\n"
    assert fragments.merge([first, second], "x86").variables == {"GCOV_PROFILE_kbuf.o": "y"}
