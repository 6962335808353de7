"""A pytest session that measures in the guest instead of running cases; it gets the guest as `rig shell` does.

`rig bench nops` starts it with `-p ringrig.plugin.shell -p ringrig.bench.session`: the first keeps the verdict
out, this one takes the place of the shell.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from ringrig.bench.inside import pin
from ringrig.bench.nops import Order, Result, inside, parse, prefer
from ringrig.bench.rows import ROWS
from ringrig.cache import writing
from ringrig.errors import GuestLost, RigError
from ringrig.vm import machine as machines
from ringrig.vm.link import run
from ringrig.vm.machine import Machine

_TRAVELS = ("__init__.py", "uring", *(f"bench/{name}.py" for name in ("__init__", "inside", "loop", "rows")))
_ROOT = Path(__file__).parents[1]
# Whatever machine it is: unpack what comes on standard input, run it there, leave nothing behind.
_SCRIPT = 'd=$(mktemp -d) && trap "rm -rf $d" EXIT && cd "$d" && tar -xz && PYTHONPATH=. "$@"'


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--nops-order", help="what `rig bench nops` wants measured, as JSON")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """A UML guest, a process of this machine, inherits what this one has; a build, which must not, is over by now."""
    dispatch = config.pluginmanager.get_plugin("ringrig-dispatch")
    if dispatch is not None and dispatch.keeper.plan.guest == "uml":
        pin()
        prefer()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    dispatch = session.config.pluginmanager.get_plugin("ringrig-dispatch")
    assert dispatch is not None
    order = Order.from_json(session.config.getoption("--nops-order"))
    try:
        result = _measure(dispatch.keeper.ready_machine(), order)
    except RigError as error:
        pytest.exit(str(error), returncode=error.exit_code)
    with writing("the figures", Path(result.kept).parent):
        for place in (Path(result.kept), Path(order.answer)):
            place.write_text(result.to_json())
    return True


def _measure(machine: Machine, order: Order) -> Result:
    """GuestLost: no answer."""
    assert machine.transport is not None
    python = machines.guest_python(machine.plan) if machine.guest is not None else "python3"
    command = [python, *inside("native", order)]
    seconds = 60 * machine.slowness + 4 * order.rounds * order.seconds * len(ROWS)
    status, said = run(
        machine.transport,
        ["sh", "-c", _SCRIPT, "sh", *command],
        data=packed(Path(order.native)),
        seconds=seconds,
    )
    try:
        measured = parse(said)
    except ValueError as error:
        raise GuestLost(
            f"{machine.plan.label}: the benchmark ended with {status} and no figures: {said.strip()[-800:]}",
            next_step="it needs tar, Python 3.11 or later, and for another Python than this one the package python3-cffi-backend",
        ) from error
    facts = machine.guest.facts if machine.guest is not None else {"guest": "board"}
    where = ", ".join(str(facts[name]) for name in ("guest", "accel") if facts.get(name))
    kept = Path(machine.plan.folder, "nops.json")
    return Result(label=machine.plan.label, where=where, measured=measured, kept=str(kept))


def packed(native: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name in _TRAVELS:
            tar.add(_ROOT / name, f"ringrig/{name}", filter=_source)
        tar.add(native, "native")
    return out.getvalue()


def _source(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if info.name.endswith("__pycache__") else info
