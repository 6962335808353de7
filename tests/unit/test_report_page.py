"""The page: complete in itself, nothing of a kernel's words is markup, and a browser runs it without a complaint."""

import json
import re
from html.parser import HTMLParser
from itertools import product

import pytest
from fakes import mutant_campaign
from fakes.browser import CHROMIUM, Browser
from fakes.folders import ISSUE, LINES, A, B, a_bisection, a_bisection_under_way, a_matrix, a_run, a_series

from ringrig import cli
from ringrig.report import folder as folders
from ringrig.report import mutants_html, page, page_failures
from ringrig.report.command import write_page
from ringrig.report.page_failures import command

VOID = {"meta", "input", "br"}
CLOSES_ITSELF = {"li", "tr", "td", "th", "dt", "dd"}


class Reader(HTMLParser):
    """The tags, links and texts of a page; every element that must be closed is."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links = [], [], []
        self.text, self.data, self.styles, self.scripts = "", "", "", ""
        self.feed(text)
        assert [tag for tag in self.open if tag not in CLOSES_ITSELF] == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("href", "src", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open[-1] != tag and self.open[-1] in CLOSES_ITSELF:
            self.open.pop()
        assert self.open.pop() == tag

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        if inside == "script" and self.data:
            self.scripts += data
        elif inside == "script":
            self.data = data
        elif inside == "style":
            self.styles += data
        else:
            self.text += data


@pytest.fixture
def matrix(tmp_path):
    return a_matrix(tmp_path / "a_matrix")


@pytest.fixture
def read(matrix):
    return Reader(page.text(folders.read(matrix)))


def test_nothing_comes_from_elsewhere(read):
    """Links lead to the folder's own files, to places on the page, and to the bugs."""
    assert {"link", "img", "iframe"} & set(read.tags) == set()
    assert not re.search(r"url\(|@import|fetch\(|import ", read.styles + read.scripts)
    assert {link for link in read.links if not link.startswith(("#", "k-"))} == {ISSUE["link"]}


def test_what_cases_say_is_no_markup(read):
    """Neither in the page's text nor in the script's data."""
    assert "got -EINVAL </script><b>" in read.text
    whys = json.loads(read.data)["whys"]
    assert "got -EINVAL </script><b>" in whys
    assert "<" not in read.data


def test_a_cell_for_each_case_and_run(read):
    """A letter for each outcome, a space where a run has no such case."""
    files = json.loads(read.data)["files"]

    assert files[B] == {"test_1": {"": ".. "}, "test_2": {"": ["-- ", {"0": 6, "1": 6}]}}
    assert files[A]["test_3"] == {"a/b": ["kk ", {"0": 0, "1": 0}]}
    assert files[A]["test_4"] == {"a#1": ["F  ", {"0": 1}, {"0": 0}]}


def test_failures_have_their_evidence_and_commands(read):
    """Words, console lines, and what repeats them."""
    assert "assert -22 == 0" in read.text
    assert "WARNING: CPU: 0 PID: 180" in read.text
    assert f"./rig reproduce --kernel=source:6.12 --guest=uml --config=kasan '{A}::test_4[a#1]'" in read.text


def test_known_bugs_are_told_by_kernel(read):
    """With link and expiry; the run that had no case, and what was not run, are told as well."""
    assert ISSUE["title"] in read.text
    assert "until 2199-01-01" in read.text
    assert "NO VERDICT: There is no such kernel." in read.text
    assert "not run" in read.text


def test_what_was_left_out_is_told_by_reason(matrix):
    """And how many cases of each run."""
    assert page.left_out(folders.read(matrix)) == [("needs inc: <no> & \x1b[1m", [1, 1, 0])]


def test_known_bugs_of_old_runs(tmp_path):
    """Runs from before results named the issue have its title and link."""
    line = {
        "nodeid": f"{A}::test_1",
        "outcome": "xfailed",
        "seconds": 0,
        "why": "known: stale (bug) (https://x.invalid/1)",
    }
    run = a_run(tmp_path / "r", lines=[line], known=[])

    (bug,) = page.bugs(folders.read(run))

    assert (bug.title, bug.link, bug.cells) == ("stale (bug)", "https://x.invalid/1", [(1, 0)])


def test_what_expired_is_told(tmp_path):
    """Somebody has to look at it."""
    run = a_run(tmp_path / "r", expired=[{**ISSUE, "id": "old", "expires": "2020-01-01"}])

    assert "Expired on 2020-01-01: known issue old" in Reader(page.text(folders.read(run))).text


def test_many_failures_are_folded_and_not_all_told(tmp_path):
    """By file; beyond a number only their cells are left."""
    lines = [
        {"nodeid": f"suites/x/test_{n % 3}.py::test_it[{n}]", "outcome": "failed", "seconds": 0, "why": "w"}
        for n in range(400)
    ]
    text = page.text(folders.read(a_run(tmp_path / "r", lines=lines)))

    assert text.count('<details class="failure"') == 300
    assert text.count("<summary><code>suites/x/test_") == 300 + 3


def test_a_large_matrix_makes_a_small_page(tmp_path):
    """A case costs its name and a letter for each run, not its results."""
    name = "suites/select/test_a_long_name.py::test_what_is_selected[readv-{}-ring-several_buffers]"
    lines = [{"nodeid": name.format(n), "outcome": "passed", "seconds": 0.1} for n in range(3000)]
    for n in range(6):
        a_run(tmp_path / f"m/k{n}", lines=lines)
        told = {"job": {"name": f"k{n}", "kernel": "host"}, "suite": "", "exit_code": 0, "seconds": 1}
        (tmp_path / f"m/k{n}/job.json").write_text(json.dumps(told))

    assert len(page.text(folders.read(tmp_path / "m"))) < 3000 * 60


def test_commands_are_quoted():
    """For a shell."""
    assert (
        command("run", "a.py::t[x y]", ["--kernel=tree:/a b"])
        == "./rig run '--kernel=tree:/a b' 'a.py::t[x y]'"
    )


def test_the_command_writes_the_page(matrix, capsys):
    """Into the folder, and says where."""
    assert cli.main(["report", str(matrix)]) == 0

    assert capsys.readouterr().out == f"{matrix}/report.html\n"
    assert (matrix / "report.html").read_text().startswith("<!doctype html>")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One for all pages."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def test_in_a_browser(browser, matrix):
    """The filter, the keyboard and a cell's panel work from file://, without a message on the console."""
    browser.open(write_page(folders.read(matrix)))

    seen = browser.run("""
        document.dispatchEvent(new KeyboardEvent("keydown", { key: "/" }));
        const focused = document.activeElement === input;
        document.querySelector("[data-letter=F]").click();
        const found = document.getElementById("found").textContent;
        await new Promise((then) => setTimeout(then, 100));
        document.querySelector("#grid button.failed").click();
        const panel = document.querySelector(".panel");
        return { focused, found, panel: panel.textContent, link: panel.querySelector("a").hash };
    """)

    assert browser.complaints == []
    assert seen["focused"]
    assert seen["found"] == f"2 of {len(LINES)} cases"
    assert "failed on source:6.12: got -EINVAL </script><b>" in seen["panel"]
    assert "./rig reproduce --kernel=source:6.12" in seen["panel"]
    assert seen["link"] == "#f0"


LONG = "a_name_that_" * 12
MANY = [
    {"nodeid": f"suites/x/test_{LONG}.py::test_{LONG}[{n}-{LONG}]", "outcome": outcome, "seconds": 1, "why": LONG * 2,
     "detail": f"E  {LONG * 3}\n", "guest": "gw0-1"}
    for n, outcome in enumerate(["failed", "error", "skipped", "passed"])
]  # fmt: skip


def mutants_page(folder):
    folder.mkdir()
    (folder / "mutants.html").write_text(
        mutants_html.page(mutant_campaign.campaign(folder, *mutant_campaign.VERDICTS))
    )
    return folder / "mutants.html"


PAGES = {
    "run": lambda folder: write_page(folders.read(a_run(folder, lines=[*LINES, *MANY]))),
    "matrix": lambda folder: write_page(folders.read(a_matrix(folder, lines=[*LINES, *MANY]))),
    "series": lambda folder: write_page(folders.read(a_series(folder, lines=[*LINES, *MANY], words=LONG))),
    "bisect": lambda folder: write_page(folders.read(a_bisection(folder, words=LONG))),
    "bisect under way": lambda folder: write_page(folders.read(a_bisection_under_way(folder))),
    "mutants": mutants_page,
}
OPENED = """
    for (let deep = 0; deep < 3; deep++) {
        for (const one of document.querySelectorAll("details")) one.open = true;
        await new Promise((then) => setTimeout(then, 20));
    }
    const panel = document.querySelector("#grid button.failed");
    if (panel) panel.click();
    const page = document.documentElement;
    return { over: page.scrollWidth - page.clientWidth, back: getComputedStyle(document.body).backgroundColor };
"""


@pytest.mark.parametrize("kind", PAGES)
def test_each_kind_of_page_fits(browser, tmp_path, kind):
    """A phone and a desk, light and dark: with all that folds unfolded nothing is wider than the page, nor on the console."""
    place = PAGES[kind](tmp_path / "folder")

    seen = {}
    for width, scheme in product((390, 1200), ("light", "dark")):
        browser.open(place, width=width, scheme=scheme)
        found = browser.run(OPENED)
        seen[width, scheme] = (found["over"], browser.complaints[:], found["back"])

    light, dark = "rgb(255, 255, 255)", "rgb(20, 23, 27)"
    assert seen == {
        (width, scheme): (0, [], back)
        for width, (scheme, back) in product((390, 1200), (("light", light), ("dark", dark)))
    }


def test_a_bisection_is_its_path_of_verdicts(tmp_path):
    """The culprit, the confidence, and each commit in the order in which it was examined."""
    read = Reader(page.text(folders.read(a_bisection(tmp_path))))

    assert read.text.count("bbbbbbbbbbbb io_uring: b <b>") == 2
    assert read.text.index("is good") < read.text.index("is bad") < read.text.index("is skip")
    assert "Confidence 99.99 %" in read.text
    assert "mail.txt" in read.links


@pytest.mark.parametrize(
    "told",
    [
        {"result": "unfinished"},
        {"result": "unfinished", "left": [], "confidence": None, "stopped": "the disk is full"},
    ],
)
def test_a_bisection_that_was_cut_short(tmp_path, told):
    """Says so."""
    (tmp_path / "bisect.json").write_text(json.dumps(told))

    read = Reader(page.text(folders.read(tmp_path)))

    assert "Unfinished" in read.text
    assert told.get("stopped", "") in read.text


def test_a_bisection_without_a_result(tmp_path):
    """Under way, or ended by wrong ends: the commits that were examined so far."""
    folder = folders.read(a_bisection_under_way(tmp_path / "b"))

    read = Reader(page.text(folder))

    assert (folder.kind, [one.name for one in folder.runs]) == ("bisect", ["aaaaaaaaaaaa", "bbbbbbbbbbbb"])
    assert "Bisection: 2 commits, without a result of its own so far" in read.text


def test_a_series_is_a_row_for_each_patch(tmp_path):
    """What breaks and mends what, which changed lines no case ran, what was not run; base and patches are the columns."""
    read = Reader(page.text(folders.read(a_series(tmp_path / "runs/a_series"))))

    assert [one["name"] for one in json.loads(read.data)["runs"]] == ["base", "1-of-4", "2-of-4", "3-of-4"]
    for words in (
        "Series: bundles <two>",
        "1 io_uring: <one>",
        "breaks: 1",
        "mends: 1",
        "expected ‘;’",
        "patch 4",
    ):
        assert words in read.text
    assert "changed lines that no case ran: io_uring/kbuf.c:7-9, 12" in read.text


def test_a_series_says_all_that_its_terminal_says(tmp_path):
    """What newly passes and runs, once, with the patch that it comes with; flaky cases of the base; files without counters."""
    folder = a_series(tmp_path / "runs/a_series")

    text = " ".join(Reader(page.text(folders.read(folder))).text.split())

    first, third = text.partition("Patch 3: mends")[::2]
    for words in ("newly passing: 1 p1 ", "newly run: 1 r1 ", "not measured: fs/pipe.c"):
        assert words in first
    assert "newly passing: 1 p2 " in third
    assert "newly run" not in third
    assert "Flaky on the base: failed, and passed when run again: 1 wavers" in text
    assert "cases: suites/status " in text


def test_a_known_bug_has_the_program_that_shows_it(tmp_path, monkeypatch):
    """The one of docs/bugs that was made from a case which shows it in this run."""
    for name, case in (("mine.c", "test_1[x]"), ("other.c", "test_2")):
        (tmp_path / name).write_text(f"/*\n * Made by ringrig from {A}::{case},\n * beside y.\n */\n")
    monkeypatch.setattr(page_failures, "_PROGRAMS", tmp_path)
    line = {"nodeid": f"{A}::test_1[x]", "outcome": "xfailed", "seconds": 0, "why": "k", "known": ISSUE["id"]}
    folder = folders.read(a_run(tmp_path / "r", lines=[line], known=[ISSUE]))

    (bug,) = page.bugs(folder)

    assert list(bug.programs) == ["mine.c"]
    assert "mine.c, which shows it" in Reader(page.text(folder)).text


def test_issues_of_one_title_are_one_bug(tmp_path):
    """Its cases are counted together."""
    issues = [{**ISSUE, "id": name} for name in ("b-readv", "a-read")]
    lines = [
        {"nodeid": f"{A}::{one['id']}", "outcome": "xfailed", "seconds": 0, "why": "k", "known": one["id"]}
        for one in issues
    ]

    (bug,) = page.bugs(folders.read(a_run(tmp_path / "r", lines=lines, known=issues)))

    assert (bug.ids, bug.cells) == (["a-read", "b-readv"], [(2, 0)])
