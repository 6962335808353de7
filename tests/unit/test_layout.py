"""The agent's memory: what a child wrote to is learnt, and a later one has it for itself before it writes."""

import mmap
import os
import resource

import pytest

from ringrig.guest import layout

PAGES = 200


def in_child(work):
    """The exit status of `work` in a forked child."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def shared_pages():
    """Memory of this process that a child shares until it writes."""
    memory = mmap.mmap(-1, PAGES * mmap.PAGESIZE, mmap.MAP_PRIVATE)
    for page in range(PAGES):
        memory[page * mmap.PAGESIZE] = 1
    yield memory
    memory.close()


def write_to_half(memory):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for page in range(0, PAGES, 2):
        memory[page * mmap.PAGESIZE] = 2
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_what_one_child_wrote_to_costs_the_next_no_fault(shared_pages):
    """A fault for each page, learnt once; then none."""
    hot = layout.Hot()

    def learn():
        hot.begin_learning()
        faults = write_to_half(shared_pages)
        hot.learnt()
        return min(faults, 98)

    def use():
        hot.take()
        return min(write_to_half(shared_pages), 98)

    assert in_child(learn) >= 90
    assert in_child(use) <= 30


def test_knowing_nothing_takes_nothing(shared_pages):
    """The first child, and one on a kernel that does not tell."""
    hot = layout.Hot()

    assert in_child(lambda: hot.take() or min(write_to_half(shared_pages), 98)) >= 90


def test_going_on_anew_ends_as_the_child_does():
    """Whoever waits for the agent sees its exit status."""

    def work():
        layout.go_on_anew()
        return 7

    assert in_child(work) == 7


def test_going_on_anew_keeps_what_was_there(shared_pages):
    """Contents, and a process of its own."""
    first = os.getpid()

    def work():
        layout.go_on_anew()
        same = all(shared_pages[page * mmap.PAGESIZE] == 1 for page in range(PAGES))
        return 0 if same and os.getpid() != first else 1

    assert in_child(work) == 0


def test_this_machine_is_not_user_mode_linux():
    """It would be said in /proc/cpuinfo."""
    assert not layout.is_user_mode()
