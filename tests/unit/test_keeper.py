"""One worker's guest: reused until it is spoilt, then replaced; deadlines, boots that fail, guests that are to be kept."""

import signal

import pytest
from fakes import one_worker
from fakes.one_worker import make, names

from ringrig.errors import GuestLacks, GuestLost, NoBoot, WrongKernel
from ringrig.plugin import keeper as keepers

world, keeper = one_worker.world, one_worker.keeper


def no_boot():
    return NoBoot("not a byte", next_step="look")


def lost():
    return GuestLost("gone", next_step="look")


def test_a_guest_is_reused_while_cases_leave_it_in_order(keeper, world):
    """Failing ones too: a failure is the case's."""
    world.does["b"] = lambda _, n: world.done(n, reports=[{"outcome": "failed"}])

    outcomes = [keeper.run(case) for case in "abc"]

    assert world.ran == [("gw0-1", "a"), ("gw0-1", "b"), ("gw0-1", "c")]
    assert outcomes[1].reports == [{"outcome": "failed"}]
    assert keeper.boots == 1


def test_the_guest_that_begin_started_is_the_one_that_runs(keeper, world):
    """It boots while pytest collects."""
    keeper.begin()
    keeper.run("a")

    assert len(world.machines) == 1


def test_fresh_boots_for_every_case(world):
    """--fresh-vm."""
    keeper = make(fresh=True)

    for case in "ab":
        keeper.run(case)

    assert world.ran == [("gw0-1", "a"), ("gw0-2", "b")]
    assert world.ended() == ["gw0-1", "gw0-2"]


def test_a_case_that_panics_is_blamed_and_its_guest_replaced(keeper, world):
    """The kernel names the case's task; the run goes on."""
    world.does["b"] = lambda machine, n: machine.dies(world.console(comm=f"case-{n}"))

    outcomes = [keeper.run(case) for case in "abc"]

    assert [names(o.troubles) for o in outcomes] == [[], ["panic"], []]
    assert world.ran == [("gw0-1", "a"), ("gw0-1", "b"), ("gw0-2", "c")]


def test_a_guest_that_dies_without_a_word_fails_the_case_that_ran(keeper, world):
    """QEMU killed, for one."""
    world.does["a"] = lambda machine, _: machine.dies("")

    assert names(keeper.run("a").troubles) == ["died"]
    assert keeper.run("b").guest == "gw0-2"


def test_a_deadline_ends_the_case_and_keeps_the_guest(keeper, world):
    """The agent is asked to abort, after --case-timeout and a little, and answers with the stacks."""

    def hangs(machine, number):
        began = world.now
        machine.aborts = lambda n: world.done(
            n, reports=None, stacks="thread 7", status=signal.SIGKILL, began=began
        )

    world.does["a"] = hangs
    before = world.now

    outcome = keeper.run("a")

    assert names(outcome.troubles) == ["timeout"]
    assert 20 <= world.now - before < 25
    assert keeper.run("b").guest == "gw0-1"
    assert world.dumped == []


def test_a_case_that_had_hardly_begun_is_run_once_more(keeper, world):
    """A link that stalls is no fault of the case's: the agent heard of it only with the abort."""

    def stalls(machine, number):
        world.does["a"] = lambda _, n: world.done(n)
        machine.aborts = lambda n: world.done(n, reports=None, stacks="thread 7")

    world.does["a"] = stalls

    outcome = keeper.run("a")

    assert names(outcome.troubles) == []
    assert outcome.guest == "gw0-1"


def test_deadlines_are_longer_where_the_guest_is_slow(keeper, world):
    """Under TCG by its slowness."""

    def hangs(machine, number):
        began = world.now
        machine.aborts = lambda n: world.done(n, reports=None, stacks="thread 7", began=began)

    world.does["a"] = hangs
    keeper.begin()
    world.machines[0].slowness = 4.0
    before = world.now

    outcome = keeper.run("a")

    assert 80 <= world.now - before < 95
    assert "80 s" in outcome.troubles[0].what


OOPS = (
    "list_add corruption. next->prev should be prev (ffff895e413f5e40), but was 0.",
    "kernel BUG at lib/list_debug.c:29!",
    "Oops: invalid opcode: 0000 [#1] SMP NOPTI",
)


@pytest.mark.parametrize("said", [OOPS, ("WARNING: CPU: 0 PID: 9 at io_uring/kbuf.c:300 f+0x1/0x2",)])
def test_a_case_whose_task_died_in_the_kernel_is_not_waited_for_to_its_deadline(keeper, world, said):
    """What that task held nobody gives back; after a warning it may well go on."""

    def hangs(machine, number):
        began = world.now
        machine.said += world.console(said)
        machine.aborts = lambda n: world.done(n, reports=None, stacks="thread 7", began=began)

    world.does["a"] = hangs
    before = world.now

    outcome = keeper.run("a")

    doomed = said is OOPS
    assert (world.now - before < 6) == doomed
    assert ("with a task that died in the kernel" in outcome.troubles[0].what) == doomed


def test_a_guest_that_answers_no_more_shows_its_stacks_and_is_replaced(keeper, world):
    """A locked-up kernel: abort is not answered either."""
    world.does["a"] = lambda machine, _: None

    outcome = keeper.run("a")

    assert names(outcome.troubles) == ["hang"]
    assert "Show Blocked State" in outcome.troubles[0].detail
    assert world.dumped == ["gw0-1"]
    assert keeper.run("b").guest == "gw0-2"


def test_a_child_that_cannot_be_reaped_spoils_the_guest(keeper, world):
    """It would disturb the next case."""
    world.does["a"] = lambda _, n: world.done(n, reaped=False)

    assert names(keeper.run("a").troubles) == ["hang"]
    assert keeper.run("b").guest == "gw0-2"


def test_waiting_for_a_turn_on_a_shared_kernel_is_not_hanging(world):
    """Another rig's case may hang there meanwhile; the deadline counts from the case's own beginning."""
    keeper = make(kind="host", spec="host", label="host")
    begun = {"op": "begun", "id": 1}
    world.does["a"] = lambda _, n: [100.0, begun, 15.0, world.done(n)]

    outcome = keeper.run("a")

    assert outcome.troubles == []
    assert keeper.run("b").guest == "gw0-1"


def test_a_deadline_on_a_shared_kernel_counts_from_the_turn(world):
    """A case that hangs there is aborted after its own time."""
    keeper = make(kind="host", spec="host", label="host")

    def hangs(machine, number):
        began = world.now
        machine.aborts = lambda n: world.done(n, reports=None, stacks="thread 7", began=began + 100)
        return [100.0, {"op": "begun", "id": number}]

    world.does["a"] = hangs
    before = world.now

    assert names(keeper.run("a").troubles) == ["timeout"]
    assert 120 <= world.now - before < 125


def test_a_guest_that_has_died_cannot_be_kept(world):
    """Nor one that answers no more."""
    keeper = make(keep=True)
    world.does["a"] = lambda machine, _: machine.dies("")

    keeper.run("a")

    assert keeper.machine is None


def test_finish_without_a_guest_or_a_case_is_nothing(keeper, world):
    """Nothing is booted for it."""
    assert keeper.finish() is None

    keeper.begin()

    assert keeper.finish() is None


def test_what_becomes_unreadable_later_is_said_as_well(keeper, world):
    """A check that could not be made is never a pass: the verdict names it."""
    world.does["b"] = lambda _, n: world.done(n, blind={"kernel log": "/dev/kmsg: Input/output error"})

    for case in "abc":
        keeper.run(case)

    assert keeper.blind == {"kernel log": "/dev/kmsg: Input/output error"}


@pytest.mark.parametrize(
    "error",
    [no_boot(), lost(), GuestLacks("no io_uring", next_step="x"), WrongKernel("other", next_step="x")],
)
def test_a_kernel_that_does_not_boot_is_tried_once(keeper, world, error):
    """Every case gets the same cause, and no second boot is paid for."""
    world.boots = [error]

    for case in "abc":
        with pytest.raises(type(error)) as caught:
            keeper.run(case)
        assert caught.value is error

    assert len(world.machines) == 1
    assert world.ended() == ["gw0-1"]


def test_a_later_boot_that_fails_is_tried_once_more(keeper, world):
    """It has booted before: the machine may have stumbled."""
    world.does["a"] = lambda machine, _: machine.dies("")
    world.boots = [None, no_boot()]
    keeper.run("a")

    assert keeper.run("b").guest == "gw0-3"


def test_a_second_stumble_in_a_row_ends_it(keeper, world):
    """Then for all cases that are left."""
    world.does["a"] = lambda machine, _: machine.dies("")
    world.boots = [None, no_boot(), lost()]
    keeper.run("a")

    for case in "bc":
        with pytest.raises(GuestLost):
            keeper.run(case)
    assert len(world.machines) == 3


def test_a_start_that_fails_is_kept_for_the_first_case(keeper, monkeypatch):
    """begin() runs while pytest starts, where nobody could be told."""

    def start(*_, **__):
        raise no_boot()

    monkeypatch.setattr(keepers.machines, "start", start)

    keeper.begin()

    with pytest.raises(NoBoot):
        keeper.run("a")


def test_with_a_guest_for_every_case_the_next_ones_are_on_their_way(world):
    """They boot while a case runs; those that no case needed are ended with the rest."""
    keeper = make(fresh=True)

    outcomes = [keeper.run(case) for case in "abc"]
    keeper.end()

    assert [outcome.guest for outcome in outcomes] == ["gw0-1", "gw0-2", "gw0-3"]
    assert len(world.machines) == 5
    assert len(world.ended()) == 5
