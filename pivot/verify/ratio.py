"""`difflib.SequenceMatcher.ratio` with its work bounded: the same number where there is one, else an upper bound.

The matcher is quadratic in what it compares, and worse where many short blocks match; a policy chooses one side of it.
"""

from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate
from typing import Any

from rapidfuzz.distance import Indel

# Steps of the matcher's inner loop; about 30 ms of a slow core.
BUDGET = 250_000
# Beyond this even the bounds that follow are too slow.
LONGEST = 60_000


class _OverBudget(Exception):
    """The matcher wants more steps than it has."""


class _Bounded(SequenceMatcher[str]):
    """A matcher that counts its steps before it takes them."""

    def __init__(self, a: str, b: str, budget: int) -> None:
        super().__init__(None, a, b)
        self._left = budget
        # Steps up to each position of `a`: one for it, and one for every place of `b` that it is compared with.
        self._steps = [0, *accumulate(1 + len(self.b2j.get(char, ())) for char in a)]  # type: ignore[attr-defined]

    def find_longest_match(self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None) -> Any:
        end = len(self._steps) - 1 if ahi is None else ahi
        self._left -= self._steps[end] - self._steps[alo]
        if self._left < 0:
            raise _OverBudget
        return super().find_longest_match(alo, ahi, blo, bhi)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How alike two texts are.

    Attributes:
        value: In [0, 1], 1 for equal texts (also for two empty ones).
        exact: Whether `value` is the matcher's ratio, and not an upper bound of it.
    """

    value: float
    exact: bool


def ratio(expected: str, actual: str, budget: int = BUDGET) -> Ratio:
    """The matcher's ratio of two texts in this order; it is not symmetric.

    Args:
        expected: The matcher's first sequence.
        actual: Its second one, in whose characters it finds the popular ones that it ignores.
        budget: Steps that the matcher may take.
    """
    if expected == actual:
        return Ratio(1.0, True)
    if not expected or not actual:
        return Ratio(0.0, True)
    by_length = 2.0 * min(len(expected), len(actual)) / (len(expected) + len(actual))
    if max(len(expected), len(actual)) > LONGEST:
        return Ratio(by_length, False)
    if len(expected) + len(actual) > budget:
        return Ratio(_bound(expected, actual, by_length), False)
    try:
        return Ratio(_Bounded(expected, actual, budget).ratio(), True)
    except _OverBudget:
        return Ratio(_bound(expected, actual, by_length), False)


def _bound(expected: str, actual: str, by_length: float) -> float:
    """The blocks that the matcher finds are one common subsequence, so the longest one bounds them."""
    # Divided as the matcher divides: one minus a distance may round to less.
    return min(by_length, float(Indel.similarity(expected, actual)) / (len(expected) + len(actual)))
