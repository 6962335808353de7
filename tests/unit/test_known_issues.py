"""Known issues: a bug in the kernel stays visible, and only the bug that is known is excused."""

import datetime

import pytest
from fakes.machines import plan

from ringrig.plugin.known_issues import KnownIssues

HEAD = """
[[issue]]
id = "stale-head"
title = "6.12: a stale head"
case = "suites/register/test_fresh.py::test_head[*-low]"
shows = "hands out slot \\\\d+"
link = "https://example.invalid/1"
expires = 2199-01-01
"""
CASE = "suites/register/test_fresh.py::test_head[mmap-low]"


@pytest.fixture
def known(tmp_path):
    def load(text=HEAD, **facts):
        path = tmp_path / "known-issues.toml"
        path.write_text(text)
        return KnownIssues.load(path, plan(**facts))

    return load


def report(
    outcome="failed", text="AssertionError: hands out slot 3", *, nodeid=CASE, when="call", troubles=()
):
    longrepr = text if outcome == "failed" else None
    out = pytest.TestReport(nodeid, ("f.py", 0, "t"), {}, outcome, longrepr, when)
    out.user_properties += [("trouble", trouble) for trouble in troubles]
    return out


def applied(issues, one):
    issues.apply([one])
    return ("x" if hasattr(one, "wasxfail") else "") + one.outcome


def test_the_known_result_of_the_known_case_is_an_expected_failure(known):
    """With title and link."""
    one = report()

    assert applied(known(), one) == "xskipped"
    assert one.wasxfail == "known: 6.12: a stale head (https://example.invalid/1)"


def test_another_failure_of_that_case_stays_one(known):
    """Only the wrong result that is known is excused."""
    assert applied(known(), report(text="AssertionError: ENOMEM")) == "failed"


def test_of_several_entries_of_a_case_the_one_that_shows_counts(known):
    """Each with its own wrong result; one entry may name several cases."""
    second = HEAD.replace("slot", "nothing").replace("stale head", "lost head")
    second = second.replace('case = "', 'case = ["suites/x.py::test_y", "').replace('low]"', 'low]"]')
    issues = known(HEAD + second)
    one, other = report(), report(text="AssertionError: hands out nothing 3", nodeid="suites/x.py::test_y")

    assert applied(issues, one) == applied(issues, other) == "xskipped"
    assert "stale head" in one.wasxfail
    assert "lost head" in other.wasxfail


@pytest.mark.parametrize(
    "nodeid",
    [
        "suites/register/test_fresh.py::test_head[mmap-high]",
        "suites/register/test_fresh.py::test_header[mmap-low]",
        "suites/status/test_fresh.py::test_head[mmap-low]",
        "suites/register/test_fresh.py::test_headm",
    ],
)
def test_another_case_with_that_result_stays_failed(known, nodeid):
    """Brackets are parameters, no character classes."""
    assert applied(known(), report(nodeid=nodeid)) == "failed"


def test_a_pass_where_the_bug_was_expected_is_reported(known):
    """As xpass, for somebody has to look at the entry."""
    assert applied(known(), report("passed")) == "xpassed"


def test_a_skip_is_no_news(known):
    """The case was left out for another reason."""
    assert applied(known(), report("skipped")) == "skipped"


@pytest.mark.parametrize("when", ["setup", "teardown"])
def test_only_the_call_is_excused(known, when):
    """A fixture that fails with the same words does so for another reason."""
    assert applied(known(), report(when=when)) == "failed"


def test_a_splat_beside_the_known_result_is_not_excused(known):
    """The issue does not speak of it."""
    assert applied(known(), report(troubles=["splat: kernel splat: WARNING at kbuf.c"])) == "failed"


def test_a_splat_that_the_issue_speaks_of_is_excused(known):
    """Its `shows` finds the trouble's first line."""
    issues = known(HEAD.replace("hands out slot \\\\d+", "WARNING at kbuf.c"))
    one = report(text="kernel splat: WARNING at kbuf.c", troubles=["splat: kernel splat: WARNING at kbuf.c"])

    assert applied(issues, one) == "xskipped"


@pytest.mark.parametrize(("days", "outcome"), [(0, "xskipped"), (-1, "failed")])
def test_an_entry_holds_up_to_its_last_day(known, days, outcome):
    """Afterwards the failure is one again."""
    day = datetime.date.today() + datetime.timedelta(days=days)

    assert applied(known(HEAD.replace("2199-01-01", day.isoformat())), report()) == outcome


@pytest.mark.parametrize(
    ("spec", "release", "outcome"),
    [("debian:6.12", "6.12.117+deb12-amd64", "xskipped"), ("debian:6.1", "6.1.0-51-amd64", "failed")],
)
def test_an_entry_holds_for_its_profiles_only(known, spec, release, outcome):
    """The profile that judges the kernel, not the kernel's name."""
    issues = known(HEAD + 'profiles = ["debian:6.12"]\n', spec=spec, release=release)

    assert applied(issues, report()) == outcome


@pytest.mark.parametrize(("traits", "outcome"), [("pbuf_mmap", "xskipped"), ("addr_checked_last", "failed")])
def test_an_entry_holds_for_kernels_with_its_traits_only(known, traits, outcome):
    """A trait that the profile lacks excludes it."""
    assert applied(known(HEAD + f'traits = ["{traits}"]\n'), report()) == outcome


def test_no_file_means_no_known_issues(tmp_path):
    """Cases outside suites/ have none."""
    issues = KnownIssues.load(tmp_path / "none.toml", plan())

    assert applied(issues, report()) == "failed"


@pytest.mark.parametrize("text", ["[[issue]\n", "[[issue]]\nid = 'only'\n", "[[issue]]\nsurprise = 1\n"])
def test_a_faulty_file_is_a_usage_error(known, text):
    """With its path."""
    with pytest.raises(pytest.UsageError, match=r"known-issues\.toml"):
        known(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("expires = 2199-01-01", 'expires = "2199-01-01"'),
        ("expires = 2199-01-01", "expires = 2199-01-01T00:00:00"),
        ('shows = "hands out slot \\\\d+"', 'shows = "("'),
        ('title = "6.12: a stale head"', "title = 3"),
        ('link = "https://example.invalid/1"', 'traits = ["no_such_trait"]\nlink = "x"'),
        ('link = "https://example.invalid/1"', 'profiles = ["no:such"]\nlink = "x"'),
    ],
    ids=["date-as-string", "date-and-time", "no-regex", "no-string", "no-such-trait", "no-such-profile"],
)
def test_a_value_that_makes_no_sense_is_a_usage_error(known, before, after):
    """A misspelt entry would never match, and nobody would notice."""
    assert before in HEAD

    with pytest.raises(pytest.UsageError, match=r"known-issues\.toml"):
        known(HEAD.replace(before, after))


def test_the_projects_own_file_is_sound(pytestconfig):
    """As every run loads it."""
    KnownIssues.load(pytestconfig.rootpath / "suites" / "known-issues.toml", plan())
