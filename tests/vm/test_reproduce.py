"""`rig reproduce`, end to end: a case under a mutant becomes a program that fails under it, and not without."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringrig.campaign import kernel, mutants
from ringrig.errors import NotReproducible
from ringrig.kernel.spec import Wanted
from ringrig.plugin import prepare
from ringrig.report.reproduce import Kernel, reproduce

pytestmark = pytest.mark.vm
_ROOT = Path(__file__).parents[2]
_CASE = "suites/unregister/test_groups.py::test_twice[kernel-u16_max]"
_MUTANT = "unregister-enoent-as-einval"


@pytest.fixture(scope="module")
def kernels() -> tuple[Kernel, Kernel]:
    """The kernel of tests/vm/test_mutate.py, with that mutant on, and with none."""
    wanted = Wanted(guest="uml")
    unchanged = kernel.sources("source:6.12", wanted, say=print)
    catalogue = mutants.load([_ROOT / "tests/data/mutants/small.toml"])
    trial = kernel.make(
        catalogue, unchanged, wanted, forgiving=lambda one: one.origin == "generated", say=print
    )
    plan = prepare.context_for(trial.image, wanted, _ROOT, {"suites"}, say=print).plan
    number = next(number for number, one in trial.placed.mutants.items() if one.id == _MUTANT)
    return (
        Kernel(plan=plan, label="mutant", more={"mutant": number}),
        Kernel(plan=plan, label="unchanged", more={"mutant": 0}),
    )


def test_the_program_tells_the_kernels_apart(kernels: tuple[Kernel, Kernel]) -> None:
    """1 under the mutant and 0 without, and the errno it is about stands in it."""
    made = reproduce(_CASE, *kernels, root=_ROOT, say=print)

    assert made.tried == {"mutant": 1, "unchanged": 0}
    assert "-EINVAL, -ENOENT);" in made.text


def test_a_case_that_passes_is_no_program(kernels: tuple[Kernel, Kernel]) -> None:
    with pytest.raises(NotReproducible, match="passes on unchanged"):
        reproduce(_CASE, kernels[1], None, root=_ROOT, say=print)
