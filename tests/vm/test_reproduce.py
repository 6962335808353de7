"""`rig reproduce`, end to end: a case under a mutant becomes a program that fails under it, and not without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ringrig.errors import NotReproducible
from ringrig.report.reproduce import Kernel, reproduce

pytestmark = pytest.mark.vm
_ROOT = Path(__file__).parents[2]
_TWICE = "suites/unregister/test_groups.py::test_twice[kernel-u16_max]"
_LENGTH = "suites/select/test_length.py::test_a_transfer_keeps_within_length_and_buffer"
_PIECE = "suites/incremental/test_pieces.py::test_a_piece_moves_its_buffer_on[64_kib]"


@pytest.mark.parametrize(
    ("mutant", "case", "says"),
    [
        pytest.param("unregister-enoent-as-einval", _TWICE, "-EINVAL, -ENOENT);", id="errno"),
        pytest.param("select-legacy-last", f"{_LENGTH}[recv-equal-legacy]", "the completion", id="bid"),
        pytest.param("put-buf-more-untold", _PIECE, "the completion", id="flag"),
        pytest.param("inc-address-stays", _PIECE, "addr of slot 0", id="descriptor"),
        pytest.param("select-one-byte-on", f"{_LENGTH}[recv-equal-ring]", "a byte", id="payload"),
        pytest.param("unregister-puts-nothing", _TWICE, "watched(course", id="panic"),
        pytest.param("unregister-sleeps-for-ever", _TWICE, "watched(course", id="hang"),
    ],
)
def test_the_program_tells_the_kernels_apart(
    mutated: Callable[[str], Kernel], mutant: str, case: str, says: str
) -> None:
    """1 under the mutant and 0 without, and what it is about stands in it."""
    made = reproduce(case, mutated(mutant), mutated(""), root=_ROOT, say=print)

    assert made.tried == {mutant: 1, "unchanged": 0}
    assert says in made.text


def test_a_case_that_passes_is_no_program(mutated: Callable[[str], Kernel]) -> None:
    with pytest.raises(NotReproducible, match="passes on unchanged"):
        reproduce(_TWICE, mutated(""), None, root=_ROOT, say=print)
