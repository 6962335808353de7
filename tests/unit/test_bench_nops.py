"""`rig bench nops`: what is made of the figures, and its command line."""

import io
import itertools
import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from rich.console import Console

from ringrig.bench import chart, inside, main, nops, plot
from ringrig.bench.nops import Order, Result
from ringrig.bench.rows import ROWS, Measured, rfc_extra, rfc_ratio
from ringrig.errors import BadSpec

SVG = "{http://www.w3.org/2000/svg}"
ORDER = Order(native="", rounds=4, seconds=0.01, answer="")


def measured(*rates, fault=""):
    """Figures in millions a second, the same in every round but for a slow spell of the machine in the last two."""
    rounds = [[1e6 * rate * slow for slow in (1, 1, 0.5, 0.25)] for rate in rates]
    return Measured(
        release="6.12", request="NOP", why="it says so", layout="merged", cpu=1, rates=rounds, fault=fault
    )


def result(*rates, label="a kernel", where="host", fault=""):
    return Result(label=label, where=where, measured=measured(*rates, fault=fault))


AS_IN_THE_RFC = [row.rfc for row in ROWS]


def test_the_figures_of_the_rfc():
    """The cover letter's own rows, and what follows from them."""
    assert [round(rfc_ratio(row), 2) for row in range(5)] == [1, 0.53, 0.33, 0.90, 0.90]
    assert [round(rfc_extra(row)) for row in range(5)] == [0, 29, 67, 4, 4]


def test_a_slow_spell_of_the_machine_cancels_out_of_the_ratios():
    """Rows are compared round by round."""
    found = measured(*AS_IN_THE_RFC)

    for row in range(5):
        ratio = found.ratio(row)
        assert ratio.low == ratio.median == ratio.high == pytest.approx(rfc_ratio(row))


def test_figures_travel_as_json():
    """To the rig and back."""
    given = result(*AS_IN_THE_RFC, fault="x")

    assert Result.from_json(given.to_json()) == given


def test_every_row_comes_at_every_place_equally_often():
    """Whatever comes after a slow row, it is not always the same one."""
    rounds = [inside.order(number, 5) for number in range(5)]

    assert all(sorted(places) == list(range(5)) for places in (*rounds, *zip(*rounds, strict=True)))


@pytest.mark.parametrize("seconds", [0.001, 0.01, 1.0])
def test_calibration_finds_the_batches_of_a_round(seconds):
    """In a calm moment; a disturbance now and then does not shorten the rounds."""
    disturbance = itertools.cycle([0, 0, 0.1])

    batches = inside.calibrate(lambda count: count * 7e-6 + next(disturbance), seconds)

    assert batches * 7e-6 == pytest.approx(seconds, rel=0.1)


def test_a_batch_longer_than_a_round_is_a_round():
    """A slow emulator."""
    assert inside.calibrate(lambda count: count * 0.5, 0.01) == 1


def test_rows_in_the_order_of_the_rfc():
    """Its equal rows may come either way."""
    assert chart.verdict(measured(30, 16, 10, 26, 27)) == chart.verdict(measured(30, 16, 10, 27, 26))
    assert chart.verdict(measured(30, 16, 10, 27, 27)) == "order of the rows: the RFC's"


def test_rows_in_another_order_are_named():
    """Which came before which."""
    said = chart.verdict(measured(30, 16, 10, 27, 9))

    assert (
        "not the RFC's: 'provided buffers, 32' before 'ring buffers, 1', 'provided buffers, 1' before" in said
    )


def shown(given):
    console = Console(file=io.StringIO(), width=80)
    chart.show(given, ORDER, console=console)
    return console.file.getvalue()


def test_the_table_fits_a_terminal_of_80_columns():
    """Nothing is cut or wrapped."""
    text = shown(result(*AS_IN_THE_RFC))

    assert "provided buffers, 1   " in text
    assert all(len(line) <= 80 for line in text.splitlines() if "buffers" in line)
    assert "…" not in text


@pytest.mark.parametrize("where, warned", [("qemu, tcg", True), ("qemu, kvm", False), ("uml, native", False)])
def test_an_emulated_kernel_is_called_one(where, warned):
    """On the terminal and in the plot."""
    given = result(*AS_IN_THE_RFC, where=where)

    assert ("the rates mean nothing" in shown(given)) == warned
    assert ("rates mean nothing" in plot.svg([given])) == warned


def test_a_fault_is_shown_instead_of_figures():
    """No table for a kernel that loses buffers."""
    text = shown(result(*AS_IN_THE_RFC, fault="ring buffers, 1: a buffer id is wrong"))

    assert "FAILED: ring buffers, 1: a buffer id is wrong" in text
    assert "ratio" not in text


def test_the_plot_has_a_bar_for_every_row_and_kernel():
    """Well-formed, whatever a kernel is called."""
    tree = ElementTree.fromstring(plot.svg([result(*AS_IN_THE_RFC, label="a<b&c"), result(*AS_IN_THE_RFC)]))

    bars = [rect for rect in tree.iter(SVG + "rect") if rect.get("height") == str(plot._BAR - 3)]
    texts = [text.text for text in tree.iter(SVG + "text")]
    assert len(bars) == 3 * len(ROWS)
    assert any(text.startswith("a<b&c [host]") for text in texts)
    assert all(row.name in texts for row in ROWS)


def test_a_bar_is_as_long_as_its_ratio():
    """To the scale of the axis."""
    tree = ElementTree.fromstring(plot.svg([result(30, 15, 10, 27, 27)]))

    bars = [
        float(rect.get("width"))
        for rect in tree.iter(SVG + "rect")
        if rect.get("height") == str(plot._BAR - 3)
    ]
    assert bars[3] == pytest.approx(bars[1] / 2, abs=0.1)


@pytest.fixture
def measuring(monkeypatch):
    """A command line without a compiler or a kernel: by kernel, what comes of it."""
    answers = {}
    monkeypatch.setattr(nops.native, "build", lambda say: "")
    monkeypatch.setattr(nops, "_on_host", lambda order: answers["host"])
    monkeypatch.setattr(nops, "in_guest", lambda kernel, rest, order: answers[kernel])
    return answers


def test_a_kernel_that_fails_a_check_ends_with_1(measuring, tmp_path, capsys):
    """And is not in the plot; the others are."""
    measuring |= {"host": result(fault="x", label="bad"), "debian": result(*AS_IN_THE_RFC, label="good")}
    file = tmp_path / "plot.svg"

    assert main(["nops", "--kernel", "host", "--kernel", "debian", "--plot", str(file)]) == 1

    assert "good" in file.read_text()
    assert "bad" not in file.read_text()
    assert f"plot: {file}" in capsys.readouterr().out


def test_a_kernel_that_does_not_boot_does_not_cost_the_others(measuring, capsys):
    """The first code that is not 0 is the exit code."""
    measuring |= {"debian": 15, "host": result(*AS_IN_THE_RFC, label="good")}

    assert main(["nops", "--kernel", "debian", "--kernel", "host"]) == 15
    assert "good" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--patch", "x"],
        ["--rounds", "1"],
        ["--seconds", "0"],
        ["--seconds", "11"],
        ["--kernel"],
        ["--plot", "/nowhere/x.svg"],
        ["--plot", "x.png"],
    ],
)
def test_arguments_without_a_meaning(measuring, arguments):
    """Before anything is built."""
    with pytest.raises(BadSpec):
        main(["nops", *arguments])


def test_there_is_no_other_benchmark():
    """With those there are."""
    with pytest.raises(BadSpec) as caught:
        main(["flops"])

    assert {"boot", "nops"} <= set(caught.value.next_step.replace(",", "").split())


def test_who_measures_goes_first_and_is_no_real_time_process():
    """One that was, pinned to a CPU, waited for ever for a lock whose holder it kept from that CPU."""
    ask = (
        "import os; print(os.sched_getscheduler(0) == os.SCHED_OTHER, os.getpriority(os.PRIO_PROCESS, 0) < 0)"
    )

    said = subprocess.run(
        [sys.executable, "-c", ask], preexec_fn=nops.prefer, capture_output=True, text=True, check=True
    )

    assert said.stdout.split() == ["True", str(os.geteuid() == 0)]
