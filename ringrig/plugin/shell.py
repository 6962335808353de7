"""`rig shell`: a session that opens a shell in the guest instead of running cases."""

from __future__ import annotations

import pytest

from ringrig.errors import RigError
from ringrig.vm.shell import interact


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> bool:
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    dispatch = session.config.pluginmanager.get_plugin("ringrig-dispatch")
    assert dispatch is not None
    try:
        interact(dispatch.keeper.ready_machine())
    except RigError as error:
        pytest.exit(str(error), returncode=error.exit_code)
    return True
