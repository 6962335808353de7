"""The two kinds of sockets that bundles are about."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringrig.model.profiles import Profile
from ringrig.uring.wire import Wire


@pytest.fixture(params=[False, True], ids=["unix", "tcp"])
def wire(make_wire: Callable[..., Wire], request: pytest.FixtureRequest) -> Wire:
    """Two connected sockets, of AF_UNIX and of TCP."""
    return make_wire(tcp=request.param)


@pytest.fixture
def told(wire: Wire, profile: Profile) -> bool:
    """The kernel says with each receive what is left in the socket of `wire` (msghdr.msg_inq)."""
    return wire.tcp or "unix_inq" in profile.traits
