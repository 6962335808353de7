"""What a campaign says: the table, the JSON, and a page that stands alone and shows foreign text as text."""

import json
from collections import Counter
from functools import partial
from html.parser import HTMLParser

import pytest
from fakes.mutant_campaign import KILL, VERDICTS, campaign, mutant

from ringrig.campaign.result import Alone, rate
from ringrig.campaign.trial import Kill, Verdict
from ringrig.report.mutants import report
from ringrig.report.mutants_html import page


@pytest.fixture
def make(tmp_path):
    return partial(campaign, tmp_path)


class Outline(HTMLParser):
    """The page's elements, and that they are closed in order; where HTML lets an end be left out, it may be."""

    LOOSE = ("html", "meta", "br", "td", "th", "tr", "li", "p")

    def __init__(self, text):
        super().__init__()
        self.count, self.attributes, self.words, self.open = Counter(), [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.count[tag] += 1
        self.attributes += [(tag, *one) for one in attrs]
        if tag not in self.LOOSE:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.LOOSE:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_what_counts_for_the_rate():
    """Killed of what was tried and could be noticed: neither equivalent nor out of the kernel."""
    assert (
        rate(Counter(killed=3, survived=1, flaky=1, unreached=1, equivalent=9, needs=9, stale=9, refused=9))
        == 0.5
    )
    assert rate(Counter(equivalent=3)) is None


@pytest.mark.parametrize(
    ("results", "code"),
    [
        (["killed", "equivalent", "needs", "stale", "refused"], 0),
        (["killed", "survived"], 1),
        (["killed", "flaky"], 1),
        (["killed", "unreached"], 1),
    ],
)
def test_the_exit_code_says_whether_there_is_work_left(make, results, code):
    """1: a mutant that somebody could notice was not."""
    campaign = make(*(one for one in VERDICTS if one.result in results))

    assert report(campaign) == code


def test_a_verdict_that_is_another_alone_is_no_good_either(make):
    """Then one of the two is wrong."""
    alone = [Alone(id="killed-one", together="killed", alone="survived", seconds=50.0)]

    assert report(make(VERDICTS[0], alone=alone)) == 1


def test_what_was_interrupted_says_what_is_left(make, capsys):
    """It is neither clean nor a failure; what is known is told."""
    campaign = make(untried=3)

    assert report(campaign) == campaign.exit_code == 130
    assert "interrupted: 3 mutants were not tried" in capsys.readouterr().out


def test_the_terminal_has_every_result_and_every_open_mutant(make, capsys):
    """In 80 columns, also where there is no terminal."""
    alone = [Alone(id="killed-one", together="killed", alone="killed", seconds=50.0)]

    report(make(*VERDICTS, alone=alone))

    out = capsys.readouterr().out
    rows = [line.split() for line in out.split("\n\n")[0].splitlines()]
    table = {row[0]: row[1:] for row in rows if row}
    assert "mutants of source:6.12 [uml, 8 mutants]" in out
    assert table["killed"] == ["1", "1"]
    assert table["kill"] == ["rate", "33.3", "%", "0.0", "%", "25.0", "%"]
    assert "survived-one: what survived-one <does> [4 cases]" in out
    assert "flaky-one: test_a.py::test_y 1 of 3 [3 cases]" in out
    assert "stale-one: the text is not in f" in out
    assert "refused-one: expected ‘;’" in out
    assert "killed by errno 1" in out
    assert "15 times as many an hour; 0 verdicts differ" in out


def test_surprises_are_said(make, capsys):
    """An equivalent one that --full tried and a case noticed, and one that leaves something behind."""
    leak = Kill(case="test_z", how="value", what="", times=3, tries=3, leaks=True)
    report(make(Verdict(mutant=mutant("same", equivalent="why"), result="killed", kills=[leak], cases=1)))

    out = capsys.readouterr().out
    assert "same is called equivalent, and is noticed by test_z" in out
    assert "same leaves something behind in the kernel after test_z" in out


def test_a_long_list_ends_with_where_the_rest_is(make, capsys):
    """Hundreds of survivors are for the files."""
    report(make(*(Verdict(mutant=mutant(f"m{n}"), result="survived", cases=1) for n in range(70))))

    out = capsys.readouterr().out
    assert "m59:" in out and "m60:" not in out
    assert "and 10 more, in mutants.json" in out


def test_the_json_is_complete(make, tmp_path):
    """Each mutant with its verdict, also in mutants.jsonl as they came."""
    report(make(*VERDICTS))

    data = json.loads((tmp_path / "mutants.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "mutants.jsonl").read_text().splitlines()]
    assert [one["id"] for one in data["mutants"]] == [one.mutant.id for one in VERDICTS]
    assert lines == data["mutants"]
    assert data["mutants"][0]["kills"][0]["case"] == KILL.case
    assert data["results"] == dict.fromkeys((one.result for one in VERDICTS), 1)
    none = dict.fromkeys(("reverted", "thawed", "frozen"))
    assert data["rates"] == {"chosen": 1 / 3, "generated": 0.0, **none}


def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere(make):
    """It is sent to a list, and opened years later."""
    outline = Outline(page(make(*VERDICTS)))

    assert not [one for one in outline.attributes if one[1] in ("src", "srcset", "onclick")]
    assert all(value.startswith("#") for _, name, value in outline.attributes if name == "href")
    assert not {"script", "link", "img", "iframe"} & set(outline.count)
    assert "url(" not in page(make(*VERDICTS)) and "@import" not in page(make(*VERDICTS))


def test_foreign_text_stays_text(make):
    """Source, notes, node ids and failures may hold anything."""
    outline = Outline(page(make(*VERDICTS)))

    words = "".join(outline.words)
    for text in (
        "A <ring> & its buffers",
        '"</details>"',
        "what killed-one <does>",
        "test_x[<b>]",
        "<-ENOENT>",
    ):
        assert text in words
    assert outline.count["ring"] == outline.count["does"] == 0


def test_a_line_says_how_many_of_its_mutants_are_noticed(make):
    """kbuf.c is there as a whole, of the other files the neighbourhood, and gaps are marked."""
    text = page(make(*VERDICTS))

    assert '<details class="open"><summary><span class="count">1/3</span>' in text
    assert ">    1</span>  /* A &lt;ring&gt;" in text
    assert "line 17;" in text and "line 16;" not in text and "line 24;" not in text
    assert text.count(">…<") == 1


def test_what_is_not_in_the_kernel_is_listed_all_the_same(make):
    """Stale and refused ones have no line."""
    words = "".join(Outline(page(make(*VERDICTS))).words)

    assert "Not in the kernel: 2" in words
    assert "Not noticed: 3" in words
    assert "expected ‘;’" in words


def test_a_clean_campaign_says_so(make):
    """No empty list."""
    text = page(make(VERDICTS[0]))

    assert "Nothing survived" in text
    assert '<details class="killed"><summary><span class="count">1/1</span>' in text
