"""rig explain: where two courses part, from counters of a small program as gcov counts; what returned an errno, from traces."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ringrig.campaign import returns
from ringrig.campaign.again import REST, Call, Run, run_of
from ringrig.campaign.courses import Seen, literals, part
from ringrig.campaign.coverage_counts import Counts
from ringrig.campaign.finding import Explained, Finding, complained_of, of_splat
from ringrig.campaign.pair import Pair
from ringrig.errors import NothingRan
from ringrig.plugin.keeper import Outcome
from ringrig.report import explain as report
from ringrig.vm.lines import Lines

TRACES = Path(__file__).parents[1] / "data/traces"
GOOD = """\
static int io_check(struct reg *reg)
{
	if (reg->resv)
		return -EINVAL;
	if (!reg->addr)
		return -EFAULT;
	reg->seen = 1;
	return 0;
}

int io_register(struct reg *reg)
{
	int ret = io_check(reg);

	if (ret)
		goto out;
	io_add(reg);
out:
	return ret;
}
"""
LINES = {
    number: number
    for number, line in enumerate(GOOD.split("\n"), start=1)
    if line.strip() and not line.startswith(("{", "}")) and "return -E" not in line
}


def seen(*executed: int, times: int = 1, code: dict[int, int] = LINES) -> Seen:
    """Three runs that executed these lines, of those that have code."""
    lines = Counter({("kbuf.c", line): times if line in executed else 0 for line in code})
    return Seen.of([Counts(lines=lines)] * 3)


def pair(bad: str = GOOD, good: str = GOOD) -> Pair:
    return Pair(bad={"kbuf.c": bad}, good={"kbuf.c": good})


PASSES = seen(1, 3, 5, 7, 8, 11, 13, 15, 17, 18, 19)


def test_what_a_callee_decided_comes_before_its_callers_decision():
    """The check fails; its caller then leaves, too. `return -EFAULT;` has no code, and nothing behind it was executed."""
    first, second = part(pair(), seen(1, 3, 5, 11, 13, 15, 16, 18, 19), PASSES)

    assert (first.function, first.place) == (("kbuf.c", "io_check"), ("kbuf.c", 5))
    assert (first.went, first.missed) == (("kbuf.c", 6), ("kbuf.c", 7))
    assert first.chain == ("io_register", "io_check")
    assert second.place == ("kbuf.c", 15)


def test_a_check_that_is_gone_is_where_they_part():
    """The line is another one in the bad kernel, and has no code there; what follows is found by its text."""
    bad = GOOD.replace("if (reg->resv)", "if (false)")
    passes = seen(1, 3, 11, 13, 15, 16, 18, 19)

    first = part(pair(bad=bad), seen(1, 5, 7, 8, 11, 13, 15, 17, 18, 19), passes)[0]

    assert first.place == ("kbuf.c", 3)
    assert first.went == ("kbuf.c", 5)


def test_lines_that_moved_are_the_same_lines():
    """A patch that only adds a comment changes no course."""
    bad = "/* new */\n\n" + GOOD
    moved = {line + 2: line for line in LINES}
    runs = seen(*(line + 2 for line in (1, 3, 5, 7, 8, 11, 13, 15, 17, 18, 19)), code=moved)

    assert part(pair(bad=bad), runs, PASSES) == []


def test_what_differs_between_runs_of_one_kernel_decides_nothing():
    """One of the failing runs took another line, the others did not."""
    runs = [
        Counts(lines=Counter({("kbuf.c", line): 1 for line in lines}))
        for lines in ([1, 3, 5, 7, 8], [1, 3, 5, 7, 8], [1, 3, 5])
    ]
    passes = Counts(lines=Counter({("kbuf.c", line): 1 for line in (1, 3, 5, 7, 8)}))

    assert part(pair(), Seen.of(runs), Seen.of([passes])) == []


def test_an_errno_is_named_where_the_function_was_left():
    """Of the two lines that could have returned it, the one whose check was the last to be executed."""
    bad = GOOD.replace("-EFAULT", "-EINVAL")

    assert literals(pair(bad=bad), seen(1, 3, 5, 11), None, "EINVAL") == [("kbuf.c", 6)]
    assert literals(pair(bad=bad), seen(1, 3, 11), None, "EINVAL")[0] == ("kbuf.c", 4)


def test_changed_lines_are_those_of_the_bad_kernel():
    assert pair(bad=GOOD.replace("-EFAULT", "-EINVAL")).changed == {("kbuf.c", 6)}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("PBUF_RING: got -EINVAL, want 0", "EINVAL"), ("got 0, want -EINVAL", ""), ("4 != 5", "")],
)
def test_what_a_case_complains_of(words: str, wanted: str):
    """What it got; what it wanted is not looked for."""
    assert complained_of(Run(failed=True, words=words)) == wanted


def traced_run(file: str, *, call: int) -> Run:
    calls = [Call(name="io_uring_register(REGISTER_PBUF_RING)", res=-22)] * call
    trace = (TRACES / file).read_text()
    return Run(
        failed=True, words="got -EINVAL, want 0", calls=(*calls, Call(name=REST, res=None)), trace=trace
    )


@pytest.mark.parametrize(
    ("file", "chain"),
    [
        ("graph-6.12.txt", ("__x64_sys_io_uring_register", "io_register_pbuf_ring")),
        ("graph-7.3.txt", ("__x64_sys_io_uring_register", "io_register_pbuf_ring")),
        (
            "kretprobes-6.12.txt",
            ("__x64_sys_io_uring_register", "__io_uring_register", "io_register_pbuf_ring"),
        ),
    ],
)
def test_the_innermost_function_that_returned_it(file: str, chain: tuple[str, ...]):
    """function_graph as 6.12 and as 7.3 print it, and kretprobes of a task whose name the kernel lost; another task's do not count."""
    found = returns.traced(traced_run(file, call=4), {}, Lines(None))

    assert (found.how, found.function, found.number) == ("trace", "io_register_pbuf_ring", 4)
    assert found.chain == chain


def test_a_trace_and_the_sources_name_the_line():
    """Where the function names the errno once."""
    text = "int io_register_pbuf_ring(struct reg *reg)\n{\n\tif (reg->resv)\n\t\treturn -EINVAL;\n\treturn 0;\n}\n"

    found = returns.traced(traced_run("graph-6.12.txt", call=4), {"kbuf.c": text}, Lines(None))

    assert found.place == ("kbuf.c", 4)


def test_a_call_that_returned_something_else_is_not_looked_into():
    """No function of the last call returned it: nothing is named, and the evidence says so."""
    found = returns.traced(traced_run("graph-6.12.txt", call=3), {}, Lines(None))

    assert (found.how, found.function) == ("nothing", "")
    assert "no function that is traced returned -EINVAL" in found.evidence[0]


def test_a_splat_says_where_by_itself():
    """The first function of io_uring's that has a line; the helpers of the panic before it are not meant."""
    splat = "RIP: kfree+0x1/0x2 (mm/slub.c:9)\n io_kbuf_commit.isra.0+0x10/0x90 (io_uring/kbuf.c:77)\n io_read+0x1/0x2 (io_uring/rw.c:5)"

    found = of_splat(Run(failed=True, splat=splat), Lines(None))

    assert found is not None
    assert (found.how, found.place, found.function) == ("splat", ("kbuf.c", 77), "io_kbuf_commit")


def test_a_case_that_is_left_out_has_nothing_to_explain():
    reports: list[dict[str, object]] = [
        {"outcome": "skipped", "longrepr": ["f", 1, "Skipped: needs mmap: no"]}
    ]

    with pytest.raises(NothingRan, match="needs mmap"):
        run_of(Outcome(ran=None, guest="g", reports=reports), "a::b", "some kernel")


def explained(finding: Finding, *, failed: int = 3) -> Explained:
    runs = tuple(Run(failed=number < failed, words="got -EFAULT, want 0") for number in range(3))
    return Explained(
        case="a::b",
        label="some kernel",
        folder=Path("/nowhere"),
        runs=runs,
        against="compared with itself",
        finding=finding,
        texts={"kbuf.c": GOOD},
    )


def test_the_report_shows_the_line_with_its_neighbours():
    finding = Finding(
        how="course",
        place=("kbuf.c", 5),
        function="io_check",
        went=("kbuf.c", 6),
        chain=("io_register", "io_check"),
        touched=True,
    )

    text = report.render(explained(finding))

    assert "kbuf.c:5 io_check(): this run went into `return -EFAULT;` (kbuf.c:6)" in text
    assert "    >     5      if (!reg->addr)\n" in text
    assert "this was changed by the patch" in text
    assert "called by io_register > io_check" in text
    assert "FLAKY" not in text


def test_the_report_says_that_a_case_is_flaky_and_that_nothing_was_found():
    text = report.render(explained(Finding(how="nothing"), failed=1))

    assert "FLAKY, it fails 1 times of 3" in text
    assert "nothing to point at" in text
