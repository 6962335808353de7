"""What the agent is asked besides a single case: several in one process, told apart by dots and reports; and commands."""

import signal
import time

import pytest
from fakes import agents
from fakes.agents import cases, gone, outcome

suite, machine = agents.suite, agents.machine


@pytest.fixture
def ask(machine):
    """ask(nodeids=…) or ask(command=…): how often the agent said that it goes on, and its answer."""
    count = iter(range(1001, 2000))

    def ask(*, abort_after=None, **what):
        number, news = next(count), 0
        machine.link.send({"op": "run", "id": number, **what})
        assert machine.link.receive(20) == {"op": "begun", "id": number}
        if abort_after is not None:
            assert machine.link.receive(abort_after) is None
            machine.link.send({"op": "abort", "id": number})
        while (message := machine.link.receive(20))["op"] == "goes on":
            news += 1
        assert (message["op"], message["id"]) == ("done", number)
        return news, message

    return ask


def test_several_cases_run_in_one_process(ask):
    """In their order; the reports are the last one's."""
    _, done = ask(nodeids=cases("counts_on[0]", "counts_on[1]", "counts_on[2]"))

    assert (done["passed"], outcome(done), done["status"]) == (2, ["passed"] * 3, 0)
    assert done["reports"][0]["nodeid"].endswith("test_counts_on[2]")


@pytest.mark.parametrize(
    ("names", "passed", "outcomes"),
    [
        (["passes", "fails", "facts"], 1, ["passed", "failed", "passed"]),
        (["passes", "facts", "skips", "is_named"], 2, ["passed", "skipped", "passed"]),
        (["has_no_set_up", "passes"], 0, ["failed", "passed"]),
        (["passes", "has_no_tear_down", "facts"], 1, ["passed", "passed", "failed"]),
    ],
)
def test_the_first_that_does_not_pass_is_the_last_to_run(ask, names, passed, outcomes):
    """A dot for each before it, and its reports."""
    _, done = ask(nodeids=cases(*names))

    assert (done["passed"], outcome(done)) == (passed, outcomes)


def test_the_reports_of_each_may_be_wanted(ask):
    """With the time since when it ran; none is an end then, whatever becomes of it. Of a pass durations are enough."""
    _, done = ask(nodeids=cases("passes", "is_left_out", "fails", "skips", "is_named"), each=True)

    left_out, failed, skipped = (
        ["skipped", "passed"],
        ["passed", "failed", "passed"],
        ["passed", "skipped", "passed"],
    )
    passed, *others = done["each"]
    assert len(passed["seconds"]) == 3
    assert [outcome(one) for one in others] == [left_out, failed, skipped]
    assert outcome(done) == ["passed"] * 3
    since = [*(one["since"] for one in done["each"]), done["since"]]
    assert sorted([done["began"], *since, done["ended"]]) == [done["began"], *since, done["ended"]]


@pytest.mark.parametrize("name", ["segfaults", "leaves_at_once"])
def test_of_several_the_one_that_dies_is_known(ask, name):
    """By the dots before it."""
    _, done = ask(nodeids=cases("passes", "facts", name, "is_named"))

    assert (done["passed"], done["reports"]) == (2, None)


def test_of_several_the_one_that_hangs_is_known(ask):
    """It is portrayed and killed, and the agent goes on."""
    _, done = ask(nodeids=cases("passes", "hangs", "facts"), abort_after=0.5)

    assert (done["passed"], done["reports"], done["status"]) == (1, None, signal.SIGKILL)
    assert f"case-{done['id']} state S" in done["stacks"]
    assert ask(nodeids=cases("passes"))[1]["passed"] == 0


def test_the_host_hears_that_several_go_on(ask):
    """Its deadline is for one case, not for all; quick ones are not worth a word each."""
    slow, _ = ask(nodeids=cases(*(f"takes_its_time[{turn}]" for turn in range(3))))
    quick, _ = ask(nodeids=cases("passes", "facts", "is_named", "closes_every_descriptor"))

    assert slow >= 2
    assert quick <= 1


def test_a_case_that_forks_and_comes_back_runs_the_others_once(ask):
    """The second process goes no further."""
    _, done = ask(nodeids=cases("counts_on[0]", "forks_and_both_return", "counts_on[1]"))

    assert (done["passed"], outcome(done)) == (2, ["passed"] * 3)


def test_cases_may_be_named_by_number(ask):
    """As in the list that travelled with the suite: hundreds of node ids a request would be slow."""
    _, done = ask(cases=[0, 1], name="two of them")

    assert (done["passed"], outcome(done)) == (1, ["passed", "skipped", "passed"])


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("true", 0, ""),
        ("echo out; echo err >&2; exit 3", 3 << 8, "out\nerr\n"),
        ("kill -SEGV $$", signal.SIGSEGV, ""),
        ("./tool.sh", 7 << 8, "tool\n"),
        ("no-such-program", 127 << 8, "no-such-program"),
        ("printf '...\\n...'", 0, "...\n..."),
    ],
)
def test_a_command_is_judged_by_its_status_and_heard(ask, words, status, said):
    """Run by the shell, in the folder that travelled along; both streams."""
    _, done = ask(command=words)

    assert done["status"] & ~0x80 == status
    assert said in done["said"] if "such" in words else done["said"] == said
    assert "reports" not in done


def test_of_much_output_the_end_travels(ask):
    """That is where programs say what was wrong; the agent keeps no more of it."""
    _, done = ask(command="head -c 50000000 /dev/zero | tr '\\0' x; echo; echo the end")

    assert done["said"].endswith("x\nthe end\n")
    assert len(done["said"]) <= 1 << 14


def test_a_command_leaves_no_orphans(ask, suite):
    """Nor is one waited for, though it holds the output open."""
    note = suite / "orphan"
    began = time.monotonic()

    _, done = ask(command=f"setsid sleep 1000 & echo $! > {note}; echo started")

    assert (done["status"], done["said"], done["reaped"]) == (0, "started\n", True)
    assert gone([int(note.read_text())])
    assert time.monotonic() - began < 5


def test_a_command_that_hangs_is_killed(ask):
    """With its portrait; a dot now and then is no case that passed."""
    news, done = ask(command="sleep 0.3; printf .; sleep 0.5; printf .; sleep 1000", abort_after=1.5)

    assert (news, done["said"], done["reaped"]) == (0, "..", True)
    assert done["status"] in (signal.SIGKILL, signal.SIGUSR2)  # it does not know the agent's question
    assert "state S" in done["stacks"]
