"""Guests that boot while a case runs: taken in order, ready or with the reason why not, and given up in the end."""

import threading

import pytest

from ringrig.errors import GuestLost
from ringrig.plugin.ahead import Ahead


class FakeMachine:
    def __init__(self, number):
        self.number, self.ready, self.over = number, False, threading.Event()

    def end(self):
        self.over.set()


@pytest.fixture
def machines():
    return []


def ahead(machines, ready, depth=2):
    def start():
        machines.append(FakeMachine(len(machines)))
        return machines[-1]

    return Ahead(start, ready=ready, depth=depth)


def wake(machine):
    machine.ready = True


def test_the_first_started_is_the_first_taken(machines):
    """Ready when it is taken, and the next fill replaces it."""
    pool = ahead(machines, wake)
    pool.fill()

    first = pool.take()
    pool.fill()

    assert (first.number, first.ready, len(machines)) == (0, True, 3)
    assert [pool.take().number, pool.take().number, pool.take()] == [1, 2, None]


def test_a_guest_that_does_not_come_says_why(machines):
    """And is ended; the others are not touched."""

    def ready(machine):
        if machine.number == 0:
            raise GuestLost("gone", next_step="look")

    pool = ahead(machines, ready)
    pool.fill()

    with pytest.raises(GuestLost, match="gone"):
        pool.take()
    assert machines[0].over.is_set()
    assert pool.take() is machines[1]


def test_what_nobody_took_is_ended(machines):
    """Also one that is still waited for: its descriptors are closed under the waiting thread."""

    def ready(machine):
        assert machine.over.wait(10)
        raise OSError("closed")

    pool = ahead(machines, ready)
    pool.fill()

    pool.end()

    assert all(machine.over.is_set() for machine in machines)
    assert pool.take() is None
