"""Nothing that a test started may outlive it: it would hold the tests' output open, and CI would wait for it."""

import psutil


def children():
    """The processes below this one."""
    return set(psutil.Process().children(recursive=True))


def left_since(before, seconds=10):
    """Those that are still there after a time, killed now."""
    new = children() - before
    _, alive = psutil.wait_procs(new, timeout=seconds)
    for one in alive:
        one.kill()
    return alive
