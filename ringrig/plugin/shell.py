"""`rig shell`: a session that opens a shell in the guest instead of running cases."""

from __future__ import annotations

import pytest

from ringrig.errors import RigError
from ringrig.vm.shell import interact

_STATUS = pytest.StashKey[int]()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    session.exitstatus = session.config.stash.get(_STATUS, session.exitstatus)


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> bool:
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    dispatch = session.config.pluginmanager.get_plugin("ringrig-dispatch")
    assert dispatch is not None
    try:
        session.config.stash[_STATUS] = interact(dispatch.keeper.ready_machine())
    except RigError as error:
        pytest.exit(str(error), returncode=error.exit_code)
    return True
