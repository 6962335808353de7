"""Blame: whose splat it is, decided by what the kernel says and when it said it, never by a guess."""

import pytest

from ringrig.plugin import blame
from ringrig.plugin.blame import Ran
from ringrig.vm.splats import Splat


def splat(**facts):
    usual = {
        "kind": "warning",
        "title": "WARNING: CPU: 0 at io_uring/kbuf.c:1",
        "frames": ("io_kbuf_commit",),
        "fingerprint": "f" * 12,
        "comm": None,
        "pid": None,
        "cpu": 0,
        "text": "[  100.000000] WARNING",
        "line": 0,
        "fatal": False,
    }
    return Splat(**(usual | facts))


def ran(number, began, ended, *, pid=None):
    return Ran(
        nodeid=f"t.py::case_{number}", number=number, pid=pid or 1000 + number, began=began, ended=ended
    )


CASES = [ran(1, 90.0, 95.0), ran(2, 98.5, 99.0), ran(3, 99.1, 99.9), ran(4, 99.95, None)]


@pytest.mark.parametrize(
    ("facts", "number"),
    [
        ({"comm": "case-2"}, 2),
        ({"comm": "python3", "pid": 1003}, 3),
        ({"comm": "iou-wrk-1003", "pid": 2222}, 3),
        ({"comm": "iou-sqp-1002", "pid": 2222}, 2),
    ],
    ids=["comm", "pid", "worker", "sq-thread"],
)
def test_the_task_that_the_kernel_names_decides(facts, number):
    """Also for a case that ended before: its name is its own, whatever ran since."""
    assert blame.culprit(splat(**facts), CASES).number == number


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"comm": "kworker/0:1", "pid": 7},
        {"comm": "case-22", "pid": 7},
        {"comm": "iou-wrk-77", "pid": 7},
        {"comm": "swapper/0", "pid": 0},
    ],
    ids=["nobody", "kworker", "other-case", "other-worker", "idle"],
)
def test_a_task_that_is_no_cases_decides_nothing(facts):
    """A number that only begins like a case's is not that case's."""
    assert blame.culprit(splat(**facts), CASES) is None


@pytest.mark.parametrize("where", ["<IRQ>", "<SOFTIRQ>"])
def test_a_complaint_from_an_interrupt_decides_nothing(where):
    """An interrupt runs in whatever task it meets."""
    text = f"[  100.000000] WARNING\n[  100.000001]  {where}\n[  100.000002]  tick"

    assert blame.culprit(splat(comm="case-2", pid=1002, text=text), CASES) is None


def test_suspects_ran_at_the_splat_or_ended_shortly_before():
    """Case 1 ended five seconds before; case 4 runs."""
    assert [case.number for case in blame.suspects(splat(), CASES)] == [2, 3, 4]


def test_what_began_after_the_splat_is_no_suspect():
    """Even if it was still running when the splat was read."""
    early = splat(text="[   99.500000] WARNING")

    assert [case.number for case in blame.suspects(early, CASES)] == [2, 3]


def test_the_window_ends_exactly_where_it_says():
    """WINDOW seconds after its end a case is still a suspect, a moment later no more."""
    cases = [ran(1, 90.0, 100.0 - blame.WINDOW - 0.001), ran(2, 91.0, 100.0 - blame.WINDOW)]

    assert [case.number for case in blame.suspects(splat(), cases)] == [2]


def test_a_splat_without_a_stamp_suspects_every_recent_case():
    """No time, no alibi; but no more than can be tried again."""
    cases = [ran(number, number, number + 0.5) for number in range(200)]

    found = blame.suspects(splat(text="WARNING without printk.time"), cases)

    assert [case.number for case in found] == list(range(200 - blame.MOST_SUSPECTS, 200))


def test_the_number_of_suspects_has_a_limit():
    """The nearest in time are kept."""
    cases = [ran(number, 99.0, 99.5) for number in range(200)]

    found = blame.suspects(splat(), cases)

    assert [case.number for case in found] == list(range(200 - blame.MOST_SUSPECTS, 200))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("[   12.345678] WARNING", 12.345678),
        ("<4>[    1.000000] WARNING", 1.0),
        ("[    7.000000][    T1] WARNING", 7.0),
        ("no stamp\n[    9.000000] later line", 9.0),
        ("WARNING [1.5] of something", None),
    ],
)
def test_stamps_are_read_as_printk_writes_them(text, seconds):
    """With priority and caller or without."""
    assert blame.stamp(text) == seconds


def test_a_second_look_lasts_as_long_as_the_splat_took():
    """And a margin; what ran at the splat, or bears no time, gets the whole window."""
    assert blame.wait_for(splat(), ran(3, 99.1, 99.9)) == pytest.approx(0.4)
    assert blame.wait_for(splat(), ran(4, 99.95, None)) == blame.WINDOW
    assert blame.wait_for(splat(text="no stamp"), ran(3, 99.1, 99.9)) == blame.WINDOW


def test_the_same_splat_again_has_the_same_fingerprint():
    """Or, for one without any trace, the same kind."""
    assert blame.same(splat(), splat(comm="other", text="[ 5.000000] x"))
    assert not blame.same(splat(), splat(fingerprint="0" * 12))
    assert blame.same(splat(frames=()), splat(fingerprint="0" * 12, frames=()))
    assert not blame.same(splat(frames=()), splat(fingerprint="0" * 12, frames=(), kind="oops"))


def test_cases_that_share_a_child_have_each_its_time():
    """From when it began to when the next did; the child's name alone convicts none of them."""
    child = ran(7, 10.0, 13.0)
    done = {"each": [{"since": 10.1}, {"since": 11.0}], "since": 12.0}

    cases = blame.one_by_one(child, ["a", "b", "c"], done)

    assert [(one.nodeid, one.began, one.ended) for one in cases] == [
        ("a", 10.1, 11.0),
        ("b", 11.0, 12.0),
        ("c", 12.0, 13.0),
    ]
    assert blame.culprit(splat(comm="case-7"), cases) is None
    assert blame.culprit(splat(comm="case-7"), cases[:1]) is cases[0]


def test_a_case_without_company_is_itself():
    """Whatever it told."""
    assert blame.one_by_one(CASES[0], ["t.py::case_1"], {"each": [], "since": 91.0}) == [CASES[0]]
