"""`rig bench --kernel A --kernel B`: a difference is told where there is one, and only there."""

import random

import pytest

from ringrig.bench import compare, main, nops
from ringrig.bench.compare import COMPARED, Side, change, schedule, split, student
from ringrig.bench.nops import Result
from ringrig.bench.rows import Measured
from ringrig.errors import BadSpec, RigError

RATES = (2.6, 2.4, 2.3, 2.5, 2.5)


def boot(dice, *, faster=1.0, request="NOP", where="uml", fault=""):
    """A boot's figures: the machine's pace, each row's luck of that boot, and noise; `faster` is of ring buffers."""
    pace = dice.uniform(0.5, 1)
    gains = (1, 1, 1, faster, faster)
    rows = [rate * gain * pace * dice.gauss(1, 0.01) for rate, gain in zip(RATES, gains, strict=True)]
    rates = [[1e6 * row * dice.gauss(1, 0.02) for _ in range(20)] for row in rows]
    measured = Measured(
        release="6.12", request=request, why="", layout="merged", cpu=1, rates=rates, fault=fault
    )
    return Result(label="a kernel", where=where, measured=measured)


def test_options_are_for_the_kernel_they_stand_behind():
    """Those in front are for both; the same kernel twice are two."""
    words = ["--guest", "uml", "--kernel", "source:6.12", "--kernel=source:6.12", "--patch", "p"]

    assert split(words) == (
        ["--guest", "uml"],
        [
            Side(name="A", kernel="source:6.12", options=()),
            Side(name="B", kernel="source:6.12", options=("--patch", "p")),
        ],
    )


def test_guests_take_turns():
    """Each kernel is as often the first of a pair."""
    _, sides = split(["--kernel", "a", "--kernel", "b"])

    assert "".join(side.name for side in schedule(sides, 4)) == "ABBAABBA"


@pytest.mark.parametrize(
    ("probability", "freedom", "quantile"),
    [(0.995, 3, 5.841), (0.995, 7, 3.499), (0.975, 7, 2.365), (0.975, 30, 2.042), (0.5, 9, 0)],
)
def test_quantiles_are_those_of_the_tables(probability, freedom, quantile):
    """Within a hundredth."""
    assert student(probability, freedom) == pytest.approx(quantile, rel=0.01, abs=1e-9)


def test_the_same_kernel_twice_does_not_differ():
    """In 95 of 100 comparisons no row says so."""
    dice = random.Random(1)
    wrong = 0
    for _ in range(100):
        first, second = ([boot(dice) for _ in range(8)] for _ in range(2))
        wrong += any(change(row, first, second).told for row in COMPARED)

    assert wrong <= 10


def test_a_difference_is_told_in_its_rows():
    """Five percent, where boots differ by one and the machine's pace by half."""
    dice = random.Random(2)
    first, second = [boot(dice) for _ in range(8)], [boot(dice, faster=0.95) for _ in range(8)]

    found = [change(row, first, second) for row in COMPARED]

    assert [one.told for one in found] == [False, False, True, True]
    assert found[2].low < -0.05 < found[2].high < 0


@pytest.fixture
def guests(monkeypatch, tmp_path):
    """Stands for guests: the kernel named `slow` is slower in ring buffers, others as they are named."""
    dice, booted = random.Random(3), []

    def in_guest(kernel, options, order, *, output):
        booted.append((kernel, options))
        if kernel == "broken":
            output.write("Exit: it does not boot.\n")
            return 15
        kinds = {"slow": {"faster": 0.8}, "read": {"request": "READ"}, "liar": {"fault": "cqe 3"}}
        return boot(dice, **kinds.get(kernel, {}))

    monkeypatch.setattr(nops, "in_guest", in_guest)
    monkeypatch.setattr(compare.native, "build", lambda *, say: tmp_path)
    monkeypatch.setattr(compare, "_ROOT", tmp_path)
    return booted


def test_two_kernels_are_compared(guests, capsys):
    """With what is different, and in whose favour."""
    assert main(["--guest=uml", "--kernel", "source:6.12", "--kernel", "slow", "--patch=p", "--boots=6"]) == 0

    out = capsys.readouterr().out
    assert len(guests) == 12
    assert guests[1][1][:2] == ["--guest=uml", "--patch=p"]
    assert "B differs from A: ring buffers, 32; ring buffers, 1\n" in out
    assert "slower" in out
    assert max(len(line) for line in out.splitlines() if "/" not in line) <= 80


def test_the_same_kernel_twice_says_so(guests, capsys):
    """Of the ring's rows as of the others."""
    assert main(["--kernel", "source:6.12", "--kernel", "source:6.12", "--boots", "6"]) == 0

    assert "no difference told between A and B" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--kernel", "a"], "Two kernels"),
        (["--kernel", "a", "--kernel", "b", "--kernel", "c"], "Two kernels"),
        (["--kernel", "host", "--kernel", "b"], "Two kernels"),
        (["--kernel", "a", "--kernel"], "needs a kernel"),
        (["--boots=2", "--kernel", "a", "--kernel", "b"], "--boots takes at least 4"),
        (["--kernel", "a", "--kernel", "read"], "request is NOP with a kernel, READ with"),
    ],
)
def test_what_cannot_be_compared(guests, words, says):
    """Is said."""
    with pytest.raises(BadSpec, match=says):
        main(words)


def test_a_kernel_that_gives_no_figures(guests, capsys):
    """It does not boot, or fails a check of the loop."""
    with pytest.raises(RigError, match=r"exit code 15.*it does not boot"):
        main(["--kernel", "a", "--kernel", "broken"])

    assert main(["--kernel", "a", "--kernel", "liar"]) == 1
    assert "FAILED: cqe 3" in capsys.readouterr().out


def test_the_help_that_an_error_points_to_has_its_options(capsys):
    """`rig bench --help`, after the other measurements."""
    with pytest.raises(BadSpec) as caught:
        main(["--boots", "0", "--kernel", "a", "--kernel", "b"])

    assert caught.value.next_step == "rig bench --help"
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("--boots", "--rounds", "--seconds", "rig bench nops"))
