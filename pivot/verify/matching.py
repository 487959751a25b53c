"""Parallel calls as multisets: which call answers which, and what an incomplete answer is worth."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

COVERED, STRICT, FRACTIONAL, F1 = "covered", "strict", "fractional", "f1"
MODES = (COVERED, STRICT, FRACTIONAL, F1)
DIFFERENT, EQUAL, IDENTICAL = 0, 1, 2
# A little more for an identical pair: too little to cost a pair, enough to decide between equal numbers of pairs.
_SCORES = (0.0, 1.0, 1.0 + 1e-4)


@dataclass(frozen=True, slots=True)
class Parallel:
    """What several calls in one action are worth; `ToolCallOptions` says what the switches mean."""

    mode: str
    allow_subset: bool
    allow_superset: bool

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"parallel must be one of {', '.join(MODES)}")

    def allows(self, actual: int, expected: int) -> bool:
        """Whether so many calls may answer so many."""
        if self.mode == COVERED:
            return True
        return (actual >= expected or self.allow_subset) and (actual <= expected or self.allow_superset)

    def reward(self, matched: int, actual: int, expected: int) -> float:
        """What an allowed number of calls earns when `matched` pairs are equal."""
        required = min(expected, actual) if self.allow_subset and self.mode != COVERED else expected
        if self.mode == FRACTIONAL:
            return matched / required
        if self.mode == F1:
            return 2 * matched / (expected + actual)
        return float(matched >= required)


def match(actual: int, expected: int, likeness: Callable[[int, int], int]) -> list[int]:
    """A maximum matching with as many identical pairs as it can have.

    Args:
        actual: Number of actual calls.
        expected: Number of expected calls.
        likeness: `DIFFERENT`, `EQUAL` or `IDENTICAL` for an actual and an expected call, by index.

    Returns:
        For every expected call the index of its actual one, -1 for none.
    """
    if actual == expected == 1:
        return [0 if likeness(0, 0) else -1]
    scores = np.array([[_SCORES[likeness(i, j)] for i in range(actual)] for j in range(expected)])
    found = [-1] * expected
    for j, i in zip(*linear_sum_assignment(scores, maximize=True), strict=True):
        if scores[j, i]:
            found[j] = int(i)
    return found
