"""Judging one case's course: every way it can end, and which of them spoil the guest."""

import signal

import pytest

from ringrig.plugin.judge import COMPLAINTS, Course, ending, judge, logged, of_splat

WARNING = [
    "4,701,100000000,-;------------[ cut here ]------------",
    "4,702,100000001,-;WARNING: CPU: 0 PID: 77 at io_uring/kbuf.c:300 io_kbuf_commit+0x1/0x2",
    "4,703,100000002,-;CPU: 0 UID: 0 PID: 77 Comm: case-3 Not tainted 6.12.0 #1",
    "4,704,100000003,-;Call Trace:",
    "4,705,100000004,-; <TASK>",
    "4,706,100000005,-; io_kbuf_commit+0x1/0x2",
    "4,707,100000006,-; </TASK>",
    "4,708,100000007,-;---[ end trace 0000000000000000 ]---",
]
PANIC = (
    "[   10.000000] Kernel panic - not syncing: sysrq triggered crash\n"
    "[   10.000001] CPU: 0 UID: 0 PID: 77 Comm: case-3 Not tainted 6.12.0 #1\n"
    "[   10.000002] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\n"
)


def done(**facts):
    usual = {
        "reports": [],
        "status": 0,
        "reaped": True,
        "stacks": "",
        "stuck": "",
        "log": [],
        "taint": 0,
        "pins_left": 0,
    }
    return Course(end="done", done=usual | facts)


def judged(course, *, taint=0, shared=False, boxed=True):
    return judge(course, taint=taint, seconds=20.0, shared=shared, boxed=boxed)


def kinds(found):
    return [trouble.kind for trouble in found.troubles]


def test_a_quiet_case_is_no_trouble():
    """And its guest is used again."""
    found = judged(done())

    assert (found.troubles, found.splats, found.spoilt) == ([], [], False)


def test_a_splat_waits_for_its_culprit_and_spoils_the_guest():
    """It is no trouble of this case yet."""
    found = judged(done(log=WARNING, taint=1 << 9))

    assert kinds(found) == []
    assert [splat.comm for splat in found.splats] == ["case-3"]
    assert found.spoilt


def test_taint_without_a_word_in_the_log_is_trouble():
    """The second witness: a complaint that the log lost."""
    found = judged(done(taint=1 << 9))

    assert kinds(found) == ["taint"]
    assert "WARNING" in found.troubles[0].what
    assert found.spoilt


@pytest.mark.parametrize(("before", "after"), [(1 << 9, 1 << 9), (0, 1 << 12 | 1 << 13 | 1 << 0), (0, None)])
def test_taint_that_is_old_or_no_complaint_is_none(before, after):
    """Out-of-tree and unsigned modules taint too; None: it could not be read (said elsewhere)."""
    found = judged(done(taint=after), taint=before)

    assert (found.troubles, found.spoilt) == ([], False)


def test_every_complaining_taint_counts():
    """Machine check, bad page, oops, warning, soft lockup: the letters M, B, D, W, L."""
    assert [bit for bit in range(20) if COMPLAINTS >> bit & 1] == [4, 5, 7, 9, 14]


def test_pages_that_stay_pinned_are_trouble():
    """They spoil the guest, for the next case would be judged by them."""
    found = judged(done(pins_left=3))

    assert kinds(found) == ["pins"]
    assert "3 pages" in found.troubles[0].what
    assert found.spoilt


def test_pins_on_a_shared_kernel_are_somebody_elses():
    """And a shared kernel is never spoilt, for it cannot be replaced."""
    found = judged(done(pins_left=3, log=WARNING, taint=1 << 9), shared=True, boxed=False)

    assert kinds(found) == []
    assert len(found.splats) == 1
    assert not found.spoilt


def test_a_timeout_shows_the_stacks_and_keeps_the_guest():
    """A hang in user space is the case's own matter."""
    found = judged(done(stacks="thread 77 case-3 state S", reports=None, status=signal.SIGKILL))

    assert kinds(found) == ["timeout"]
    assert "20 s" in found.troubles[0].what
    assert "thread 77" in found.troubles[0].detail
    assert not found.spoilt


def test_a_case_that_cannot_be_killed_spoils_the_guest():
    """It is stuck in the kernel."""
    found = judged(done(stacks="thread 77 state D", reports=None, reaped=False))

    assert kinds(found) == ["timeout", "hang"]
    assert found.spoilt


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (signal.SIGSEGV, "killed by SIGSEGV"),
        (signal.SIGSEGV | 0x80, "killed by SIGSEGV"),
        (3 << 8, "exit status 3"),
        (70, "killed by signal 70"),
    ],
)
def test_a_case_that_ends_without_reports_died(status, words):
    """The wait status in words, core dumped or not."""
    found = judged(done(reports=None, status=status))

    assert ending(status) == words
    assert kinds(found) == ["died"]
    assert words in found.troubles[0].what
    assert not found.spoilt


def test_a_case_that_is_not_in_the_guest_is_lost():
    """With the guest's reason, an import error for example."""
    found = judged(Course(end="done", done={"lost": "ImportError: no such thing"}))

    assert kinds(found) == ["lost"]
    assert "no such thing" in found.troubles[0].detail
    assert not found.spoilt


def test_a_guest_that_dies_in_a_panic_says_so_itself():
    """The panic is the splat; no second trouble repeats it."""
    found = judged(Course(end="dead", console=PANIC))

    assert kinds(found) == []
    assert [splat.fatal for splat in found.splats] == [True]
    assert found.spoilt


def test_a_guest_that_dies_silently_is_trouble_of_its_own():
    """With the console's end and what the agent complained of."""
    found = judged(Course(end="dead", console="[    1.000000] usb: hello\n", complaints="MemoryError"))

    assert kinds(found) == ["died"]
    assert "usb: hello" in found.troubles[0].detail
    assert "MemoryError" in found.troubles[0].detail
    assert found.spoilt


def test_a_death_after_a_warning_is_not_explained_by_the_warning():
    """What did not end the kernel does not explain its end."""
    text = "\n".join(f"[   10.00000{n}] {line.split(';', 1)[1]}" for n, line in enumerate(WARNING))

    found = judged(Course(end="dead", console=text))

    assert kinds(found) == ["died"]
    assert len(found.splats) == 1


def test_an_agent_that_is_gone_where_no_guest_is_ours():
    """On a board or the host it is the agent that ended, not the machine."""
    found = judged(Course(end="dead"), shared=True, boxed=False)

    assert found.troubles[0].what == "the agent is gone"


def test_a_silent_guest_hangs_in_the_case_that_runs():
    """Whatever its stacks look like in the dump: they are evidence, not another event."""
    found = judged(Course(end="silent", console=PANIC))

    assert kinds(found) == ["hang"]
    assert "sysrq triggered" in found.troubles[0].detail
    assert found.splats == []
    assert found.spoilt


def test_the_console_of_a_trouble_is_its_end():
    """A long console is cut at the front."""
    found = judged(Course(end="silent", console="\n".join(map(str, range(1000)))))

    assert found.troubles[0].detail.splitlines()[-1] == "999"
    assert 50 < len(found.troubles[0].detail.splitlines()) < 500


def test_a_splats_trouble_names_kind_title_and_fingerprint():
    """A panic is called one."""
    warning, panic = (
        of_splat(logged(WARNING)[0]),
        of_splat(judged(Course(end="dead", console=PANIC)).splats[0]),
    )

    assert (warning.kind, panic.kind) == ("splat", "panic")
    assert "io_kbuf_commit" in warning.what
    assert warning.fingerprint == logged(WARNING)[0].fingerprint
    assert "sysrq triggered crash" in panic.what
