"""Who gets how many cases from the controller: quick ones in no smaller number than a child is worth."""

from types import SimpleNamespace

import pytest

from ringrig.plugin import schedule
from ringrig.plugin.schedule import InGroups

CONFIG = {"tx": ["popen", "popen"], "dist": "load", "maxschedchunk": None}


def config(**options):
    known = CONFIG | options
    return SimpleNamespace(getvalue=known.__getitem__, getoption=known.__getitem__)


class Node:
    """A worker that notes what it is sent."""

    shutting_down = False
    gateway = SimpleNamespace(id="gw")

    def __init__(self):
        self.sent = []

    def send_runtest_some(self, cases):
        self.sent.append(len(cases))

    def shutdown(self):
        self.shutting_down = True


def shares(cases, duration):
    """How many cases each of two workers is sent at a time, when all take that long."""
    scheduler, nodes = InGroups(config()), [Node(), Node()]
    for node in nodes:
        scheduler.add_node(node)
        scheduler.add_node_collection(node, [f"test_{number}" for number in range(cases)])
    scheduler.schedule()
    while waiting := [node for node in nodes if scheduler.node2pending[node]]:
        for node in waiting:
            scheduler.mark_test_complete(node, scheduler.node2pending[node][0], duration)
    return [node.sent for node in nodes]


def test_quick_cases_go_out_in_groups():
    """Each share but the last is worth a child; all of them are handed out."""
    one, other = shares(1000, 0.01)

    assert sum(one) + sum(other) == 1000
    assert min(one[:-1]) >= 24


def test_slow_cases_go_out_one_by_one_in_the_end():
    """As pytest-xdist does it: nobody is left with many of them."""
    one, other = shares(100, 1.0)

    assert sum(one) + sum(other) == 100
    assert min(one) <= 2


@pytest.mark.parametrize("options", [{"dist": "loadfile"}, {"maxschedchunk": 1}], ids=["dist", "chunk"])
def test_what_was_asked_for_is_done(options):
    """Another way to hand cases out, or how many at a time."""
    assert schedule.pytest_xdist_make_scheduler(config(**options), None) is None
