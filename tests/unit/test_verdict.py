"""From outcomes to the verdict: what is printed, what is recorded, and the exit code."""

import json

import pytest
from fakes import sessions
from fakes.sessions import answers, folder, node, results

from ringrig.errors import GuestLacks, NoBoot

pytest_plugins = ["pytester"]
NEEDS = "Skipped: needs own_kernel: the kernel is shared"
run, world = sessions.run, sessions.world


def verdict(result):
    return next(
        line for line in result.outlines if line.startswith(("PASS", "PARTIAL PASS", "FAIL: ", "NO VERDICT"))
    )


def test_all_passed(run, world, pytester):
    """PASS and exit code 0; the run folder has everything."""
    result = run("abc", world)

    assert result.ret == 0
    assert verdict(result).startswith("PASS: host (")
    assert verdict(result).endswith(": 3 passed")
    assert results(pytester) == [("a", "passed"), ("b", "passed"), ("c", "passed")]
    made = {path.name for path in folder(pytester).iterdir()}
    assert made >= {"results.jsonl", "run.json", "summary.txt", "junit.xml", "command.txt"}
    run_json = json.loads((folder(pytester) / "run.json").read_text())
    assert run_json["verdict"] == verdict(result)
    assert run_json["kernel"] == "host"
    assert (folder(pytester) / "summary.txt").read_text().startswith(verdict(result))


def test_each_case_is_recorded_with_its_guest_and_time(run, world, pytester):
    """A line of results.jsonl."""
    run("a", world)

    (line,) = map(json.loads, (folder(pytester) / "results.jsonl").read_text().splitlines())

    assert line["nodeid"] == node("a")
    assert line["guest"] == "guest-1"
    assert line["seconds"] >= 0
    assert line["at"] > 1e9


def test_a_failure_fails(run, world, pytester):
    """Exit code 1; the summary has its first line."""
    answers(world, "b", call="failed", why="assert 22 == 0\nmore")

    result = run("abc", world)

    assert result.ret == 1
    assert verdict(result).endswith("2 passed, 1 failed")
    assert verdict(result).startswith("FAIL: ")
    assert f"FAILED {node('b')}\n    assert 22 == 0\n" in (folder(pytester) / "summary.txt").read_text()


@pytest.mark.parametrize("when", ["setup", "teardown"])
def test_a_fixture_that_fails_is_an_error(run, world, pytester, when):
    """Not a failure of the kernel's, but no pass."""
    answers(world, "b", why="RuntimeError", **{when: "failed"})

    result = run("ab", world)

    assert result.ret == 1
    assert results(pytester) == [("a", "passed"), ("b", "error")]
    assert verdict(result).startswith("FAIL: ")


def test_cases_left_out_make_a_partial_pass(run, world):
    """It says which capability is missing and what to do about it."""
    answers(world, "b", call="skipped", why=("f.py", 1, NEEDS))

    result = run("abc", world)

    assert result.ret == 0
    assert verdict(result).startswith("PARTIAL PASS: ")
    result.stdout.fnmatch_lines(
        [
            "PARTIAL: 1 case was left out:",
            "*1 needs own_kernel: the kernel is shared",
            "*run them on a kernel of their own*",
        ]
    )


def test_everything_skipped_is_no_pass(run, world):
    """Exit code 20."""
    for name in "ab":
        answers(world, name, call="skipped", why=("f.py", 1, NEEDS))

    result = run("ab", world)

    assert result.ret == 20
    assert verdict(result).startswith("NO VERDICT: ")
    result.stdout.fnmatch_lines(["Every case was skipped: that is no pass."])


def test_a_required_capability_that_is_missing_fails(run, world):
    """--require turns the skip into a failure; another capability's skip stays one."""
    answers(world, "a", call="skipped", why=("f.py", 1, NEEDS))
    answers(world, "b", call="skipped", why=("f.py", 1, "Skipped: needs hugetlb: none"))

    result = run("abc", world, "--require", "own_kernel")

    assert result.ret == 1
    assert verdict(result).endswith("1 passed, 1 failed, 1 skipped")


def test_no_case_is_no_verdict(run, world):
    """pytest's exit code 5."""
    result = run("abc", world, "-k", "nothing")

    assert result.ret == 5
    assert verdict(result).endswith("no case ran")


def test_trouble_fails_a_case_that_passed(run, world, pytester):
    """What the kernel said counts as much as what the case said."""
    answers(world, "b", log=world.log(comm="case-2"))

    result = run("abc", world)

    assert result.ret == 1
    assert results(pytester) == [("a", "passed"), ("b", "failed"), ("c", "passed")]
    line = json.loads((folder(pytester) / "results.jsonl").read_text().splitlines()[1])
    assert line["troubles"][0].startswith("splat: kernel splat: ")
    assert "io_kbuf_commit" in line["detail"]


def test_a_case_that_failed_keeps_the_first_word(run, world, pytester):
    """The splat stands below its own failure."""
    answers(world, "b", call="failed", why="assert 22 == 0", log=world.log(comm="case-2"))

    result = run("ab", world)

    assert result.ret == 1
    line = json.loads((folder(pytester) / "results.jsonl").read_text().splitlines()[1])
    assert line["why"] == "assert 22 == 0"
    assert line["troubles"]
    result.stdout.fnmatch_lines(["*kernel splat: *", "*io_kbuf_commit*"])


def test_a_splat_that_comes_late_fails_its_own_case(run, world, pytester):
    """Though that had been reported as passed; the one that ran meanwhile stays so."""
    answers(world, "b", log=world.log(comm="case-1"))

    result = run("ab", world)

    assert result.ret == 1
    assert results(pytester) == [("a", "passed"), ("a", "error"), ("b", "passed")]
    assert verdict(result).endswith("1 passed, 1 error")
    result.stdout.fnmatch_lines(["*it came after the case had ended*"])


def test_what_nobody_can_be_blamed_for_fails_the_run(run, world):
    """Every case has passed, and yet something is wrong."""
    answers(world, "b", log=world.log(comm="kworker/0:1"))

    result = run("ab", world)

    assert result.ret == 1
    assert verdict(result).startswith("FAIL: ")
    result.stdout.fnmatch_lines(
        ["UNCERTAIN: kernel splat: *", f"  one of: {node('a')} or {node('b')}", "  |*io_kbuf_commit*"]
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoBoot("not a byte on the console", next_step="look"), 15),
        (GuestLacks("no io_uring", next_step="look"), 16),
    ],
)
def test_a_kernel_that_does_not_boot_is_one_cause(run, world, pytester, error, code):
    """At once for all cases, with the rig's exit code; the cause and the next step stand there once."""
    world.boots = [error]

    result = run("abc", world)

    assert result.ret == code
    assert verdict(result).startswith("NO VERDICT: ")
    assert verdict(result).endswith(f": {error.what}")
    assert [name for name, _ in results(pytester)] in ([], ["a"])
    assert sum(line.strip() == "next: look" for line in result.outlines) == 1
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_results_so_far_are_kept_when_guests_end(run, world, pytester):
    """What ran before has its verdict in the results, though the run has none."""
    answers(world, "a")
    world.does[node("b")] = lambda machine, _: machine.dies("")
    world.boots = [None, NoBoot("x", next_step="look"), NoBoot("x", next_step="look")]

    result = run("abc", world)

    assert result.ret == 15
    assert results(pytester)[:2] == [("a", "passed"), ("b", "failed")]


def test_what_could_not_be_watched_is_said(run, world):
    """A check that was not made is no pass of it."""
    start = world.start

    def blind(plan, **how):
        machine = start(plan, **how)
        machine.ready["blind"] = {"kernel log": "/dev/kmsg: Permission denied"}
        return machine

    world.start = blind

    result = run("a", world)

    result.stdout.fnmatch_lines(["not watched on this kernel: kernel log (/dev/kmsg: Permission denied)"])


def test_collecting_starts_no_machine(run, world, pytester):
    """--collect-only asks nobody, and is no run: runs/latest stays what it was."""
    result = run("abc", world, "--collect-only", "-q")

    assert result.ret == 0
    assert world.machines == []
    assert not (pytester.path / "runs").exists()


def test_a_shell_is_no_run(run, world, pytester, monkeypatch):
    """Its guest's logs are kept, and runs/latest stays what it was."""
    monkeypatch.setattr("ringrig.plugin.shell.interact", lambda _machine: 3)

    result = run("abc", world, "-p", "ringrig.plugin.shell")

    assert (result.ret, world.ran) == (3, [])
    assert [one.name.endswith("_shell") for one in (pytester.path / "runs").iterdir()] == [True]


def test_the_machine_is_given_up_at_the_end(run, world):
    """And after -x as well."""
    answers(world, "a", call="failed", why="assert 0")

    run("abc", world, "-x")

    assert world.ran == [("guest-1", node("a"))]
    assert world.ended() == ["guest-1"]


def test_a_run_is_kept_in_the_history(run, world, pytester):
    """And goes on without it."""
    run("a", world)
    history = pytester.path / "runs/history.sqlite"
    assert history.exists()

    history.write_bytes(b"no database" * 99)
    result = run("a", world)

    assert result.ret == 0
    assert any("not in runs/history.sqlite" in line for line in result.outlines)
