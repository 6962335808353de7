"""Splats find their case or nobody: by the name of the task, or by running the suspects again, each alone."""

from fakes import one_worker
from fakes.machines import PANIC
from fakes.one_worker import make, names

world, keeper = one_worker.world, one_worker.keeper


def test_a_splat_in_the_name_of_a_case_is_that_cases(keeper, world):
    """Even when it is found only while the next one runs: then it comes as late news of the first."""
    keeper.run("a")
    world.does["b"] = lambda _, n: world.done(n, log=world.log(comm="case-1"))

    outcome = keeper.run("b")

    assert outcome.troubles == []
    assert [(nodeid, t.kind) for nodeid, t in outcome.late] == [("a", "splat")]
    assert world.ran == [("gw0-1", "a"), ("gw0-1", "b")]


def test_the_only_case_so_far_needs_no_second_run(keeper, world):
    """Nobody else can have done it."""
    world.does["a"] = lambda _, n: world.done(n, log=world.log())

    assert names(keeper.run("a").troubles) == ["splat"]
    assert world.ran == [("gw0-1", "a")]


def test_suspects_are_run_again_alone_until_one_does_it_again(keeper, world):
    """The one that ran at the splat first, then back in time, all in a fresh guest."""

    def warns_late(machine, number):
        machine.settles = [world.log(at=world.now + 0.2)]
        return world.done(number)

    keeper.run("a")
    keeper.run("b")
    world.does["c"] = lambda _, n: world.done(n, log=world.log())
    first = keeper.run
    world.does["b"] = warns_late
    world.does["c"] = lambda _, n: world.done(n, log=world.log() if n == 3 else [])

    outcome = first("c")

    assert [(nodeid, t.kind) for nodeid, t in outcome.late] == [("b", "splat")]
    assert outcome.troubles == []
    assert outcome.uncertain == []
    assert world.ran[3:] == [("gw0-2", "c"), ("gw0-2", "b")]
    assert keeper.run("d").guest == "gw0-3"


def test_another_splat_on_the_second_run_convicts_nobody(keeper, world):
    """It must be the same one."""
    keeper.run("a")
    world.does["b"] = lambda _, n: world.done(
        n, log=world.log(function="io_kbuf_commit" if n == 2 else "something_else")
    )

    outcome = keeper.run("b")

    assert outcome.troubles == outcome.late == []
    assert len(outcome.uncertain) == 1


def test_what_nobody_does_again_is_uncertain(keeper, world):
    """With every suspect's name; the run goes on in a fresh guest."""
    keeper.run("a")
    world.does["b"] = lambda _, n: world.done(n, log=world.log() if n == 2 else [])

    outcome = keeper.run("b")

    assert outcome.troubles == outcome.late == []
    assert [(t.kind, suspects) for t, suspects in outcome.uncertain] == [("splat", ["a", "b"])]
    assert keeper.run("c").guest == "gw0-3"


def test_a_panic_from_nowhere_is_tried_again_too(keeper, world):
    """Each death of the second guest costs another one."""

    def panics(machine, number):
        machine.dies(world.console(PANIC, comm="swapper/0", pid=0))

    keeper.run("a")
    world.does["b"] = panics

    outcome = keeper.run("b")

    assert names(outcome.troubles) == ["panic"]
    assert outcome.uncertain == []


def test_a_case_whose_guest_dies_of_another_is_run_again(keeper, world):
    """It has had no say: silence is no pass."""
    keeper.run("a")
    times = []

    def dies_once(machine, number):
        times.append(number)
        return machine.dies(world.console(PANIC, comm="case-1")) if len(times) == 1 else world.done(number)

    world.does["b"] = dies_once

    outcome = keeper.run("b")

    assert outcome.reports is not None
    assert outcome.troubles == []
    assert [nodeid for nodeid, _ in outcome.late] == ["a"]


def test_a_case_whose_guest_dies_again_fails(keeper, world):
    """The second time nobody else ran in that guest."""
    keeper.run("a")
    times = []

    def dies_by_turns(machine, number):
        times.append(number)
        if len(times) % 2:
            return machine.dies(world.console(PANIC, comm="swapper/0", pid=0))
        return world.done(number)

    world.does["b"] = dies_by_turns

    outcome = keeper.run("b")

    assert len(outcome.uncertain) == 1
    assert names(outcome.troubles) == ["panic"]


def test_a_guest_to_be_kept_is_kept_with_its_splat(world):
    """--keep-guest: nobody is run again in another guest; the case that ran fails, and that ends the run."""
    keeper = make(keep=True)
    keeper.run("a")
    world.does["b"] = lambda _, n: world.done(n, log=world.log(), taint=1 << 9)

    outcome = keeper.run("b")

    assert names(outcome.troubles) == ["splat"]
    assert outcome.uncertain == []
    assert keeper.machine.name == "gw0-1"
    assert world.ended() == []


def test_a_splat_on_a_shared_kernel_is_never_tried_again(world):
    """It may be anybody's; and nothing is booted there."""
    keeper = make(kind="host", spec="host", label="host")
    keeper.run("a")
    world.does["b"] = lambda _, n: world.done(n, log=world.log())

    outcome = keeper.run("b")

    assert [suspects for _, suspects in outcome.uncertain] == [["a", "b"]]
    assert len(world.ran) == 2


def test_the_last_case_has_its_late_splats_too(keeper, world):
    """finish() watches the guest for a moment."""
    keeper.run("a")
    world.machines[0].settles = [world.log(comm="case-1")]

    outcome = keeper.finish()

    assert [(nodeid, t.kind) for nodeid, t in outcome.late] == [("a", "splat")]


def test_old_taint_of_the_guest_is_no_cases(world):
    """A kernel that boots tainted, and a taint that an earlier case has brought."""
    world.taint = 1 << 9
    keeper = make()

    assert keeper.run("a").troubles == []
