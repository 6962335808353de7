"""suites/model finds by itself what a kernel has wrong, and says the shortest script: mutants that it was told nothing of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ringrig.plugin import prepare
from ringrig.plugin.keeper import Keeper, Manner
from ringrig.report.reproduce import Kernel

pytestmark = pytest.mark.vm
_ROOT = Path(__file__).parents[2]
_STEPS = 8
_CASE = "suites/model/test_model.py::test_the_kernel_follows_the_model[seed_3]"


@pytest.fixture(scope="module")
def story(mutated: Callable[[str], Kernel]) -> Iterator[Callable[[str], str]]:
    """What the case of the third of the fixed seeds says under a mutant; "" where it passes."""
    plan = mutated("").plan
    prepare.pack_suite(plan, _ROOT)
    manner = Manner(timeout=30, fresh=False, options=("-qq", "--tb=line"))
    keeper = Keeper(plan, worker="model", manner=manner, say=print)

    def tell(mutant: str) -> str:
        tried = keeper.attempt({"nodeids": [_CASE], **mutated(mutant).more})
        assert not tried.found.troubles, tried.found.troubles
        failed = [one["longrepr"] for one in tried.course.done["reports"] if one["outcome"] != "passed"]
        return str(failed[0]["reprcrash"]["message"]) if failed else ""

    yield tell
    keeper.end()


@pytest.mark.parametrize(
    ("mutant", "differs"),
    [
        pytest.param("select-legacy-last", "completions by request", id="bid"),
        pytest.param("put-buf-more-untold", "completions by request", id="flag"),
        pytest.param("inc-address-stays", "ring of group", id="descriptor"),
        pytest.param("select-one-byte-on", "buffer memory", id="payload"),
    ],
)
def test_a_mutant_is_found_and_its_script_is_short(
    story: Callable[[str], str], mutant: str, differs: str
) -> None:
    """How short depends on what the machine does in the seconds that there are for it: two or three steps where it is quiet."""
    found = story(mutant)

    assert differs in found.splitlines()[0], found
    assert found.count("both.") <= _STEPS, found


def test_the_unchanged_kernel_follows_the_model(story: Callable[[str], str]) -> None:
    assert not story("")
