"""Parallel calls as multisets: which call answers which, and what an incomplete answer is worth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

COVERED, STRICT, FRACTIONAL, F1 = "covered", "strict", "fractional", "f1"
MODES = (COVERED, STRICT, FRACTIONAL, F1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """What several calls in one action are worth.

    Attributes:
        parallel: `covered`: 1 when every expected call has its own match, further calls do no harm;
            `strict`: 1 when enough are matched; `fractional`: matched / required; `f1`: 2 matched / (expected + actual).
        allow_subset: Except under `covered`: fewer calls than the expert's may do, then as many are required.
        allow_superset: Except under `covered`: more calls may do.
    """

    parallel: str = STRICT
    allow_subset: bool = False
    allow_superset: bool = False

    def __post_init__(self) -> None:
        if self.parallel not in MODES:
            raise ValueError(f"parallel must be one of {', '.join(MODES)}")

    def allows(self, actual: int, expected: int) -> bool:
        """Whether so many calls may answer so many."""
        if self.parallel == COVERED:
            return actual >= expected
        return not (actual < expected and not self.allow_subset) and not (actual > expected and not self.allow_superset)

    def reward(self, matched: int, actual: int, expected: int) -> float:
        """What an allowed number of calls earns when `matched` pairs are equal."""
        required = min(expected, actual) if self.allow_subset and self.parallel != COVERED else expected
        if self.parallel == FRACTIONAL:
            return matched / required
        if self.parallel == F1:
            return 2 * matched / (expected + actual)
        return float(matched >= required)


def match(actual: int, expected: int, equal: Callable[[int, int], bool]) -> list[int]:
    """A maximum matching: for every expected call the index of its actual one, -1 for none.

    Args:
        actual: Number of actual calls.
        expected: Number of expected calls.
        equal: Whether an actual call, by index, may stand for an expected one.
    """
    if actual == expected == 1:
        return [0 if equal(0, 0) else -1]
    edges = np.array([[equal(i, j) for i in range(actual)] for j in range(expected)], dtype=np.int8)
    found: Sequence[int] = maximum_bipartite_matching(csr_matrix(edges), perm_type="column").tolist()
    return list(found)
