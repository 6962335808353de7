"""How sure a bisection can be of a case that fails only sometimes: binomial, and on the careful side.

Half of the doubt that is allowed goes to the failure rate, which the bad end shows only roughly; the other half is
shared by the commits that are called good, each of which may just have been lucky.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

MOST_PASSES = 3000
"""More passes than these are not asked of a commit; what is then left of the confidence is said."""


def least_rate(failures: int, tries: int, *, doubt: float) -> float:
    """The lowest rate under which so many failures (1 or more) in so many tries are no rarer than `doubt` (Clopper-Pearson).

    It holds as well where the tries went on until there were so many failures.
    """
    low, high = 0.0, failures / tries
    for _ in range(60):
        middle = (low + high) / 2
        if _at_least(failures, tries, middle) < doubt:
            low = middle
        else:
            high = middle
    return low


def _at_least(failures: int, tries: int, rate: float) -> float:
    fewer = sum(
        math.exp(_log_choose(tries, k) + k * math.log(rate) + (tries - k) * math.log1p(-rate))
        for k in range(failures)
    )
    return 1 - fewer


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def passes_needed(rate: float, *, confidence: float, verdicts: int) -> int:
    """So many passes in a row make a commit good, where `verdicts` commits may have to be; at most MOST_PASSES."""
    share = (1 - confidence) / 2 / verdicts
    return min(MOST_PASSES, max(1, math.ceil(math.log(share) / math.log1p(-rate))))


def reached(rate: float, passes: Iterable[int], *, doubt: float) -> float:
    """The chance that the rate is not below `rate` and none of the commits called good, with so many passes each, is bad."""
    return (1 - doubt) * math.prod(1 - (1 - rate) ** count for count in passes)
