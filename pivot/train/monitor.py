"""What a step's rewards say about the signal that is left (group variance is what PivotRL lives on)."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean, pstdev

from pivot.mine.groups import Group
from pivot.verify.types import ERROR


def reward_stats(groups: Sequence[Group]) -> dict[str, float]:
    """Mean and std of rewards, shares of all-0 / mixed / all-1 groups, and why samples lost their reward.

    `reward_std` is the mean over groups of the population std: zero means that no group carries a gradient
    (paper Prop. 3.1). Samples without a verdict count in `verdict_errors` alone.
    """
    rewards = [group.rewards for group in groups if group.rewards]
    count = max(1, len(rewards))
    verdicts = [verdict for group in groups for verdict in group.verdicts]
    reasons = Counter(verdict.reason.split(":")[0] for verdict in verdicts)
    samples = max(1, len(verdicts))
    return {
        "reward_mean": fmean(value for group in rewards for value in group) if rewards else 0.0,
        "reward_std": sum(map(pstdev, rewards)) / count,
        "groups/all0": sum(max(group) == 0 for group in rewards) / count,
        "groups/all1": sum(min(group) == 1 for group in rewards) / count,
        "groups/mixed": sum(max(group) > min(group) for group in rewards) / count,
        "action_tokens": sum(len(sample.token_ids) for group in groups for sample in group.samples) / samples,
        "verdict_errors": sum(verdict.status == ERROR for verdict in verdicts) / samples,
    } | {f"reasons/{reason}": count / samples for reason, count in reasons.items()}
