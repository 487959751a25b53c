"""What a step's rewards say about the signal that is left (group variance is what PivotRL lives on)."""

from collections import Counter
from collections.abc import Sequence

import torch

from pivot.mine.groups import Group


def reward_stats(groups: Sequence[Group]) -> dict[str, float]:
    """Mean and std of rewards, shares of all-0 / mixed / all-1 groups, and why samples lost their reward.

    `reward_std` is the mean over groups of the population std: zero means that no group carries a gradient
    (paper Prop. 3.1).
    """
    rewards = torch.tensor([group.rewards for group in groups])
    top, bottom = rewards.amin(1) == 1, rewards.amax(1) == 0
    reasons = Counter(verdict.reason.split(":")[0] for group in groups for verdict in group.verdicts)
    samples = rewards.numel()
    return {
        "reward_mean": float(rewards.mean()),
        "reward_std": float(rewards.std(1, unbiased=False).mean()),
        "groups/all0": float(bottom.float().mean()),
        "groups/all1": float(top.float().mean()),
        "groups/mixed": float((rewards.amax(1) > rewards.amin(1)).float().mean()),
        "action_tokens": sum(len(s.token_ids) for g in groups for s in g.samples) / samples,
    } | {f"reasons/{reason}": count / samples for reason, count in reasons.items()}
