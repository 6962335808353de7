"""What was left out is said with the command that completes it."""

from ringrig.plugin import left_out
from ringrig.vm.plan import Plan

HUGE = "needs hugetlb: no 2 MiB pages"
MIXED = "needs cqe_mixed: io_uring_setup() says -EINVAL"


def plan(spec, *, guest="qemu", kind="image", lacks=()):
    return Plan(
        kind=kind, spec=spec, label=spec, release="6.12.117", folder="", scratch="", suite="", tops=(), pack="",
        guest=guest, lacks=lacks,
    )  # fmt: skip


def test_nothing_left_out_nothing_said():
    assert left_out.lines(plan("debian:6.12"), {}, []) == []


def test_reasons_are_counted_most_first():
    """With what can be done about one, where something can."""
    skipped = {"a::1": MIXED, "a::2": HUGE, "a::3": MIXED}

    assert left_out.lines(plan("debian:6.12"), skipped, []) == [
        "PARTIAL: 3 cases were left out:",
        f"     2 {MIXED}",
        f"     1 {HUGE}\n       → reserve some: sysctl vm.nr_hugepages=8",
    ]


def test_what_user_mode_linux_has_not_is_run_in_qemu():
    """The same source, configuration and patches; only the files that matter."""
    arguments = ["--kernel=source:6.12", "--config=debug", "--patch=/p", "--guest", "uml", "-q"]
    skipped = {"suites/register/test_address.py::a": HUGE, "suites/abi/test_entry.py::b": MIXED}

    last = left_out.lines(plan("source:6.12", guest="uml"), skipped, arguments)[-1]

    assert last.endswith(
        "./rig run --kernel source:6.12 --config=debug --patch=/p --guest qemu suites/register/test_address.py"
    )


def test_calls_of_32_bits_want_a_kernel_that_serves_them():
    """In QEMU, and built with the fragment that turns them on."""
    why = "needs compat32: int $0x80 makes 64-bit calls"

    last = left_out.lines(plan("source:6.12", guest="uml"), {"suites/compat/a.py::b": why}, [])[-1]

    assert last.endswith("./rig run --kernel source:6.12 --config=compat32 --guest qemu suites/compat/a.py")


def test_a_prebuilt_one_is_completed_by_debians_own_kernel():
    """There is no QEMU image of the very same package."""
    last = left_out.lines(plan("debian-uml:6.1", guest="uml"), {"f::a": HUGE}, ["--kernel=debian-uml:6.1"])[
        -1
    ]

    assert last.endswith("./rig run --kernel debian:6.1 f")


def test_an_option_that_the_architecture_has_not_is_partial():
    """Although every case passed: what was asked for is not what ran."""
    found = left_out.lines(
        plan("source:6.12", guest="uml", lacks=("CONFIG_KCSAN=y (kconfigs/kcsan:3)",)), {}, []
    )

    assert found[0] == "PARTIAL: built without CONFIG_KCSAN=y (kconfigs/kcsan:3)"
    assert "--guest qemu" in found[1]


def test_what_only_the_version_lacks_asks_for_no_other_guest():
    """QEMU would not have it either."""
    assert len(left_out.lines(plan("source:6.12", guest="uml"), {"f::a": MIXED}, [])) == 2
