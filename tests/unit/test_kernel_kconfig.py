"""Options that the kernel dropped: told with what its Kconfig files say they depend on; and how such files are read."""

import pytest

from ringrig.errors import BadConfig
from ringrig.kernel import fragments, kexpr
from ringrig.kernel.kconfig import Kconfig

KCONFIG = """\
mainmenu "A small kernel"
source "arch/$(SRCARCH)/Kconfig"
config EXPERT
	bool "Everything"
config DEBUG_KERNEL
	bool "Debugging"
menu "Faults"
	depends on DEBUG_KERNEL
config FAULT_INJECTION
	bool "Inject faults"
	help
		config NOT_AN_OPTION
		depends on HELP_TEXT
config FAILSLAB
	bool "Slab allocations that fail"
	depends on FAULT_INJECTION && \\
		SLUB
config RACES
	bool "Races"
	depends on HAVE_ARCH_RACES
config HAVE_ARCH_RACES
	bool
endmenu
config SLUB
	def_bool y
config SECRET
	bool "Secret" if EXPERT
if SLUB
config NR
	int "How many"
	range 1 4
	default 2
endif
choice
	prompt "Tick"
config HZ_100
	bool "100"
config HZ_250
	bool "250"
endchoice
config PULLED
	bool "Pulled in"
config PULLS
	bool "Pulls"
	select PULLED # for a test
config PAHOLE_VERSION
	int
	default $(shell,pahole)
config TYPED
	bool "Typed"
	depends on PAHOLE_VERSION >= 116
config CHECKED
	bool "Checked"
	depends on $(cc-option,-fchecked)
"""
RESULT = "CONFIG_SLUB=y\nCONFIG_NR=2\nCONFIG_HZ_250=y\n"


@pytest.fixture
def source(tmp_path):
    """A source with two architectures; only x86 has races that can be found."""
    files = {
        "Kconfig": KCONFIG,
        "arch/x86/Kconfig": 'config X86\n\tdef_bool y\n\tselect HAVE_ARCH_RACES\nconfig SMP\n\tbool "CPUs"\n',
        "arch/um/Kconfig": "config UML\n\tdef_bool y\n",
    }
    for name, text in files.items():
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_text(text)
    return tmp_path / "src"


@pytest.fixture
def verify(tmp_path, source):
    """verify(text, result, arch="x86"): what becomes of a user's fragment whose kernel came out as `result`."""

    def check(text, result=RESULT, arch="x86"):
        (tmp_path / "mine").write_text(text)
        requested = fragments.merge([fragments.read(tmp_path / "mine")], arch)
        return fragments.verify(requested, result, source, arch)

    return check


def test_all_that_was_asked_for_came_out(verify):
    """What was to be a module is built in where there are none."""
    assert verify("CONFIG_SLUB=m\nCONFIG_NR=2\n# CONFIG_FAILSLAB is not set\n") == ()


def test_an_option_whose_dependency_is_off(verify):
    """Option, who asked, and what it depends on, with the values; menus count."""
    with pytest.raises(BadConfig) as caught:
        verify("# For a test.\nCONFIG_FAILSLAB=y\n")

    said = str(caught.value)
    assert "CONFIG_FAILSLAB=y (" in said and "mine:2) is not in the result: it depends on " in said
    assert "DEBUG_KERNEL (=n) and FAULT_INJECTION (=n)" in said
    assert "SLUB" not in said


def test_a_prompt_that_is_not_shown(verify):
    """`bool "…" if EXPERT` cannot be answered without EXPERT."""
    with pytest.raises(BadConfig, match=r"CONFIG_SECRET=y .* depends on EXPERT \(=n\)"):
        verify("CONFIG_SECRET=y\n")


def test_what_only_an_architecture_can_select_is_listed(verify):
    """No fragment could help."""
    told = verify("CONFIG_RACES=y\n", RESULT + "CONFIG_DEBUG_KERNEL=y\n", arch="um")

    assert len(told) == 1
    assert "CONFIG_RACES=y (" in told[0] and "it depends on HAVE_ARCH_RACES (=n)" in told[0]


def test_the_same_where_the_architecture_has_it_is_an_error(verify):
    """There it is the fragment's fault."""
    with pytest.raises(BadConfig, match="CONFIG_RACES=y"):
        verify("CONFIG_RACES=y\n", RESULT + "CONFIG_X86=y\nCONFIG_HAVE_ARCH_RACES=y\n")


def test_an_option_of_another_architecture_is_listed(verify):
    """With the file that has it."""
    assert "(arch/x86/Kconfig)" in verify("CONFIG_SMP=y\n", arch="um")[0]


def test_an_option_that_is_nowhere_gets_the_nearest(verify):
    """A typo in the user's fragment; what stands in a help text is no option."""
    with pytest.raises(BadConfig, match="is not an option of this source; near it are FAILSLAB"):
        verify("CONFIG_FAIL_SLAB=y\n")
    with pytest.raises(BadConfig, match="is not an option of this source"):
        verify("CONFIG_NOT_AN_OPTION=y\n")


def test_what_a_version_lacks_of_our_own_fragments_is_listed(source):
    """They are meant for all versions; a user's is meant for this one."""
    requested = fragments.merge([fragments.find("gcov")], "x86")

    told = fragments.verify(requested, RESULT, source, "x86")

    assert [line.partition("=")[0] for line in told] == ["CONFIG_GCOV_KERNEL"]
    assert all(line.endswith("is not an option of this version") for line in told)


def test_a_number_out_of_its_range(verify):
    """The kernel puts its own in its place."""
    with pytest.raises(BadConfig, match=r"CONFIG_NR=9 .* is =2 in the result: see Kconfig:\d+"):
        verify("CONFIG_NR=9\n")


def test_an_option_that_shall_be_off_and_is_selected(verify):
    """By whom."""
    with pytest.raises(BadConfig, match=r"CONFIG_PULLED=n .* selected by PULLS \(=y\)"):
        verify("# CONFIG_PULLED is not set\n", RESULT + "CONFIG_PULLS=y\nCONFIG_PULLED=y\n")


def test_of_a_choice_the_later_demand_counts(verify):
    """The earlier one is outvoted, not lost."""
    assert verify("CONFIG_HZ_100=y\nCONFIG_HZ_250=y\n") == ()
    with pytest.raises(BadConfig, match="CONFIG_HZ_100=y"):
        verify("CONFIG_HZ_100=y\n")


def test_what_the_compiler_lacks_is_an_error(verify):
    """A check that was asked for and silently left out would be a false pass."""
    with pytest.raises(
        BadConfig, match=r"CONFIG_TYPED=y .*lacks it: it depends on PAHOLE_VERSION >= 116 \(PAHOLE"
    ):
        verify("CONFIG_TYPED=y\n", RESULT + "CONFIG_PAHOLE_VERSION=0\n")
    with pytest.raises(BadConfig, match=r"a tool of this machine \(the compiler\?\) lacks it: it depends on"):
        verify("CONFIG_CHECKED=y\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 2),
        ("A", 2),
        ("M", 1),
        ("!M", 1),
        ("B", 0),
        ("A && (B || !B)", 2),
        ("A=y && N > 3", 2),
        ('S = "x86"', 2),
        ('S != "x86"', 0),
        ("N < 0x5", 2),
        ("$(cc-option,-f(x))", 0),
        ("A &&", 0),
    ],
)
def test_expressions(text, expected):
    """n, m and y are 0, 1 and 2; the and takes the least, the or the most."""
    values = {"A": "y", "M": "m", "N": "4", "S": '"x86"'}

    assert kexpr.value(kexpr.parse(text), values) == expected


def test_conditional_dependencies(tmp_path):
    """`depends on A if B`, since 7.0, asks for A only where B is set."""
    (tmp_path / "Kconfig").write_text('config X\n\tbool "X"\n\tdepends on A if B\n')
    kconfig = Kconfig(tmp_path, "x86")

    assert kconfig.unmet("X", {}) == []
    assert [kexpr.words(one, {"B": "y"}) for one in kconfig.unmet("X", {"B": "y"})] == ["!B || A (B=y, A=n)"]


def test_a_circle_of_options_hides_none(tmp_path):
    """Options that lead to each other, one of which has a way in from outside, can all be reached."""
    (tmp_path / "Kconfig").write_text(
        'config A\n\tbool "A"\n\tdepends on B || C\nconfig B\n\tbool\n\tdefault y if A\nconfig C\n\tbool "C"\n'
    )

    assert all(Kconfig(tmp_path, "x86").settable(kexpr.parse(name), {}) for name in ("A", "B"))
    assert not Kconfig(tmp_path, "x86").settable(kexpr.parse("D"), {})
