"""How these tests are dealt to two workers, and the kernel with mutants that several of them try."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ringrig.campaign import kernel, mutants
from ringrig.kernel.spec import Wanted
from ringrig.plugin import prepare
from ringrig.report.reproduce import Kernel

_ROOT = Path(__file__).parents[2]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups for --dist loadgroup: a file's together, as they share guests and builds; but each disaster by itself."""
    for item in items:
        if item.path.parent.name == "vm" and item.path.name != "test_disasters.py":
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="session")
def mutated() -> Callable[[str], Kernel]:
    """The kernel of test_mutate.py with one of its mutants on, by id; with none: ""."""
    wanted = Wanted(guest="uml")
    unchanged = kernel.sources("source:6.12", wanted, say=print)
    catalogue = mutants.load([_ROOT / "tests/data/mutants/small.toml"])
    trial = kernel.make(
        catalogue, unchanged, wanted, forgiving=lambda one: one.origin == "generated", say=print
    )
    plan = prepare.context_for(trial.image, wanted, _ROOT, {"suites"}, say=print).plan
    numbers = {one.id: number for number, one in trial.placed.mutants.items()} | {"": 0}
    return lambda id: Kernel(plan=plan, label=id or "unchanged", more={"mutant": numbers[id]})
