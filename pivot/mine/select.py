"""What profiling says about a candidate, and which candidates are pivots (eq. 5)."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

ALL0, MIXED, ALL1 = "all0", "mixed", "all1"


@dataclass(frozen=True, slots=True)
class Profile:
    """The rewards of one candidate under the frozen policy.

    Attributes:
        candidate_id: Whose.
        rewards: One a rollout, in [0, 1].
        mean: Of the rewards.
        variance: Population variance; exactly 0 when all rewards are equal.
        reasons: Verdict reasons with their counts.
    """

    candidate_id: str
    rewards: tuple[float, ...]
    mean: float
    variance: float
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """`mixed` when rewards differ, else `all0` or `all1` (equal partial rewards: by the nearer end)."""
        if self.variance > 0.0:
            return MIXED
        return ALL1 if self.mean > 0.5 else ALL0


def profile(candidate_id: str, rewards: Iterable[float], reasons: Iterable[str] = ()) -> Profile:
    """The profile of a group of rewards.

    Raises:
        ValueError: No rewards, or one outside [0, 1].
    """
    values = tuple(float(reward) for reward in rewards)
    if not values:
        raise ValueError(f"candidate {candidate_id} has no rewards")
    if not all(0.0 <= value <= 1.0 for value in values):
        raise ValueError(f"candidate {candidate_id} has rewards outside [0, 1]: {values}")
    mean = math.fsum(values) / len(values)
    # Rounding of the mean must not give equal rewards a variance: zero variance decides who is a pivot.
    uniform = min(values) == max(values)
    variance = 0.0 if uniform else math.fsum((value - mean) ** 2 for value in values) / len(values)
    return Profile(candidate_id, values, values[0] if uniform else mean, variance, dict(Counter(reasons)))


def select(
    profiles: Iterable[Profile], *, require_variance: bool = True, max_mean: float | None
) -> tuple[list[Profile], Counter[str]]:
    """Pivots among profiled candidates: variance > 0 and mean < lambda (eq. 5).

    Args:
        profiles: In any order, which is kept.
        require_variance: The first condition.
        max_mean: lambda, the second condition (strictly below); None leaves it out. The paper's value is not
            published.

    Returns:
        The pivots, and how many candidates each reason cut: `all0`, `all1` (no variance) or
        `mean_not_below_lambda`.
    """
    kept: list[Profile] = []
    cut: Counter[str] = Counter()
    for item in profiles:
        if require_variance and item.variance == 0.0:
            cut[item.kind] += 1
        elif max_mean is not None and item.mean >= max_mean:
            cut["mean_not_below_lambda"] += 1
        else:
            kept.append(item)
    return kept, cut
