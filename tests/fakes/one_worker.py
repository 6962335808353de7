"""The guests of one worker, on machines of paper."""

import pytest
from fakes.machines import World, plan

from ringrig.plugin import keeper as keepers
from ringrig.plugin.keeper import Keeper, Manner


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(keepers, "time", world)
    monkeypatch.setattr(keepers.machines, "start", world.start)
    return world


@pytest.fixture
def keeper(world):
    return make()


def make(*, fresh=False, keep=False, **facts):
    manner = Manner(timeout=20.0, fresh=fresh, options=(), keep=keep)
    return Keeper(plan(**facts), worker="gw0", manner=manner, say=lambda _: None)


def names(troubles):
    return [trouble.kind for trouble in troubles]
