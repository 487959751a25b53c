"""What profiling says about a candidate, and which candidates are pivots (eq. 5)."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pivot.trajectory.types import Candidate

ALL0, MIXED, ALL1, NO_VERDICT = "all0", "mixed", "all1", "no_verdict"

# Why a candidate is cut. `all0` and `all1` are reasons too: no variance.
VERDICT_ERRORS, MEAN, NOT_DRAWN = "verdict_errors", "mean_not_below_lambda", "not_drawn"
PER_TRAJECTORY, MESSAGES, BALANCE = "per_trajectory", "message_share", "domain_balance"
KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Profile:
    """The rewards of one candidate under the frozen policy.

    Attributes:
        candidate_id: Whose.
        rewards: One a rollout that has a verdict, in [0, 1].
        mean: Of the rewards; 0 when there are none.
        variance: Population variance; exactly 0 when all rewards are equal.
        reasons: Verdict reasons with their counts.
        errors: Rollouts without a verdict (an unreachable judge); they count in nothing else.
    """

    candidate_id: str
    rewards: tuple[float, ...]
    mean: float
    variance: float
    reasons: Mapping[str, int] = field(default_factory=dict)
    errors: int = 0

    @property
    def kind(self) -> str:
        """`mixed` when rewards differ, else `all0` or `all1` (equal partial rewards: by the nearer end).

        `no_verdict` when errors left fewer than two rewards: they say nothing about variance.
        """
        if self.errors and len(self.rewards) < 2:
            return NO_VERDICT
        if self.variance > 0.0:
            return MIXED
        return ALL1 if self.mean > 0.5 else ALL0


def profile(candidate_id: str, rewards: Iterable[float | None], reasons: Iterable[str] = ()) -> Profile:
    """The profile of a group of rewards, None for a rollout without a verdict.

    Raises:
        ValueError: No rollouts, or a reward outside [0, 1].
    """
    drawn = list(rewards)
    if not drawn:
        raise ValueError(f"candidate {candidate_id} has no rewards")
    values = tuple(float(reward) for reward in drawn if reward is not None)
    if not all(0.0 <= value <= 1.0 for value in values):
        raise ValueError(f"candidate {candidate_id} has rewards outside [0, 1]: {values}")
    mean, variance = moments(values)
    return Profile(candidate_id, values, mean, variance, dict(Counter(reasons)), len(drawn) - len(values))


def moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and population variance; no values at all have neither (0, 0)."""
    if not values:
        return 0.0, 0.0
    # Rounding of the mean must not give equal rewards a variance: zero variance decides who is a pivot.
    if min(values) == max(values):
        return values[0], 0.0
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((value - mean) ** 2 for value in values) / len(values)


@dataclass(frozen=True, slots=True)
class Rule:
    """What the profile of a pivot has to look like.

    Attributes:
        name: The preset it comes from.
        require_variance: Rewards have to differ (first condition of eq. 5).
        max_mean: Bound on the mean reward (second condition: lambda); None: no bound.
        inclusive: A mean equal to the bound is below it.
        random: Draw as many candidates at random as eq. 5 would keep (the paper's ablation without its filter).
    """

    name: str
    require_variance: bool
    max_mean: float | None
    inclusive: bool = False
    random: bool = False

    def below(self, mean: float) -> bool:
        """Whether a mean reward is low enough."""
        return self.max_mean is None or mean < self.max_mean or (self.inclusive and mean == self.max_mean)

    def reason_to_cut(self, item: Profile) -> str | None:
        """Why a candidate is no pivot, None for a pivot."""
        if item.kind == NO_VERDICT:
            return VERDICT_ERRORS
        if self.require_variance and item.variance == 0.0:
            return item.kind
        return None if self.below(item.mean) else MEAN


PAPER = Rule("paper", require_variance=True, max_mean=1.0)
PRESETS = {
    rule.name: rule
    for rule in (
        PAPER,  # eq. 5; its lambda is not published, and any mean of differing rewards is below 1
        Rule("tau_as_run", require_variance=False, max_mean=0.6, inclusive=True),  # the released tau2 file, zeros kept
        Rule("mixed", require_variance=True, max_mean=None),
        Rule("hard", require_variance=True, max_mean=0.25, inclusive=True),  # a success in at most a quarter
        Rule("random", require_variance=False, max_mean=None, random=True),
    )
}


def rule(preset: str, *, require_variance: bool | None = None, max_mean: float | None = None) -> Rule:
    """A preset, with its conditions overridden where a value is given."""
    chosen = PRESETS[preset]
    if require_variance is not None:
        chosen = replace(chosen, require_variance=require_variance)
    return chosen if max_mean is None else replace(chosen, max_mean=max_mean)


@dataclass(frozen=True, slots=True)
class Caps:
    """What the pivots together have to look like; None leaves a cap out.

    Attributes:
        per_trajectory: Most pivots of one trajectory.
        message_share: Largest share of pivots whose expert action is a message.
        domain_ratio: The largest domain has at most this many times the pivots of the smallest one.
    """

    per_trajectory: int | None = None
    message_share: float | None = None
    domain_ratio: float | None = None


def draw(candidate_id: str) -> str:
    """A fixed lot for every candidate: random order that depends on the content alone."""
    return hashlib.sha256(f"draw:{candidate_id}".encode()).hexdigest()


def select(
    profiles: Sequence[Profile], chosen: Rule, caps: Caps | None = None, about: Mapping[str, Candidate] | None = None
) -> tuple[list[Profile], dict[str, str]]:
    """Pivots among profiled candidates.

    A cap keeps those with the largest variance, the paper's measure of signal (Thm. 3.2), and among equals those
    whose lot comes first. `message_share` and `domain_ratio` both hold in the end.

    Args:
        profiles: In any order, which is kept.
        chosen: The rule.
        caps: None: no caps.
        about: Candidates by id; needed by caps.

    Returns:
        The pivots, and for every other candidate why it was cut: `all0`, `all1` (no variance),
        `mean_not_below_lambda`, `verdict_errors`, `not_drawn`, `per_trajectory`, `message_share` or `domain_balance`.
    """
    cut = {item.candidate_id: reason for item in profiles if (reason := chosen.reason_to_cut(item)) is not None}
    lots = {item.candidate_id: draw(item.candidate_id) for item in profiles if item.candidate_id not in cut}
    if chosen.random:
        size = sum(PAPER.reason_to_cut(item) is None for item in profiles)
        cut |= dict.fromkeys(sorted(lots, key=lots.__getitem__)[size:], NOT_DRAWN)
    if caps is not None and about is not None:
        # Best first. A random draw does not look at rewards.
        alive = [item for item in profiles if item.candidate_id not in cut]
        alive.sort(key=lambda item: (0.0 if chosen.random else -item.variance, lots[item.candidate_id]))
        cut |= apply_caps([about[item.candidate_id] for item in alive], caps)
    return [item for item in profiles if item.candidate_id not in cut], cut


def apply_caps(candidates: Sequence[Candidate], caps: Caps) -> dict[str, str]:
    """Why candidates are cut, by id.

    Args:
        candidates: The best ones first.
        caps: Those to apply.
    """
    cut: dict[str, str] = {}

    def alive() -> list[Candidate]:
        return [item for item in candidates if item.candidate_id not in cut]

    if caps.per_trajectory is not None:
        cut |= _keep_first(alive(), lambda item: item.trajectory_id, caps.per_trajectory, PER_TRAJECTORY)
    before = -1
    while len(cut) != before:  # what one of the two cuts may break the other; both only remove, so this ends
        before = len(cut)
        if caps.message_share is not None:
            cut |= _cap_messages(alive(), caps.message_share)
        if caps.domain_ratio is not None:
            smallest = min(Counter(item.domain for item in alive()).values(), default=0)
            cut |= _keep_first(alive(), lambda item: item.domain, int(caps.domain_ratio * smallest), BALANCE)
    return cut


def _keep_first(
    candidates: Sequence[Candidate], key: Callable[[Candidate], str], most: int, reason: str
) -> dict[str, str]:
    seen: Counter[str] = Counter()
    cut = {}
    for item in candidates:
        seen[key(item)] += 1
        if seen[key(item)] > most:
            cut[item.candidate_id] = reason
    return cut


def _cap_messages(candidates: Sequence[Candidate], share: float) -> dict[str, str]:
    messages = [item.candidate_id for item in candidates if item.expected.kind == "message"]
    calls = len(candidates) - len(messages)
    while messages and len(messages) > share * (calls + len(messages)):
        messages.pop()
    kept = set(messages)
    ids = [item.candidate_id for item in candidates if item.expected.kind == "message"]
    return {name: MESSAGES for name in ids if name not in kept}
