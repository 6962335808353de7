"""Memory of a case: what it had is given back at its end, and nothing else."""

from ringrig.uring import libc
from ringrig.uring.memory import Arena


def test_what_comes_into_a_hole_stays():
    """The end of a case unmapped the code of syscalls.py, which had come where half of its memory was unmapped: the next one died."""
    arena, page = Arena(), libc.PAGE_SIZE
    base = arena.anon(3 * page)
    arena.unmap(base + page, page)
    fixed = libc.MAP_PRIVATE | libc.MAP_ANONYMOUS | libc.MAP_FIXED
    assert libc.mmap(page, libc.PROT_READ, fixed, -1, 0, base + page) == base + page

    arena.close()

    assert [libc.mprotect(base + at * page, page, libc.PROT_READ) == 0 for at in range(3)] == [
        False,
        True,
        False,
    ]
    libc.munmap(base + page, page)
