"""What a bisection reckons: the weights are git's own, a round's verdicts add up, and the confidence is kept."""

import random

import pytest
from fakes.commits import git, line, repository

from ringrig.campaign import confidence
from ringrig.campaign.commit_verdict import FAILED, Quota, Tally, Try
from ringrig.campaign.history import History, history
from ringrig.campaign.search import Search


def chain(count):
    """c0 is good, the last of c1, c2, … bad."""
    parents = {f"c{n}": (f"c{n - 1}",) for n in range(1, count + 1)}
    return Search(History(good="c0", bad=f"c{count}", parents=parents))


def tangle(seed, count=40):
    """Commits with one or two parents among those just before."""
    dice = random.Random(seed)
    made = [("c0", "good", [])]
    for number in range(1, count):
        parents = {f"c{max(0, number - dice.randint(1, 4))}" for _ in range(dice.randint(1, 2))} | {
            f"c{number - 1}" for _ in range(number == count - 1)
        }
        made.append((f"c{number}", "good", sorted(parents)))
    return made


@pytest.mark.parametrize("seed", range(3))
def test_weights_are_those_of_git(tmp_path, seed):
    """`git rev-list --bisect-all` says how many commits either answer leaves out, the fewer of the two."""
    tree = tmp_path / "tree"
    ids = repository(tree, tangle(seed))
    search = Search(history(tree, ids["c0"], ids["c39"]))
    told = git(tree, "rev-list", "--bisect-all", "c39", "--not", "c0").splitlines()
    theirs = {row.split()[0]: int(row.split("dist=")[1].rstrip(",)").split(",")[0]) for row in told}

    total = len(search.left)

    assert {one: min(weight, total - weight) for one, weight in search.weights.items()} == theirs


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_each_of_many_culprits_is_found(jobs):
    """Wherever it is, in as few rounds as a range of 100 takes."""
    for culprit in range(1, 101):
        search, rounds = chain(100), 0
        while commits := search.next(jobs):
            rounds += 1
            search.learn({one: "bad" if int(one[1:]) >= culprit else "good" for one in commits})
        assert search.left == [f"c{culprit}"]
        assert rounds <= {1: 7, 2: 5, 5: 3}[jobs]


@pytest.mark.parametrize("seed", range(20))
def test_what_cannot_be_tried_leaves_the_culprit_among_those_left(seed):
    """And every commit is tried once at most."""
    dice = random.Random(seed)
    culprit, broken = dice.randint(1, 60), set(dice.sample(range(1, 60), 25))
    search, tried = chain(60), []
    while commits := search.next(1):
        tried += commits
        numbers = {one: int(one[1:]) for one in commits}
        search.learn(
            {one: "skip" if n in broken else "bad" if n >= culprit else "good" for one, n in numbers.items()}
        )

    assert f"c{culprit}" in search.left
    assert set(search.left) - {search.bad} <= {f"c{n}" for n in broken}
    assert len(tried) == len(set(tried))


def test_a_patch_of_commits_that_do_not_build_is_left_soon():
    """Of 200 the middle 30 do not: the search steps aside rather than try one after the other."""
    search, tried = chain(200), 0
    while commits := search.next(1):
        tried += 1
        search.learn(
            {
                one: "skip" if 85 <= int(one[1:]) < 115 else "bad" if int(one[1:]) >= 150 else "good"
                for one in commits
            }
        )

    assert search.left == ["c150"]
    assert tried <= 14


def test_a_bad_commit_within_a_good_one_says_nothing():
    """It is told, and the search goes on above."""
    search = chain(9)

    assert search.learn({"c3": "bad", "c6": "good"}) == ["c3"]
    assert search.left == ["c7", "c8", "c9"]


@pytest.mark.parametrize("rate", [0.9, 1 / 3, 0.1, 0.02])
def test_the_confidence_is_kept(rate):
    """Bad ends of that failure rate, then a commit that is bad: how often it is called good."""
    dice, wrong, runs = random.Random(7), 0, 400
    for _ in range(runs):
        tries = failures = 0
        while failures < 8:
            tries += 1
            failures += dice.random() < rate
        least = confidence.least_rate(failures, tries, doubt=0.05)
        passes = confidence.passes_needed(least, confidence=0.9, verdicts=1)
        wrong += all(dice.random() >= rate for _ in range(min(passes, 200)))
    assert wrong / runs < 0.1
    assert confidence.reached(least, [passes], doubt=0.05) >= 0.9


def test_a_rate_that_is_too_low_for_the_confidence_is_no_promise():
    """The passes that are asked for have an end, and what is reached says so."""
    least = confidence.least_rate(1, 300, doubt=0.005)
    passes = confidence.passes_needed(least, confidence=0.99, verdicts=8)

    assert passes == confidence.MOST_PASSES
    assert confidence.reached(least, [passes] * 8, doubt=0.005) < 0.5


def tally(text, quota):
    """Of tries in short: p passed, f failed, o of another kind; as many as were needed."""
    made = Tally()
    for number, letter in enumerate(text):
        if made.enough(quota):
            return made, number
        marks = {"f": (FAILED,), "o": ("abc",)}.get(letter, ())
        made.add(Try(nodeid="x", outcome="failed" if marks else "passed", marks=marks), quota.marks)
    return made, len(text)


@pytest.mark.parametrize(
    ("text", "needed"),
    [("ppppp", 4), ("pff", 3), ("pfpppppppppppp", 13), ("oooo", 3), ("poopopo", 5)],
)
def test_when_enough_is_known(text, needed):
    """4 passes, or 2 failures; a single failure asks for three times the passes; what dies of something else is given up."""
    assert tally(text, Quota(passes=4, marks=(FAILED,)))[1] == needed


def test_a_quota_travels_as_a_word():
    """With marks or without."""
    for quota in (Quota(passes=4), Quota(passes=9, failures=3, marks=(FAILED, "0123abc"))):
        assert Quota.of(quota.word) == quota


def test_a_single_commit_needs_no_round(tmp_path):
    """The bad end itself."""
    ids = repository(tmp_path / "tree", line("good", "bad"))

    search = Search(history(tmp_path / "tree", ids["c0"], ids["c1"]))

    assert search.next(1) == []
    assert search.left == [ids["c1"]]
