"""The agent's memory: a child has it for itself before it writes, and may go on in the agent's place."""

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


def test_a_child_that_has_all_takes_no_fault(shared_pages):
    """One for each page that it writes to otherwise."""

    def write():
        return min(write_to_half(shared_pages), 98)

    def have_all_and_write():
        layout.have_all()
        return write()

    assert in_child(write) >= 90
    assert in_child(have_all_and_write) <= 30


def test_the_heap_is_writable_memory_where_it_can_be_run(monkeypatch):
    """As in User-Mode Linux."""
    maps = (
        "00400000-00401000 r-xp 00000000 00:00 0 /usr/bin/python3\n"
        "00800000-00900000 rwxp 00000000 00:00 0 [heap]\n"
        "40000000-40001000 rw-p 00000000 00:00 0\n"
        "40001000-40002000 rw-s 00000000 00:00 0 anon_inode:[io_uring]\n"
        "bf000000-bf001000 rw-p 00000000 00:00 0 [stack]\n"
    )
    monkeypatch.setattr(layout.Path, "read_text", lambda self: maps)

    assert list(layout._writable()) == [(0x800000, 0x900000), (0x40000000, 0x40001000)]


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
